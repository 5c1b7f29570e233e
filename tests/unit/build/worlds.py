"""What a build is made of, in memory but for git: a repository, an engine, storages; and short ways to write images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from conveyor.build.progress import Lane
from conveyor.build.results import ImageResult
from conveyor.build.rooms import Introspection, Rooms
from conveyor.build.schedule import Limits, Schedule
from conveyor.config.models import (
    Base,
    Dependency,
    GitMapping,
    Image,
    Import,
    Injection,
    PathFilter,
    Project,
    Shell,
    UserStageName,
)
from conveyor.errors import Place as Where
from conveyor.events.api import Event, Warned
from conveyor.gitrepo.api import Repository
from conveyor.storage.storage import Role, Storage
from locking.null import NullLocks
from stapel.api import Cancel
from tests.unit.build.memory_engine import MemoryEngine, MemoryImages
from tests.unit.gitrepo.repositories import Entry, Place, make_place

HERE = Where("werf.yaml", 1, 1)
PROJECT = "project"


def image(name: str, base: str = "busybox:1", **fields: Any) -> Image:
    """An image; `base` is `scratch`, `image:NAME` or a reference; the user stages are texts or lists of commands."""
    commands: dict[UserStageName, tuple[str, ...]] = {}
    for stage in ("beforeInstall", "install", "beforeSetup", "setup"):
        given = fields.pop(stage, None)
        if given is not None:
            commands[stage] = (given,) if isinstance(given, str) else tuple(given)
    kind, _, reference = base.partition(":")
    bases = {"image": Base("image", reference), "scratch": Base("scratch")}
    return Image(HERE, name, bases.get(kind, Base("external", base)), **{"shell": Shell(commands), **fields})


def mapping(add: str = "/", to: str = "/app", include: Iterable[str] = (), exclude: Iterable[str] = (), **fields: Any):
    """A git mapping; stage dependencies by the stage's name."""
    stages = ("install", "beforeSetup", "setup")
    watched = {stage: tuple(fields.pop(stage)) for stage in stages if stage in fields}
    return GitMapping(HERE, add, to, paths=PathFilter(tuple(include), tuple(exclude)), stage_dependencies=watched, **fields)


def imported(source: str, at: str = "before install", add: str = "/out", to: str = "/in", **fields: Any) -> Import:
    """An import; `at` is `before install` and its kin."""
    when, _, stage = at.partition(" ")
    paths = PathFilter(tuple(fields.pop("include", ())), tuple(fields.pop("exclude", ())))
    return Import(HERE, source, when, stage, add, to, paths=paths, **fields)


def dependency(source: str, at: str = "before install", **targets: str) -> Dependency:
    """A dependency that injects values: `NAME="ImageID"`."""
    when, _, stage = at.partition(" ")
    return Dependency(HERE, source, when, stage, tuple(Injection(kind, name) for name, kind in targets.items()))


@dataclass(frozen=True)
class AtCommit:
    """A repository whose HEAD is another commit."""

    repo: Repository
    head: str

    @property
    def head_commits(self) -> tuple[str, ...]:
        return (self.head,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.repo, name)


@dataclass
class Source:
    """A repository of commits that were not made in a work tree."""

    place: Place
    _repo: Repository | None = None

    def commit(self, files: dict[bytes, Entry | bytes], *parents: str, time_s: int = 1_600_000_000) -> str:
        """A commit of exactly these files."""
        entries = {path: entry if isinstance(entry, tuple) else (0o100644, entry) for path, entry in files.items()}
        return self.place.commit_files(entries, parents=parents, time_s=time_s)

    def at(self, commit: str) -> AtCommit:
        """The repository as a build of this commit sees it."""
        if self._repo is None:
            self._repo = self.place.open()
        return AtCommit(self._repo, commit)

    def close(self) -> None:
        if self._repo is not None:
            self._repo.close()


def make_source(path: Path) -> Source:
    """An empty repository."""
    return Source(make_place(path, "--object-format=sha1"))


@dataclass
class World:
    """All that is there between builds. Every build is a process of its own: it reads the storages again."""

    source: Source
    commit: str
    path: Path
    engine: MemoryEngine = field(default_factory=MemoryEngine)
    primary: MemoryImages | None = None  # None: the engine's own
    secondaries: tuple[MemoryImages, ...] = ()
    events: list[Event] = field(default_factory=list)
    registry_digests: dict[str, str] = field(default_factory=dict)
    same_tree: bool = False
    platform: str = "linux/amd64"
    introspection: Introspection = field(default_factory=Introspection)

    @property
    def store(self) -> MemoryImages:
        """The primary."""
        return self.primary if self.primary is not None else self.engine.images

    def storage(self, store: MemoryImages, role: Role = "primary") -> Storage:
        """A store as a build reads it."""
        at_once = store is self.engine.images
        return Storage(
            store, role, memory=self.path / "memory", describes_at_once=at_once, warn=lambda message: self(Warned(message))
        )

    def rooms(self, images: Sequence[Image], commit: str = "") -> Rooms:
        """The rooms of one run."""
        return Rooms(
            project=Project(PROJECT, "werf.yaml", tuple(images)),
            repo=self.source.at(commit or self.commit),
            prefix=b"",
            platform=self.platform,
            platforms=(self.platform,),
            engine=self.engine,
            primary=self.storage(self.store),
            secondaries=tuple(self.storage(store, "secondary") for store in self.secondaries),
            locks=NullLocks(),
            lock_timeout_s=1.0,
            reporter=self,
            cancel=Cancel(),
            directory=self.path,
            home_dir=self.path / "home",
            tmp_dir=self.path / "tmp",
            ssh_socket=None,
            same_tree=self.same_tree,
            resolve_digest=self.registry_digests.__getitem__,
            introspection=self.introspection,
        )

    def __call__(self, event: Event) -> None:
        """The reporter of every run."""
        self.events.append(event)

    def close(self) -> None:
        """Nothing is held back."""

    def build(self, *images: Image, commit: str = "", rooms: Rooms | None = None, **limits: Any) -> dict[str, ImageResult]:
        """Run the schedule; whatever happens, every image that the engine held is given back."""
        rooms = rooms or self.rooms(images, commit)
        try:
            results = Schedule([Lane(rooms, images)], Limits(**limits)).run()
        finally:
            assert self.engine.held == set(), "images are held after the build"
            assert self.engine.running == 0, "something runs after the build"
        return {result.name: result for result in results}

    def seen(self, kind: type) -> list[Any]:
        """The events of a kind, in order."""
        return [event for event in self.events if isinstance(event, kind)]


def stage_names(result: ImageResult) -> list[str]:
    """The stages of an image."""
    return [stage.stage for stage in result.stages]


def sources(result: ImageResult) -> dict[str, str]:
    """Where each stage of an image came from."""
    return {stage.stage: stage.source for stage in result.stages}


def with_shell(item: Image, **changes: Any) -> Image:
    """An image with another `shell`."""
    return replace(item, shell=replace(item.shell, **changes))
