"""What a `werf.yaml` says, once it is known to be right.

Frozen values: `conveyor.config` makes them, everybody else reads them. Paths inside an image or the project are absolute
POSIX texts without a trailing slash ("/" stays); names of stages are werf's own (`beforeInstall`, `install`, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from conveyor.errors import Place, Problem

if TYPE_CHECKING:  # few projects have one, and making the classes takes its time
    from conveyor.config.dockerfile_model import Dockerfile
    from conveyor.config.secret import Secret
    from conveyor.gitrepo.remote_source import RemoteSource
    from stapel.image_spec import ImageSpec

UserStageName = Literal["beforeInstall", "install", "beforeSetup", "setup"]
USER_STAGES: tuple[UserStageName, ...] = ("beforeInstall", "install", "beforeSetup", "setup")


class PathFilter(Struct, frozen=True):
    """`includePaths` and `excludePaths`: globs relative to `add`, in werf's three forms (`conveyor.gitrepo.matching`)."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class GitMapping(Struct, frozen=True):
    """Files of the commit below `add` (relative to the project directory) laid at `to`.

    With `remote` they are those of another repository, and `add` is relative to its root.
    """

    place: Place
    add: str
    to: str
    owner: str = ""
    group: str = ""
    paths: PathFilter = PathFilter()
    stage_dependencies: Mapping[UserStageName, tuple[str, ...]] = field(default_factory=dict)
    overwrites_changed: bool = False  # whether a delta replaces files that commands have changed since git laid them
    remote: RemoteSource | None = None


class Shell(Struct, frozen=True):
    """The commands of the user stages; `cache_version` counts for all four, `stage_cache_versions` for one each.

    `tasks`: of `ansible`, in the place of commands; a JSON list for each stage.
    """

    commands: Mapping[UserStageName, tuple[str, ...]] = field(default_factory=dict)
    cache_version: str = ""
    stage_cache_versions: Mapping[UserStageName, str] = field(default_factory=dict)
    tasks: Mapping[UserStageName, str] = field(default_factory=dict)


class DockerInstructions(Struct, frozen=True):
    """The directive `docker`. `None` is "not configured"; `cmd` and `entrypoint`: text is the shell form, a tuple exec."""

    place: Place
    volume: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    label: Mapping[str, str] = field(default_factory=dict)
    cmd: str | tuple[str, ...] | None = None
    entrypoint: str | tuple[str, ...] | None = None
    workdir: str | None = None
    user: str | None = None
    healthcheck: str | None = None
    exact_values: bool = False


class Import(Struct, frozen=True):
    """Files of another image laid at `to`, before or after `install` or `setup`.

    `image` is one of the project or, where it is `external`, a reference to one from outside.
    """

    place: Place
    image: str
    when: Literal["before", "after"]
    stage: Literal["install", "setup"]
    add: str
    to: str
    owner: str = ""
    group: str = ""
    paths: PathFilter = PathFilter()
    from_stage: UserStageName | None = None
    external: bool = False


class Injection(Struct, frozen=True):
    """One value of a dependency put into the environment, or given to a Dockerfile as a build argument."""

    type: Literal["ImageName", "ImageTag", "ImageRepo", "ImageID", "ImageDigest"]
    target_env: str = ""
    target_build_arg: str = ""


class Dependency(Struct, frozen=True):
    """Names, ids and digests of another image of the project, injected before or after `install` or `setup`.

    A Dockerfile takes them at its beginning: `when` and `stage` are None then.
    """

    place: Place
    image: str
    when: Literal["before", "after"] | None
    stage: Literal["install", "setup"] | None
    imports: tuple[Injection, ...]


class MountPoint(Struct, frozen=True):
    """A directory of the host in every build container of the image: `source` is the host path of `fromPath`."""

    place: Place
    kind: Literal["tmp_dir", "build_dir", "from_path"]
    to: str
    source: str = ""


class Base(Struct, frozen=True):
    """What an image is built on: an image of the project, nothing (`scratch`), or an image from outside."""

    kind: Literal["external", "scratch", "image"]
    reference: str = ""


class Image(Struct, frozen=True):
    """An image or artifact: of the Stapel kind, or with `dockerfile`. `name` is "" for the nameless image."""

    place: Place
    name: str
    base: Base
    artifact: bool = False
    final: bool = True
    from_latest: bool = False
    from_cache_version: str = ""
    cache_version: str = ""  # the image's own, else that of `build`
    git: tuple[GitMapping, ...] = ()
    shell: Shell = Shell()
    docker: DockerInstructions | None = None
    image_spec: ImageSpec | None = None  # with that of `build` merged in; of final images alone
    imports: tuple[Import, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    secrets: tuple[Secret, ...] = ()  # for the commands alone; in no key
    network: str = ""
    platforms: tuple[str, ...] = ()  # (): those of the run
    platform: str = ""  # of these the one that is resolved now; as it is read, the first
    disable_git_after_patch: bool = False
    dockerfile: Dockerfile | None = None  # its base, git, shell, imports and mounts say nothing then

    def needs(self) -> tuple[str, ...]:
        """Names of the images that this one takes from, each once, in order of base, imports, dependencies."""
        names = [self.base.reference] if self.base.kind == "image" else []
        names += [item.image for item in self.imports if not item.external]
        names += [item.image for item in self.dependencies]
        return tuple(dict.fromkeys(names))


class GitWorktree(Struct, frozen=True):
    """What may be done to the user's clone."""

    force_shallow_clone: bool = False
    allow_unshallow: bool = True
    allow_fetch_origin_branches_and_tags: bool = True


class Project(Struct, frozen=True):
    """The whole configuration: images in order of configuration, one per name."""

    name: str
    file: str  # path of the configuration relative to the root of the repository
    images: tuple[Image, ...]
    git_worktree: GitWorktree = GitWorktree()
    warnings: tuple[Problem, ...] = ()  # what a person is to be told of it

    def image(self, name: str) -> Image:
        """The image of this name; `KeyError` where there is none."""
        for image in self.images:
            if image.name == name:
                return image
        raise KeyError(name)
