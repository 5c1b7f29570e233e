"""An engine in memory, with its image store: images are dicts of files, and scripts are lines of toy commands.

    write PATH TEXT     a file                  wait GATE     until somebody opens it, or the step is cancelled
    remove PATH                                 open GATE
    say TEXT            to the log              fail STATUS
    task NAME           nothing; fails where NAME is among `failing`

Everything else does nothing. `trace` of an engine or a store is called before each thing is done, in the thread that asks
for it: a test acts, waits or raises there. An image that is used after it was closed fails the test.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from conveyor.storage.names import StageName, parse_stage_name
from stapel.api import Cancel, Lay, Log, Run
from stapel.dockerfile import DockerfileBuild
from stapel.errors import CommandFailed, FileChanged, NotFound
from stapel.image_config import child
from stapel.oci.api import Description, Descriptor, ImageConfig, ImageStore, ImageView
from tests.unit.stapel.trees import MemoryTree, Node, file, tree_of

GATE_TIMEOUT_S = 30.0

Trace = Callable[[str, str], None]


def no_trace(verb: str, what: str) -> None:
    """Nothing happens."""


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class MemoryImage:
    """An image of a store."""

    descriptor: Descriptor
    config: ImageConfig
    files: Mapping[bytes, Node]

    def layers(self) -> tuple[Descriptor, ...]:
        return tuple(Descriptor("layer", digest, -1) for digest in self.config.diff_ids)

    def open(self, blob: Descriptor) -> io.BytesIO:
        raise NotFound(f"{blob.digest}: an image in memory has no bytes")


@dataclass
class MemoryImages:
    """A store. Where it `has_manifests`, the digest of an image is not its id, as in a registry."""

    address: str = "memory"
    has_manifests: bool = False
    images: dict[str, MemoryImage] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    trace: Trace = no_trace
    lists: int = 0

    def keep(self, config: ImageConfig, files: Mapping[bytes, Node], digest: str = "") -> Descriptor:
        """Put an image; `digest` where it is not to be that of its content."""
        content = config.to_bytes()
        digest = digest or sha256(b"manifest " + content if self.has_manifests else content)
        self.images[digest] = MemoryImage(Descriptor("image", digest, len(content)), config, files)
        return self.images[digest].descriptor

    def lose(self, digest: str) -> None:
        """Lose an image but not its names."""
        del self.images[digest]

    def stages(self) -> dict[str, list[str]]:
        """The names of stages by their digest."""
        found = defaultdict(list)
        for name in sorted(self.named):
            if not name.startswith("import-"):
                found[name.partition("-")[0]].append(name)
        return found

    def clock_skew_ms(self) -> int:
        return 0

    def reference(self, name: str) -> str:
        return f"{self.address}:{name}"

    def names(self, *, fresh: bool = False, prefix: str = "") -> Iterator[str]:
        self.trace("names", prefix)
        self.lists += 1
        return iter([name for name in tuple(self.named) if name.startswith(prefix)])

    def describe(self, name: str) -> Description:
        self.trace("describe", name)
        if self.named.get(name) not in self.images:
            raise NotFound(f"no {name} in {self.address}")
        image = self.images[self.named[name]]
        image_id = sha256(image.config.to_bytes()) if self.has_manifests else image.descriptor.digest
        return Description(image.descriptor, image.config.labels, 10 * len(image.files), 1, image_id)

    def get(self, reference: str) -> ImageView:
        self.trace("get", reference)
        digest = self.named.get(reference, reference)
        if digest not in self.images:
            raise NotFound(f"no {reference} in {self.address}")
        return self.images[digest]

    def put(self, image: ImageView) -> Descriptor:
        assert isinstance(image, MemoryImage)
        self.trace("put", image.descriptor.digest)
        return self.keep(image.config, image.files)

    def put_record(self, name: str) -> None:
        self.trace("record", name)
        self.named[name] = "record"

    def name(self, name: str, image: Descriptor, *, renew=None) -> None:
        self.trace("name", name)
        if image.digest not in self.images:
            raise NotFound(image.digest)
        if parse_stage_name(name) is not None:
            assert self.named.get(name, image.digest) == image.digest, f"{name} was given to other bytes"
        self.named[name] = image.digest

    def delete(self, image: Descriptor) -> None:
        self.lose(image.digest)
        self.named = {name: digest for name, digest in self.named.items() if digest != image.digest}

    def unname(self, name: str) -> None:
        del self.named[name]


def come_before(store: MemoryImages, text: str) -> None:
    """Somebody else's stage of the digest that is being named, a millisecond older."""
    name = parse_stage_name(text)
    assert name is not None
    ours = next(item for digest, item in tuple(store.images.items()) if digest.startswith(f"sha256:{name.suffix}"))
    rival = store.keep(ImageConfig({**ours.config.document, "author": "somebody else"}), ours.files)
    older = StageName(name.timestamp_ms - 1, name.digest, rival.digest[7:15])
    store.named[str(older)] = rival.digest


