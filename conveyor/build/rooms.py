"""What a run works with, made once by `conveyor.cli` and passed to every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from conveyor.config.models import Project
from conveyor.events.api import Reporter
from conveyor.gitrepo.api import Remotes, Repository
from conveyor.storage.caches import Caches
from conveyor.storage.storage import Storage
from locking.api import Locks
from stapel.api import Cancel, Engine

if TYPE_CHECKING:
    from conveyor.build.secret_values import SecretValues
    from conveyor.config.giterminism.files import ConfigFiles


class Introspection(Struct, frozen=True):
    """When to open a shell. `stages` holds (image, stage); image None: any."""

    when: Literal["error", "before_error"] | None = None
    stages: tuple[tuple[str | None, str], ...] = ()

    @property
    def asked(self) -> bool:
        """Whether a shell may be opened: then nothing runs beside it."""
        return self.when is not None or bool(self.stages)

    def wants(self, image: str, stage: str) -> bool:
        """Whether a shell is to be opened in this stage once it is there."""
        return any(name in (None, image) and wanted == stage for name, wanted in self.stages)


class Rooms(Struct, frozen=True):
    """The project at its commit, the engine, the storages, and where things go."""

    project: Project
    repo: Repository
    prefix: bytes  # of the project directory in the repository, b"" or without a trailing slash
    platform: str  # that is resolved now
    engine: Engine
    primary: Storage
    secondaries: tuple[Storage, ...]
    locks: Locks
    lock_timeout_s: float
    reporter: Reporter
    cancel: Cancel
    directory: Path  # the project's, for relative paths of mounts
    home_dir: Path
    tmp_dir: Path  # of this run
    ssh_socket: Path | None
    same_tree: bool  # whether stages of commits that are no ancestors are used where their files are an ancestor's
    resolve_digest: Callable[[str], str]  # the registry's digest of an image from outside, asked once a run
    platforms: tuple[str, ...] = ()  # of images that name none
    introspection: Introspection = Introspection()
    secrets: SecretValues | None = None  # None: no image has any
    files: ConfigFiles | None = None  # reads Dockerfiles by the rules of giterminism; None: as the commit has them
    caches: Caches | None = None  # of the primary's images
    final: Storage | None = None  # where the final images go too
    remotes: Remotes | None = None  # where mappings of the project name other repositories
    keeps_records: bool = False  # whether it is recorded what was built at which commit
