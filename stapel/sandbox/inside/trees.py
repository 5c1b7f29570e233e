"""A merged tree, read where all owners are mapped and every mode can be read over."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from stapel.oci.overlay import DEVICE_XATTR, KINDS, kept_xattrs, parse_device
from stapel.sandbox.inside.syscalls import open_inside

# path, kind, mode, size, uid, gid, link, mtime_s, major, minor, xattrs
Row = tuple[bytes, str, int, int, int, int, bytes, int, int, int, dict[str, bytes]]

_NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})


class ReadTree:
    """The tree at `root_fd`, which it owns from now on. Paths are relative to the root; b"" is the root."""

    def __init__(self, root_fd: int) -> None:
        self._root = root_fd
        self._prefix = len(os.readlink(f"/proc/self/fd/{root_fd}".encode()).rstrip(b"/")) + 1

    def close(self) -> None:
        """Forget it; files that were opened stay open."""
        os.close(self._root)

    def stat(self, path: bytes) -> Row | None:
        """What stands at a path, with links in parents resolved; None where nothing does."""
        found = self._parent(path)
        if found is None:
            return None
        parent_fd, parent, name = found
        try:
            return _row(parent_fd, name, _join(parent, name))
        except OSError as error:
            if error.errno in _NOTHING:
                return None
            raise
        finally:
            os.close(parent_fd)

    def walk(self, path: bytes) -> Iterator[Row]:
        """What stands at a path and all below it, relative to it, parents before children, names in order."""
        found = self._parent(path)
        if found is None:
            return
        parent_fd, _, name = found
        try:
            yield from _walk(parent_fd, name, b"")
        finally:
            os.close(parent_fd)

    def open(self, path: bytes) -> int | None:
        """A descriptor of a file's content; None where no file stands."""
        found = self._parent(path)
        if found is None:
            return None
        parent_fd, _, name = found
        try:
            if not stat.S_ISREG(os.lstat(name, dir_fd=parent_fd).st_mode):
                return None
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
            if os.fstat(file).st_size or DEVICE_XATTR not in os.listxattr(file):
                return file
            os.close(file)
            return None
        except OSError as error:
            if error.errno in _NOTHING:
                return None
            raise
        finally:
            os.close(parent_fd)

    def _parent(self, path: bytes) -> tuple[int, bytes, bytes] | None:
        """The directory that holds a path: open, resolved, and the name in it (`.` of the root itself)."""
        directory, _, name = path.rpartition(b"/")
        try:
            parent_fd = open_inside(self._root, directory, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            if error.errno in _NOTHING:
                return None
            raise
        resolved = os.readlink(f"/proc/self/fd/{parent_fd}".encode())[self._prefix :]
        return parent_fd, resolved, name or b"."


def _walk(parent_fd: int, name: bytes, path: bytes) -> Iterator[Row]:
    try:
        row = _row(parent_fd, name, path)
    except OSError as error:
        if error.errno in _NOTHING:
            return
        raise
    if row is None:
        return
    yield row
    if row[1] != "directory":
        return
    directory_fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        for child in sorted(os.fsencode(item) for item in os.listdir(directory_fd)):
            yield from _walk(directory_fd, child, _join(path, child))
    finally:
        os.close(directory_fd)


def _row(parent_fd: int, name: bytes, path: bytes) -> Row | None:
    status = os.lstat(name, dir_fd=parent_fd)
    kind: str | None = KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return None  # a socket, which is no part of an image
    link = os.readlink(name, dir_fd=parent_fd) if kind == "symlink" else b""
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    xattrs: dict[str, bytes] = {}
    if kind in ("file", "directory"):
        place = f"/proc/self/fd/{parent_fd}/{os.fsdecode(name)}"
        names = os.listxattr(place)
        if names:
            xattrs = kept_xattrs(place)
            if DEVICE_XATTR in names and (device := parse_device(os.getxattr(place, DEVICE_XATTR))):
                kind, (major, minor) = device
    size = status.st_size if kind == "file" else 0
    mode = stat.S_IMODE(status.st_mode)
    mtime_s = status.st_mtime_ns // 1_000_000_000
    path = b"" if path == b"." else path
    return (path, kind, mode, size, status.st_uid, status.st_gid, link, mtime_s, major, minor, xattrs)


def _join(parent: bytes, name: bytes) -> bytes:
    return parent + b"/" + name if parent else name
