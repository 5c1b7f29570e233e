"""Running commands in a merged tree: the tree, what is mounted over it, the runner, what is left."""

from __future__ import annotations

import _socket
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from stapel.containers import SECRETS_DIR
from stapel.sandbox.inside.building import remove, told
from stapel.sandbox.inside.drivers import ASIDE, Driver
from stapel.sandbox.inside.points import NoMountPoint, Points, Texts
from stapel.sandbox.inside.process import OnNext, Process
from stapel.sandbox.wire import send

_OWN = b".conveyor"  # the place of our own mount points
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Commands:
    """The commands of `run`, which fill `fs` of `filling`. `files`: stdin, stdout, stderr, the compiled seccomp rules.

    `launch`, `enter`, `set_up`, `finish`; then, however far it came, `end`. Those that are `held` begin when `go` is called.
    """

    def __init__(
        self,
        driver: Driver,
        filling: bytes,
        run: Mapping[str, Any],
        files: Sequence[int],
        *,
        held: bool = False,
    ) -> None:
        self._driver, self._filling, self._run = driver, filling, run
        self._lowers: Sequence[bytes] = ()
        self._process = Process(run, files, held=held)
        self._root: bytes | None = None
        self._points: Points | None = None
        self._texts: Texts | None = None
        self._is_ours = False  # whether nothing of the image stands in our own place

    def launch(self) -> None:
        """Do what needs nothing of the tree yet."""
        self._process.launch()
        self._texts = Texts(self._run["texts"], ASIDE)

    def enter(self, lowers: Sequence[bytes]) -> None:
        """Have the tree, of what was begun on these layers. `OSError`, `NoMountPoint`."""
        self._lowers = lowers
        self._is_ours = not self._driver.holds(self._filling, lowers, _OWN)
        script = self._run["script"]
        if script is not None:
            _put_script(self._filling + b"/fs", script)
        self._root = self._driver.enter(self._filling, lowers, self._run["stub"])

    def set_up(self) -> None:
        """Mount what commands alone have, and let the runner go on. `NoMountPoint`."""
        assert self._root is not None, "there is no tree"
        assert self._texts is not None, "it was not launched"
        run = self._run
        points = self._points = Points(self._root)
        for name in (b"proc", b"dev", b"sys"):
            points.check_directory(name)
        for source, target, read_only in run["mounts"]:
            if source:
                points.mount(source, target, read_only=read_only)
            else:
                points.mount_text(self._texts[target], target)
        if run["secrets"]:
            points.mount_files(os.fsencode(SECRETS_DIR.strip("/")), run["secrets"])
        if run["network"] == "host" and run["rules"] is not None:  # bubblewrap does it at its end
            points.mount(b"/sys", b"sys", read_only=True)
        self._process.begin(self._root, {b"HOME": _home(points), **run["env"]})

    def go(self) -> None:
        """Let held commands begin."""
        self._process.go()

    def finish(self, control: _socket.socket, on_next: OnNext) -> dict[str, Any]:
        """Their status (see `Process.wait`), once they have ended, and the layer that they leave, where that is wanted.

        That it is large is told before that.
        """
        self._driver.tidy()
        status = self._process.wait(control, on_next)
        self.end()
        if self._is_ours:  # nothing of ours is left in the image
            remove(self._filling + b"/fs/" + _OWN)
        if status or not self._run["wants_layer"]:
            return {"status": status}
        layer = self._driver.write(self._filling, self._lowers, lambda: send(control, ("large", None)))
        return {"status": status, **told(layer)}

    def end(self, *, beside: bool = False) -> None:
        """End what runs, and leave the tree. `beside`: others run."""
        try:
            self._process.end(beside=beside)
        finally:
            points, self._points = self._points, None
            if points is not None:
                points.take_back()
                points.close()
            texts, self._texts = self._texts, None
            if texts is not None:
                texts.close()
            if self._root is not None:
                self._root = None
                self._driver.leave()


def _home(points: Points) -> bytes:
    """The home of root by the image's passwd, as engines have it; `/` where it has none."""
    try:
        file = points.open(b"etc/passwd")
    except OSError:
        return b"/"
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return b"/"
        for line in os.read(file, 1 << 20).splitlines():
            fields = line.split(b":")
            if len(fields) > 5 and fields[2] == b"0":
                return fields[5] or b"/"
    finally:
        os.close(file)
    return b"/"


def _put_script(root: bytes, script: bytes) -> None:
    """Put a script where the entrypoint looks for it. A link of the image is not followed."""
    tree = os.open(root, _DIRECTORY)
    try:
        with suppress(FileExistsError):
            os.mkdir(_OWN, 0o755, dir_fd=tree)
        try:
            directory = os.open(_OWN, _DIRECTORY | os.O_NOFOLLOW, dir_fd=tree)
        except NotADirectoryError:
            why = f"/{_OWN.decode()} is no directory in the image, and build containers mount over it"
            raise NoMountPoint(why) from None
    finally:
        os.close(tree)
    try:
        with suppress(FileNotFoundError):
            os.unlink(b"script", dir_fd=directory)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with open(b"script", "wb", opener=lambda path, _: os.open(path, flags, 0o600, dir_fd=directory)) as file:
            file.write(script)
    finally:
        os.close(directory)
