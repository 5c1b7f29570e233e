"""Engines, and what they are asked to do.

An engine makes images out of images. It knows nothing of git, keys, names, locks or `werf.yaml`: it is given an image to
build on, the steps of one layer, and later the configuration that the result shall have. Engines are synchronous and
thread-safe, and safe to kill: what was being made is complete or absent, and what a killed process left behind is removed
by the next one (everything that is started carries the run's id; a run holds a file lock).

    held = engine.base("debian:12", log)            # or engine.hold(view), or engine.hold(None) for scratch
    made = engine.build(held, [Lay(...), Run(...)], log, cancel)
    descriptor = engine.put(made, config, into=engine.images, cancel=cancel)
    engine.images.name("NAME", descriptor)

Errors are those of `stapel.errors`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from msgspec import Struct, field

from stapel.errors import Cancelled
from stapel.oci.api import Descriptor, ImageConfig, ImageStore, ImageView

if TYPE_CHECKING:
    from stapel.dockerfile import DockerfileBuild

Kind = Literal["file", "directory", "symlink", "character", "block", "fifo"]


class File(Struct, frozen=True):
    """One path of a tree: what a layer writer, an import and a git stage speak in.

    `path` is relative to the root that the context names, without a leading or trailing `/`, and never holds `.` or `..`
    (b"" is the root itself). Hard links come as files of their own. `open` gives the content (files only); it may be
    called until the next item is taken from the iterator that gave this one, or at any time where the source says so.
    """

    path: bytes
    kind: Kind
    mode: int  # permission bits with setuid, setgid and sticky: 0o0 to 0o7777
    size: int = 0
    uid: int = 0
    gid: int = 0
    owner: str = ""  # a name or a number for the base's passwd to resolve; "" means uid stands
    group: str = ""
    link: bytes = b""
    mtime_s: int | None = None  # None: the time of the Lay
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    open: Callable[[], BinaryIO] | None = None


class Lay(Struct, frozen=True):
    """A git stage, an import, emptied mount points: files, without a process.

    Files are laid against the merged tree of what is below: links in parents are followed inside the root, parents keep
    the base's metadata, missing ones become 0755 root, something of another kind in the way of a laid path is replaced.
    """

    files: Callable[[], Iterator[File]]  # paths relative to the image's root; sorted by path; may be asked twice
    remove: Sequence[bytes] = ()  # files and links; then directories left empty, below `root`
    empty: Sequence[bytes] = ()  # directories whose content is removed; made (0755 root) where absent
    root: bytes = b""  # where removal of emptied parents ends: this directory itself stays
    owner: str = ""  # of directories that are made at `root` and below it, "" is root
    group: str = ""
    mtime_s: int | None = 0  # seconds since the epoch for every laid path without its own; None: the time of the build
    # path -> git blob id, or `sha256:` and that of the content; where something else stands: FileChanged
    expected: Mapping[bytes, str] = field(default_factory=dict)


class Mount(Struct, frozen=True):
    """A directory or socket of the host in a build container."""

    source: Path
    target: str
    read_only: bool = False


class Run(Struct, frozen=True):
    """A user stage: the build container of design section 6. Nothing here reaches the image but the files it leaves.

    The values of `secrets` are files in memory that root of the container alone may read. They are in no argument, variable,
    label or file of the host, and what an engine itself keeps of the output has them masked.
    """

    script: str  # for bash, run with -e
    env: Mapping[str, str] = field(default_factory=dict)  # beside the image's own
    mounts: Sequence[Mount] = ()
    ssh_socket: Path | None = None  # of an agent; the engine puts its own filtering socket before it
    network: str = "default"
    secrets: Mapping[str, bytes] = field(default_factory=dict)  # files in /run/secrets, by name
    needs_ansible: bool = False  # whether the script is one of `stapel.ansible`
    collections: Sequence[str] = ()  # of Ansible, that it uses

    def __repr__(self) -> str:
        """All but the secrets."""
        shown = (f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__ if name != "secrets")
        return f"Run({', '.join(shown)})"


class Log(Protocol):
    """Takes the output of a step as it comes. Called from one thread at a time; must not raise."""

    def __call__(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """A piece of output, cut anywhere."""


class Cancel:
    """A request to stop that many threads can see. `on_cancel` callbacks run once, in the thread that cancels."""

    __slots__ = ("_callbacks", "_event", "_lock")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []

    def set(self) -> None:
        """Ask to stop; a second call does nothing."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def is_set(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise `Cancelled` where somebody asked to stop."""
        if self._event.is_set():
            raise Cancelled

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Run `callback` on cancellation (at once where it has happened); the result takes it back."""
        with self._lock:
            if not self._event.is_set():
                self._callbacks.append(callback)
                return lambda: self._forget(callback)
        callback()
        return lambda: None

    def _forget(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)


class Held(Protocol):
    """An image that the engine has ready to build on, pinned until `close`. Closing twice is fine."""

    @property
    def id(self) -> str:
        """The engine's own name of it, for logs."""

    @property
    def config(self) -> ImageConfig:
        """Its configuration; for a result of `build`, that of what it was built on with the new diff id."""

    def again(self) -> Held:
        """The same image, held once more: until both are closed."""

    def close(self) -> None:
        """Let the engine forget it where nothing else keeps it."""


