"""The worker: serves one request after another over a socket, as root of a user namespace with mounts of its own.

It ends when the socket does, and what it has mounted and started ends with it.
"""

from __future__ import annotations

import _socket
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from stapel.sandbox.inside.drivers import Driver, choose_driver, try_out
from stapel.sandbox.inside.syscalls import CLONE_NEWNS, CLONE_NEWUSER, adopt_orphans, make_private, unshare
from stapel.sandbox.inside.trees import ReadTree, Row
from stapel.sandbox.inside.views import drop_views
from stapel.sandbox.wire import Gone, receive, send

if TYPE_CHECKING:
    from stapel.sandbox.inside.following import Following

_ROWS_AT_ONCE = 500

Answer = tuple[Any, list[int]]  # a value, and descriptors that are closed once they are sent


def main(control_fd: int, store_dir: str) -> None:
    """Serve until the other end of the socket is closed."""
    # Whoever started the engine may have left files open in it: none of them is a build container's.
    os.set_inheritable(control_fd, False)
    os.closerange(control_fd + 1, os.sysconf("SC_OPEN_MAX"))
    control = _socket.socket(fileno=control_fd)
    driver: Driver | None = None
    worker: _Worker | None = None
    try:
        # What a request would wait for: the first worker has time, for the engine's own modules take longer.
        import stapel.oci.diff
        import stapel.oci.layer
        import stapel.sandbox.inside.building
        import stapel.sandbox.inside.merging
        import stapel.sandbox.inside.running  # noqa: F401

        drop_views()
        unshare(CLONE_NEWUSER | CLONE_NEWNS)
        send(control, ("unshared", None))
        (asked, name), _ = receive(control)  # the ids are mapped
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        make_private()
        adopt_orphans()
        os.umask(0)
        os.chdir(os.path.join(store_dir, "snapshots"))
        driver = choose_driver(asked, os.fsencode(store_dir) + b"/mnt", b"../filling/" + name, b"../work/" + name)
        worker = _Worker(control, driver)
        send(control, ("ready", driver.name))
        driver.tidy()
        while True:
            worker.serve()
    except Gone:
        if worker is not None:
            worker.close()
        if driver is not None:
            driver.close()
        os._exit(0)  # nothing is left to be done, and somebody waits for it
    except OSError as error:
        send(control, ("failed", (error.errno or 0, str(error))))
        os._exit(1)


class _Worker:
    def __init__(self, control: _socket.socket, driver: Driver) -> None:
        self._control = control
        self._driver = driver
        self._tree: ReadTree | None = None
        self._walks: dict[int, Iterator[Row]] = {}
        self._walk_count = 0
        self._following: Following | None = None
        self._calls: dict[str, Callable[..., Answer]] = {
            "open_tree": self._open_tree,
            "close_tree": self._close_tree,
            "stat": self._stat,
            "walk": self._walk,
            "more": self._more,
            "open": self._open,
            "build": self._build,
            "go": self._go,
            "read_layer": self._read_layer,
            "send_layer": self._send_layer,
            "find_unlisted": self._find_unlisted,
            "remove": self._remove,
            "try_out": self._try_out,
        }

    def serve(self) -> None:
        """One request and its answer."""
        (name, arguments), files = receive(self._control)
        given: list[int] = []
        try:
            if name not in self._calls:
                return  # a word for a call that has ended already
            if name != "go":
                self._drop_following()
            value, given = self._calls[name](files, **arguments)
            send(self._control, ("ok", value), given)
        except Gone:
            raise
        except Exception as error:
            send(self._control, ("failed", _describe(error)))
        finally:
            for file in (*files, *given):
                os.close(file)
        if self._following is not None:
            self._following.set_up()

    def close(self) -> None:
        """End what runs."""
        self._drop_following()

    def _open_tree(self, files: list[int], lowers: list[bytes]) -> Answer:
        del files
        self._tree = ReadTree(self._driver.read(lowers))
        return None, []

    def _close_tree(self, files: list[int]) -> Answer:
        del files
        self._walks.clear()
        if self._tree is not None:
            self._tree.close()
            self._tree = None
        self._driver.leave()
        return None, []

    def _stat(self, files: list[int], path: bytes) -> Answer:
        del files
        return self._opened.stat(path), []

    def _walk(self, files: list[int], path: bytes) -> Answer:
        self._walk_count += 1
        self._walks[self._walk_count] = self._opened.walk(path)
        batch, _ = self._more(files, self._walk_count)
        return (self._walk_count, batch), []

    def _more(self, files: list[int], walk: int) -> Answer:
        del files
        rows = []
        for row in self._walks[walk]:
            rows.append(row)
            if len(rows) >= _ROWS_AT_ONCE:
                return (rows, True), []
        del self._walks[walk]
        return (rows, False), []

    def _open(self, files: list[int], path: bytes) -> Answer:
        del files
        found = self._opened.open(path)
        return found is not None, [] if found is None else [found]

    def _build(self, files: list[int], **arguments: Any) -> Answer:  # noqa: ANN401 -- those of the function
        from stapel.sandbox.inside.building import build

        return self._run(lambda: build(self._driver, self._control, files, on_next=self._launch_following, **arguments))

    def _go(self, files: list[int]) -> Answer:
        del files
        following, self._following = self._following, None
        assert following is not None, "nothing is made ready"
        return self._run(lambda: following.finish(self._control, self._launch_following))

    def _run(self, work: Callable[[], dict[str, Any]]) -> Answer:
        try:
            answer = work()
        except BaseException:
            self._drop_following()
            raise
        if answer["status"]:
            self._drop_following()
        return {**answer, "is_followed": self._following is not None}, []

    def _launch_following(self, files: list[int], **arguments: Any) -> bool:  # noqa: ANN401 -- those of what is built
        from stapel.sandbox.inside.following import launch

        self._following = launch(self._driver, files, **arguments)
        return self._following is not None

    def _drop_following(self) -> None:
        following, self._following = self._following, None
        if following is not None:
            following.drop()

    def _read_layer(self, files: list[int], snapshot: bytes, below: bytes) -> Answer:
        from stapel.sandbox.inside.building import read_layer

        return read_layer(snapshot, below, files[0]), []

    def _send_layer(self, files: list[int], below: bytes) -> Answer:
        from stapel.sandbox.inside.building import send_layer

        pipe, snapshot = files
        send_layer(b"/proc/self/fd/%d/fs" % snapshot, below, pipe)
        return None, []

    def _find_unlisted(self, files: list[int], snapshot: bytes, below: bytes) -> Answer:
        from stapel.sandbox.inside.building import find_unlisted

        del files
        return find_unlisted(snapshot, below), []

    def _remove(self, files: list[int], paths: list[bytes]) -> Answer:
        from stapel.sandbox.inside.building import remove_snapshot

        del files
        for path in paths:
            remove_snapshot(path)
        return None, []

    def _try_out(self, files: list[int], place: bytes) -> Answer:
        del files
        try_out(self._driver, place)
        return None, []

    @property
    def _opened(self) -> ReadTree:
        assert self._tree is not None, "no tree is open"
        return self._tree


def _describe(error: Exception) -> tuple[int, str]:
    if isinstance(error, OSError):
        return error.errno or 0, str(error) if error.errno else error.strerror or str(error)
    return 0, f"{type(error).__name__}: {error}"
