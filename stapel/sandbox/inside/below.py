"""The merged tree of what is below a layer that is applied."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import BinaryIO, cast

from stapel.oci.archive import Member
from stapel.sandbox.inside.syscalls import open_inside
from stapel.sandbox.inside.trees import read_xattrs

_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}


class Below:
    """A `LowerTree` over an open directory, which it owns."""

    def __init__(self, root_fd: int) -> None:
        self._root = root_fd

    def close(self) -> None:
        """Forget it."""
        os.close(self._root)

    def find(self, path: bytes) -> Member | None:
        """What stands at a path."""
        try:
            fd = open_inside(self._root, path, os.O_PATH | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            info = os.fstat(fd)
            kind = _KINDS.get(stat.S_IFMT(info.st_mode), "file")
            link = os.readlink(b"", dir_fd=fd) if kind == "symlink" else b""
            xattrs = read_xattrs(b"/proc/self/fd/%d" % fd) if kind in ("file", "directory") else {}
        finally:
            os.close(fd)
        size = info.st_size if kind == "file" else 0
        mode = stat.S_IMODE(info.st_mode)
        return Member(path, kind, mode, info.st_uid, info.st_gid, info.st_mtime_ns, size, link, (0, 0), xattrs, None)

    def names(self, path: bytes) -> Iterable[bytes]:
        """The names in a directory."""
        fd = open_inside(self._root, path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file."""
        return cast(BinaryIO, os.fdopen(open_inside(self._root, path, os.O_RDONLY | os.O_NOFOLLOW), "rb"))