@dataclass(eq=False)
class MemoryHeld:
    """An image that is pinned. `image`: what it was taken from, None for a layer that no store has."""

    engine: MemoryEngine
    id: str
    config: ImageConfig
    files: Mapping[bytes, Node]
    image: MemoryImage | None = None

    def again(self) -> MemoryHeld:
        return self.engine._pin(replace(self))

    def close(self) -> None:
        self.engine.held.discard(self)


@dataclass
class MemoryEngine:
    """See `stapel.api.Engine`. `ran` holds the scripts in the order in which they began."""

    images: MemoryImages = field(default_factory=lambda: MemoryImages("engine"))
    bases: Mapping[str, Mapping[bytes, Node]] = field(default_factory=lambda: {"busybox:1": {b"bin/sh": file(b"sh")}})
    name: str = "memory"
    failing: set[str] = field(default_factory=set)
    trace: Trace = no_trace
    ran: list[str] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)  # of builds of commands, by what they run
    readied: dict[str, str] = field(default_factory=dict)  # the keys that commands are made ready behind
    dockerfiles: list[DockerfileBuild] = field(default_factory=list)
    shells: list[Run] = field(default_factory=list)
    held: set[MemoryHeld] = field(default_factory=set)
    gates: defaultdict[str, threading.Event] = field(default_factory=lambda: defaultdict(threading.Event))
    used: set[str] = field(default_factory=set)
    running: int = 0
    most_running: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _counter: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def probe(self) -> str:
        return ""

    def describe(self) -> str:
        return "memory"

    def platform(self) -> str:
        return "linux/amd64"

    def base(self, reference: str, platform: str, log: Log) -> MemoryHeld:
        self.trace("base", reference)
        if reference not in self.bases:
            raise NotFound(f"no image {reference}")
        document = {"os": "linux", "architecture": "amd64", "config": {"Env": ["PATH=/bin"]}}
        return self._pin(MemoryHeld(self, reference, ImageConfig(document), self.bases[reference]))

    def hold(self, image: ImageView | None) -> MemoryHeld:
        if image is None:
            return self._pin(MemoryHeld(self, "", ImageConfig({"config": {}}), {}))
        assert isinstance(image, MemoryImage)
        self.trace("hold", image.descriptor.digest)
        return self._pin(MemoryHeld(self, image.descriptor.digest, image.config, image.files, image))

    def expect_builds(self) -> None:
        pass

    def rest(self) -> None:
        pass

    def build(
        self,
        on: MemoryHeld,
        steps: Sequence[Lay | Run],
        log: Log,
        cancel: Cancel,
        key: str = "",
        into: ImageStore | None = None,
    ) -> MemoryHeld:
        del into
        with self._lock:
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            self._check(on)
            self.trace("build", on.id)
            if not steps:
                return self._pin(replace(on))
            files = dict(on.files)
            for step in steps:
                if isinstance(step, Lay):
                    _lay(files, step)
                else:
                    self.keys[step.script.strip()] = key
                    self._run(files, step.script, log, cancel)
            cancel.check()
            self._check(on)
            return self._pin(MemoryHeld(self, f"layer-{next(self._counter)}", on.config, files))
        finally:
            with self._lock:
                self.running -= 1

    def make_ready(self, steps: Callable[[], Sequence[Lay | Run]], after: str) -> None:
        for step in steps():
            if isinstance(step, Run):
                self.readied[step.script.strip()] = after

    def build_dockerfile(self, build: DockerfileBuild, log: Log, cancel: Cancel) -> MemoryHeld:
        """The files of the context in an image. RUN lines of the Dockerfile are scripts as any."""
        self.dockerfiles.append(build)
        held = [self.base(reference, platform, log) for reference, platform in build.bases]
        try:
            build.check_bases({each.id: each.config for each in held})
        finally:
            for each in held:
                each.close()
        files: dict[bytes, Node] = {}
        _lay(files, Lay(files=lambda: iter(build.files)))
        for line in build.dockerfile.decode().splitlines():
            if line.startswith("RUN "):
                self._run(files, line[4:], log, cancel)
        config = ImageConfig({"config": {"Labels": {"dev.conveyor.run": "1", "own": "x"}, "Cmd": ["x"]}})
        return self._pin(MemoryHeld(self, f"built-{next(self._counter)}", config, files))

    def _run(self, files: dict[bytes, Node], script: str, log: Log, cancel: Cancel) -> None:
        with self._lock:
            self.ran.append(script.strip())
        self.trace("run", script.strip())
        for line in script.splitlines():
            verb, _, rest = line.partition(" ")
            name, _, text = rest.partition(" ")
            if verb == "write":
                files[name.strip("/").encode()] = file(text.encode())
            elif verb == "remove":
                del files[name.strip("/").encode()]
            elif verb == "say":
                log("stdout", f"{rest}\n".encode())
            elif verb == "open":
                self.gates[name].set()
            elif verb == "wait":
                self.pass_gate(name, cancel)
            elif verb == "fail":
                raise CommandFailed(int(name))
            elif verb == "task" and name in self.failing:
                raise CommandFailed(1)

    def pass_gate(self, name: str, cancel: Cancel | None = None) -> None:
        """Wait until a gate is opened; a gate that nobody opens fails the test."""
        for _ in range(int(GATE_TIMEOUT_S / 0.005)):
            if self.gates[name].wait(0.005):
                return
            if cancel is not None:
                cancel.check()
        raise AssertionError(f"nobody opens the gate {name}")

    @contextmanager
    def tree(self, image: MemoryHeld) -> Iterator[MemoryTree]:
        self._check(image)
        yield MemoryTree(tree_of(dict(image.files)))
        self._check(image)

    def put(self, image: MemoryHeld, config: ImageConfig, into: MemoryImages, cancel: Cancel) -> Descriptor:
        self._check(image)
        self.trace("put", image.id)
        cancel.check()
        if image.image is None or config != image.config:
            # Two builds of one stage are never the same bytes.
            layer = sha256(f"{image.id} {next(self._counter)}".encode())
            config = child(config, diff_ids=(*config.diff_ids, layer), created_ms=1_700_000_000_000 + next(self._counter))
        self._check(image)
        return into.keep(config, image.files)

    def run(self, image: MemoryHeld, command: Sequence[str]) -> int:
        del image, command
        raise NotImplementedError("tests of a build run no images")

    def note_used(self, image_ids: Iterable[str]) -> None:
        self.used.update(image_ids)

    def shell(self, image: MemoryHeld, run: Run) -> int:
        self._check(image)
        self.trace("shell", image.id)
        self.shells.append(run)
        return 0

    def shell_failed(self, on: MemoryHeld, steps: Sequence[Lay | Run]) -> int:
        self._check(on)
        self.trace("shell_failed", on.id)
        return 0

    def close(self) -> None:
        self.held.clear()

    def _pin(self, held: MemoryHeld) -> MemoryHeld:
        self.held.add(held)
        return held

    def _check(self, held: MemoryHeld) -> None:
        assert held in self.held, f"{held.id} is used after it was closed"


def blob_id(content: bytes) -> str:
    """The id that git gives to a content."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content), usedforsecurity=False).hexdigest()


def _lay(files: dict[bytes, Node], lay: Lay) -> None:
    changed = [path for path, oid in lay.expected.items() if path not in files or blob_id(_content(files[path])) != oid]
    if changed:
        raise FileChanged(changed)
    for directory in lay.empty:
        for path in [path for path in files if path.startswith(directory + b"/")]:
            del files[path]
    for path in lay.remove:
        del files[path]
    for item in lay.files():
        if item.kind == "file":
            assert item.open is not None
            with item.open() as content:
                files[item.path] = file(content.read(), mode=item.mode, uid=item.uid, gid=item.gid)
        elif item.kind == "symlink":
            files[item.path] = Node("symlink", link=item.link, mode=0o777)


def _content(node: Node) -> bytes:
    return node.link if node.kind == "symlink" else node.content
