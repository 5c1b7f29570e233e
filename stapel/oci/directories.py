"""Walking below a root without leaving it: every step opens one name in an open directory and follows no link."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from types import TracebackType

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KEPT_OPEN = 64


class OpenDirectory:
    """The directory that a walk stands in, and those above it up to the root.

    `path` is relative to the root and holds no link; `fd` is open. However deep, only some descriptors are held: those in
    the middle are opened again from the root when the walk comes back to them. The root's descriptor is the caller's.
    """

    __slots__ = ("_fds", "_root", "fd", "names", "path")

    def __init__(self, root: int) -> None:
        self._root = root
        self._fds: list[int | None] = []
        self.names: list[bytes] = []
        self.fd = root
        self.path = b""

    def enter(self, name: bytes) -> None:
        """Go down into a directory. `OSError` where there is none of that name (a link is none), and nothing changes."""
        fd = os.open(name, _FLAGS, dir_fd=self.fd)
        self._fds.append(fd)
        self.names.append(name)
        self.fd = fd
        self.path = self.path + b"/" + name if self.path else name
        if len(self._fds) > _KEPT_OPEN:
            old = self._fds[-1 - _KEPT_OPEN]
            if old is not None:
                os.close(old)
                self._fds[-1 - _KEPT_OPEN] = None

    def leave_to(self, depth: int) -> None:
        """Go up to where `depth` names are left; 0 is the root."""
        while len(self.names) > depth:
            self.names.pop()
            fd = self._fds.pop()
            if fd is not None:
                os.close(fd)
        if depth and self._fds[-1] is None:
            self._reopen()
        self.fd = (self._fds[-1] if self._fds else None) or self._root
        self.path = b"/".join(self.names)

    def go(self, path: bytes) -> None:
        """Stand at another directory, given by its path from the root. `OSError` leaves the walk above what is absent."""
        names = path.split(b"/") if path else []
        shared = 0
        for one, other in zip(names, self.names, strict=False):
            if one != other:
                break
            shared += 1
        if shared < len(self.names):
            self.leave_to(shared)
        for name in names[shared:]:
            self.enter(name)

    def close(self) -> None:
        """Close all but the root."""
        self.leave_to(0)

    def _reopen(self) -> None:
        """Open this directory from the root, and keep those on the way that `enter` would have kept."""
        fd = self._root
        for depth, name in enumerate(self.names):
            inner = os.open(name, _FLAGS, dir_fd=fd)
            if fd != self._root and depth <= len(self.names) - _KEPT_OPEN:
                os.close(fd)
                self._fds[depth - 1] = None
            fd = self._fds[depth] = inner

    def __enter__(self) -> OpenDirectory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def remove_tree(parent: int, name: bytes, keep: Callable[[bytes], bool] | None = None) -> None:
    """Remove what stands at `name` in an open directory, and all below it; links are removed, never followed.

    `keep` is asked for paths that begin with `name`: what it wants to keep stays, and the directories above that.
    """
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        if keep is None or not keep(name):
            os.unlink(name, dir_fd=parent)
        return
    with OpenDirectory(parent) as walk:
        walk.enter(name)
        waiting = [_unlink_files(walk, keep)]
        while waiting:
            if waiting[-1]:
                walk.enter(waiting[-1].pop())
                waiting.append(_unlink_files(walk, keep))
                continue
            waiting.pop()
            path = walk.path
            walk.leave_to(len(walk.names) - 1)
            if keep is None or not keep(path):
                try:
                    os.rmdir(path.rpartition(b"/")[2], dir_fd=walk.fd)
                except OSError:
                    if keep is None:
                        raise


def _unlink_files(walk: OpenDirectory, keep: Callable[[bytes], bool] | None) -> list[bytes]:
    """Remove all but directories, whose names are returned."""
    directories = []
    with os.scandir(walk.fd) as items:
        for item in items:
            name = os.fsencode(item.name)
            if item.is_dir(follow_symlinks=False):
                directories.append(name)
            elif keep is None or not keep(walk.path + b"/" + name):
                os.unlink(name, dir_fd=walk.fd)
    return directories
