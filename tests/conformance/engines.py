"""The engines that the suites `test_engine*` ask, and words for asking them. An engine joins by an entry in ENGINES."""

import contextlib
import io
import os
import secrets
import tarfile
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from stapel.api import Cancel, Engine, File, Lay, Run
from stapel.errors import NotFound
from stapel.oci.api import Descriptor
from stapel.runs import open_run

# Says which switches of the kernel, in /proc and below $more, it can write to, and that it has tried.
TRY_SWITCHES = """
for f in $(find /proc/sys /proc/irq /proc/bus /proc/fs $more -type f -perm -200 2>/dev/null); do
    tried=yes
    (: >>"$f") 2>/dev/null && echo "$f"
done
echo "tried: $tried"
"""


@dataclass
class Said:
    """A log that keeps what it is told, and notices when it is told by two threads at once."""

    pieces: list = field(default_factory=list)
    overlapped: bool = False
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, stream, data):
        if self._busy.acquire(blocking=False):
            self.pieces.append((stream, data))
            self._busy.release()
        else:
            self.overlapped = True

    def bytes(self, stream=None):
        return b"".join(data for name, data in self.pieces if stream in (None, name))

    def text(self, stream=None):
        return self.bytes(stream).decode()


@dataclass(eq=False)
class Subject:
    """An engine of its own run and project. `left` tells what its run has left on the machine."""

    engine: Engine
    base_reference: str
    home_dir: Path
    tmp_dir: Path
    left: object
    forget: object  # takes an image away
    resources: contextlib.ExitStack
    stored: list = field(default_factory=list)  # ids of images, to be forgotten at the end

    def base(self):
        """The base, of busybox."""
        return self.keep(self.engine.base(self.base_reference, self.engine.platform(), Said()))

    def scratch(self):
        return self.keep(self.engine.hold(None))

    def keep(self, held):
        """Close it at the end of the test."""
        self.resources.callback(held.close)
        return held

    def await_removals(self):
        """What was closed is removed beside what comes next: until it is."""
        deadline_s = time.monotonic() + 60
        while self.left():
            assert time.monotonic() < deadline_s, self.left()
            time.sleep(0.05)

    def build(self, on, *steps, log=None, cancel=None):
        return self.keep(self.engine.build(on, steps, log or Said(), cancel or Cancel()))

    def run(self, on, script, **fields):
        """What a script says on `on`."""
        said = Said()
        self.build(on, Run(script, **fields), log=said)
        return said.text()

    def store(self, held, config, into=None):
        """The image in a store, forgotten at the end of the test."""
        store = into or self.engine.images
        view = store.get(self.engine.put(held, config, store, Cancel()).digest)
        image_id = view.manifest.config.digest if hasattr(view, "manifest") else view.descriptor.digest
        if image_id != held.id:
            self.stored.append(image_id)
        return view

    def with_config(self, on, **run):
        """The files of `on`, held with another configuration."""
        return self.keep(self.engine.hold(self.store(on, on.config.with_(run={**on.config.run, **run}))))

    def paths(self, held, path=b""):
        """Everything at a path: {path: File}."""
        with self.engine.tree(held) as tree:
            return {file.path: file for file in tree.walk(path)}

    def files(self, held, path=b""):
        """Everything at a path: {path: File}, and the contents, {path: bytes}."""
        files, contents = {}, {}
        with self.engine.tree(held) as tree:
            for file in tree.walk(path):
                files[file.path] = file
                if file.kind == "file":
                    with file.open() as content:
                        contents[file.path] = content.read()
        return files, contents

    def top_layer(self, held):
        """The members of the topmost layer of an image as it is stored, by name."""
        view = self.store(held, held.config.with_(author=secrets.token_hex(4)))
        with view.open(view.layers()[-1]) as stream, tarfile.open(fileobj=io.BytesIO(stream.read())) as archive:
            return {member.name: member for member in archive}