class Tree(Protocol):
    """The merged files of an image, read-only. Paths are relative to the root; b"" is the root.

    Links in parents are followed inside the root, component by component; the last component is not followed.
    """

    def stat(self, path: bytes) -> File | None:
        """What stands at a path, None where nothing does. `File.path` is the path with links in parents resolved."""

    def walk(self, path: bytes) -> Iterator[File]:
        """What stands at a path and all below it, parents before children; nothing where nothing stands.

        `File.path` is relative to `path` (b"" for itself). `open` of each is valid until the next item is taken.
        """

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file. `NotFound` where there is none."""


class ReadNames(Protocol):
    """Reads what an engine's own store has, for a process that has not opened the engine: `stapel.ENGINE.names.read_names`.

    It is on the path of a build where nothing is to do, so its module imports next to nothing.
    """

    def __call__(self, project: str, *, home_dir: str, docker_config: str | None = None) -> dict[str, str] | None:
        """Every name of a project in the store (as `ImageStore.names`) with the image id that it stands for.

        Complete and of this moment, or None where that cannot be had cheaply. Any other failure may be raised: who asks
        goes the long way then.
        """


class KeptImage(Struct, frozen=True):
    """An image of an engine's own store, for who must choose what a machine keeps. Images share parts."""

    id: str
    names: tuple[str, ...]  # REPOSITORY:NAME
    chain: tuple[str, ...]  # what names its layers, the lowest first: an image whose chain begins with it stands on it
    parts: Mapping[str, int]  # what it needs on the disk, and the size of each in bytes
    used_s: float  # when it was used last, to the hour
    is_pinned: bool  # a living run uses it
    is_record: bool  # its names are what it is for
    is_fetched: bool  # all of it came from another store


class Fault(Struct, frozen=True):
    """Something of a store that is not as it should be. `is_mended`: it was removed, with what stands on it."""

    what: str
    is_mended: bool = False


class Upkeep(Protocol):
    """The store of an engine that has no other keeper: what is there, and its removal. Safe beside builds, and to kill."""

    def images(self) -> tuple[KeptImage, ...]:
        """All images, records included."""

    def remove_images(self, unused_since: Mapping[str, float]) -> tuple[str, ...]:
        """Remove images, and what only they need, unless they were used after the time given or a living run uses them."""

    def unneeded(self, younger_s: float) -> tuple[str, ...]:
        """What no image needs and no run uses, but what was made in the last `younger_s`; each by its kind and name."""

    def remove_unneeded(self, younger_s: float) -> None:
        """Remove it, with all that is known of it."""

    def check(self, *, mend: bool) -> Iterator[Fault]:
        """Look at everything: names, images, the files of every layer, the bytes that came from other stores."""

    def purge(self, directories: Sequence[Path]) -> None:
        """Remove the whole store, and directories with files of build containers. Nobody may be using them."""


