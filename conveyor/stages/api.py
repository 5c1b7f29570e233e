"""The stages of a conveyor: what each kind says of itself.

A kind of stage is a module with two functions behind `StageKind`: `takes` names what it needs of other images, `decide`
looks at the commit and at the stage below and says what the stage's key is made of and what is to be done where it is not
stored; or that there is nothing to do, and then the stage does not exist. Kinds do not know each other, and know nothing
of digests, storages or threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from conveyor.config.models import Image, Project, UserStageName
from conveyor.gitrepo.api import Remotes, Repository
from conveyor.keys.key import Part
from conveyor.storage.facts import MappingFacts
from conveyor.storage.selection import StoredStage
from stapel.api import Engine, Held, Lay, Mount, Run
from stapel.oci.api import ImageConfig

if TYPE_CHECKING:
    from conveyor.config.giterminism.files import ConfigFiles
    from stapel.dockerfile import DockerfileBuild


class Need(Struct, frozen=True):
    """A stage of another image: its last one, or the last that exists up to `stage`."""

    image: str
    stage: UserStageName | None = None


class Taken(Struct, frozen=True):
    """A stage of another image as it is known to those who take from it."""

    stored: StoredStage
    reference: str  # as `docker run` takes it
    hold: Callable[[], Held]  # the image, ready to be read; closed by who asks
    config: Callable[[], ImageConfig]  # of the image, without having it here


class Others(Protocol):
    """The other images of the run, as far as they are resolved."""

    def take(self, need: Need) -> Taken:
        """A stage that `takes` has named; it is resolved when `decide` runs."""

    def recorded_import(self, source: str) -> str | None:
        """The recorded digest of imported files."""

    def record_import(self, source: str, digest: str) -> None:
        """Record it."""

    def resolve_digest(self, reference: str) -> str:
        """The registry's digest of an image from outside, asked once a run."""


class Below(Struct, frozen=True):
    """The stage below: what of it enters the next one's work. `git`: the mappings as that stage left them.

    `bases`: by mapping, the commit that its files are at.
    """

    git: Mapping[str, MappingFacts]
    bases: Mapping[str, str]


class Context(Struct, frozen=True):
    """All that a decision may look at."""

    project: Project
    image: Image
    repo: Repository
    commit: str
    prefix: bytes  # of the project directory in the repository, b"" or without a trailing slash
    below: Below
    others: Others
    engine: Engine  # to read the files of stored stages, never to build
    platform: str = ""  # that the run builds for
    files: ConfigFiles | None = None  # reads Dockerfiles by the rules of giterminism; None: as the commit has them
    remotes: Remotes | None = None  # where mappings name other repositories


class Workshop(Struct, frozen=True):
    """What work may use. What must be closed after the stage is built goes onto `resources`."""

    engine: Engine
    resources: ExitStack
    mounts: Sequence[Mount]
    ssh_socket: Path | None
    commit_time_s: int
    base: Callable[[str], Held]  # an image from outside, ready to be read; closed by who asks
    secrets: Callable[[], Mapping[str, bytes]] = dict  # of the image, by id; `ConfigError` where one is not to be had


def no_steps(workshop: Workshop) -> tuple[Lay | Run, ...]:
    """The work of a stage that changes no file."""
    del workshop
    return ()


def same_config(config: ImageConfig) -> ImageConfig:
    """The configuration of a stage that does not change it."""
    return config


def nothing_to_check() -> None:
    """The check of a stage whose steps check themselves."""


class Decision(Struct, frozen=True):
    """A stage that exists: the named parts of its key, how it is selected, what is to be done where it is not stored."""

    parts: tuple[Part, ...]
    git: Mapping[str, MappingFacts]  # recorded with it when it is built now; {} where no git is below
    selects_ancestor: bool = False  # whether the recorded commits must be ancestors: it is made from git
    steps: Callable[[Workshop], tuple[Lay | Run, ...]] = no_steps
    configure: Callable[[ImageConfig], ImageConfig] = same_config
    check: Callable[[], None] = nothing_to_check  # after the build, before it is saved
    sources: tuple[StoredStage, ...] = ()  # of other images: what is taken from them
    dockerfile: Callable[[Workshop], DockerfileBuild] | None = None  # in the place of steps: a whole image, built on nothing


class StageKind(Protocol):
    """One stage of the conveyor."""

    @property
    def name(self) -> str:
        """Its name, in keys, logs and reports."""

    def may_exist(self, image: Image) -> bool:
        """Whether the configuration gives it something to do; `decide` is asked only then."""

    def takes(self, image: Image) -> tuple[Need, ...]:
        """The stages of other images that `decide` will ask for."""

    def decide(self, context: Context) -> Decision | None:
        """What the stage is at this commit, None where it has nothing to do. Reads git and stored images; may take long.

        Raises `conveyor.errors` for what a user must mend, and those of `stapel.errors` that reading images raises.
        """