@contextlib.contextmanager
def docker_subject(home_dir, request):
    import docker
    import docker.errors

    from stapel.docker.containers import RUN_LABEL
    from stapel.docker.engine import DockerEngine

    client = request.getfixturevalue("docker_engine")

    def left():
        mine = {"label": f"{RUN_LABEL}={run.id}"}
        containers = client.containers(all=True, filters=mine)
        return [item["Names"] for item in containers] + [item["Id"] for item in client.images(filters=mine, all=True)]

    def forget(image_id):
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.remove_image(image_id, force=True)

    with open_run(home_dir) as run, tempfile.TemporaryDirectory(prefix="engine-") as tmp_dir:
        project = f"conveyor-conformance-{secrets.token_hex(4)}"
        engine = DockerEngine(project, run_id=run.id, home_dir=home_dir, tmp_dir=Path(tmp_dir))
        base = request.getfixturevalue("busybox_base")
        subject = Subject(engine, base, home_dir, Path(tmp_dir), left, forget, contextlib.ExitStack())
        try:
            yield subject
        finally:
            subject.resources.close()
            engine.close()
            for image_id in reversed(subject.stored):
                forget(image_id)
        assert left() == []
        assert list(Path(tmp_dir).iterdir()) == []


@contextlib.contextmanager
def sandbox_subject(home_dir, request, runner="bubblewrap", driver="auto"):
    from stapel.sandbox.engine import SandboxEngine

    def left():
        return sorted(path.name for path in (home_dir / "sandbox/filling").glob(f"{run.id}-*"))

    def forget(image_id):
        with contextlib.suppress(NotFound):
            engine.images.delete(Descriptor("", image_id, 0))

    with open_run(home_dir) as run, tempfile.TemporaryDirectory(prefix="engine-") as tmp_dir:
        project = f"conveyor-conformance-{secrets.token_hex(4)}"
        engine = SandboxEngine(
            project, run_id=run.id, home_dir=home_dir, tmp_dir=Path(tmp_dir), runner=runner, driver=driver
        )
        base = busybox_of(engine, home_dir)
        subject = Subject(engine, base, home_dir, Path(tmp_dir), left, forget, contextlib.ExitStack())
        try:
            yield subject
            subject.resources.close()
            for image_id in reversed(subject.stored):
                forget(image_id)
        finally:
            engine.close()
        assert left() == []
        assert list(Path(tmp_dir).iterdir()) == []


def busybox_of(engine, home_dir):
    """The base of busybox in the store of a sandbox, imported by the first who asks."""
    from samples.make_base import PATH, busybox_archive, find_busybox

    reference = "conveyor-test/busybox:1"
    if not any((home_dir / "sandbox/names").glob("*busybox")):
        engine.import_base(reference, io.BytesIO(busybox_archive(find_busybox())), {"Env": [f"PATH={PATH}"]})
    return reference


ENGINES = {
    "docker": pytest.param(docker_subject, marks=pytest.mark.docker),
    "sandbox": pytest.param(sandbox_subject),
}
# Engines that differ in how they start commands, and in nothing else.
RUNNERS = {f"sandbox-{name}": pytest.param(partial(sandbox_subject, runner=name)) for name in ("runc", "crun")}
# Engines that differ in how they keep files, and in nothing else.
DRIVERS = {
    "sandbox-copy": pytest.param(partial(sandbox_subject, driver="copy")),
    "sandbox-btrfs": pytest.param(partial(sandbox_subject, driver="btrfs")),
}


def file(path, text=b"", mode=0o644, **fields):
    return File(path, "file", mode, size=len(text), open=lambda: io.BytesIO(text), **fields)


def directory(path, mode=0o755, **fields):
    return File(path, "directory", mode, **fields)


def link(path, target, **fields):
    return File(path, "symlink", 0o777, link=target, **fields)


def lay(*files, **fields):
    ordered = sorted(files, key=lambda item: item.path.split(b"/"))
    return Lay(lambda: iter(ordered), **fields)


def programs(*names):
    """Programs of this machine with all that they load, at their own places: files for an image without anything."""
    import re
    import shutil
    import subprocess

    paths = set()
    for name in names:
        program = shutil.which(name)
        paths.add(program)
        listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
        paths |= set(re.findall(r"(/\S+) \(0x", listed))
    return [file(os.fsencode(path).strip(b"/"), Path(path).read_bytes(), 0o755) for path in sorted(paths)]