class Engine(Protocol):
    """Synchronous, thread-safe, safe to kill: what was being made is complete or absent."""

    @property
    def name(self) -> str:
        """`docker`, `sandbox`, `buildkit`."""

    @property
    def images(self) -> ImageStore:
        """Its own store: the default local store of a project."""

    def probe(self) -> str:
        """Why it cannot run here and what to do; the empty text where it can."""

    def describe(self) -> str:
        """By what it builds and where it keeps images, in a line for people. To be asked after `probe` found no obstacle."""

    def platform(self) -> str:
        """The platform that it builds for, `linux/amd64`."""

    def expect_builds(self) -> None:
        """Builds will follow, probably: what takes a moment to start may be started beside what the caller does next.

        `Unreachable` where it is found out at once that it cannot run here.
        """

    def rest(self) -> None:
        """Nothing will be built for now: what stands ready for it may begin to end, beside what the caller does next."""

    def base(self, reference: str, platform: str, log: Log) -> Held:
        """An external base image: the engine's own where it has it, else pulled. `NotFound`, `Unreachable`."""

    def hold(self, image: ImageView | None) -> Held:
        """An image of any store, fetched where it is not here, pinned; None: scratch. `NotFound`, `Broken`."""

    def build(
        self,
        on: Held,
        steps: Sequence[Lay | Run],
        log: Log,
        cancel: Cancel,
        key: str = "",
        into: ImageStore | None = None,
    ) -> Held:
        """One layer on `on`, same configuration. No steps: `on` itself, held once more.

        `key` says what the steps are, for a name of a file: equal keys on one image are equal steps. An engine may keep the
        log under it, and may take the result of another process that runs the same steps at this moment.

        `into` says where the result will be put, probably: an engine may begin to send what is large. That this fails is for
        who puts it.

        A Lay comes before a Run. `CommandFailed`, `FileChanged`, `BadLay`, `Cancelled`; a failure leaves nothing.
        """

    def make_ready(self, steps: Callable[[], Sequence[Lay | Run]], after: str) -> None:
        """These steps will be built, probably, on what the build of the key `after` makes, which may be running: what does
        not depend on that may be done beside it. They may never be built, and nothing comes of it. Raises what `steps` does,
        which is called where there is a use for them.
        """

    def build_dockerfile(self, build: DockerfileBuild, log: Log, cancel: Cancel) -> Held:
        """An image from a Dockerfile; labels of its own are those whose names start with `dev.conveyor.`.

        `CommandFailed`, `NotFound`, `Cancelled`; `StapelError` for a Dockerfile that is wrong, and from an engine that has
        no BuildKit. A failure leaves nothing but the engine's own cache.
        """

    def tree(self, image: Held) -> AbstractContextManager[Tree]:
        """The merged files of an image."""

    def put(self, image: Held, config: ImageConfig, into: ImageStore, cancel: Cancel) -> Descriptor:
        """Store the files of `image` with this configuration (its rootfs and history are ours to fill), without a name."""

    def run(self, image: Held, command: Sequence[str]) -> int:
        """The image as its own configuration says, `command` (where there is one) in the place of its CMD, on the user's
        terminal; the exit status. What it changes is thrown away. `StapelError` where it has nothing to run.
        """

    def note_used(self, image_ids: Iterable[str]) -> None:
        """Images of its own store were used, though not held: who keeps the store in bounds takes others first.

        An engine whose store somebody else keeps has nothing to note.
        """

    def shell(self, image: Held, run: Run) -> int:
        """Introspection: bash of the toolchain on the user's terminal in a build container; its exit status."""

    def shell_failed(self, on: Held, steps: Sequence[Lay | Run]) -> int:
        """Run the steps again on `on` and open a shell in what they left, whatever their status; the shell's status."""

    def close(self) -> None:
        """End what this engine started for this run."""
