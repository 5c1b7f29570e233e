"""A merged tree, read where all owners are mapped and every mode can be read over."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from stapel.sandbox.inside.devices import DEVICE_XATTR, parse_device
from stapel.sandbox.inside.syscalls import open_inside

# path, kind, mode, size, uid, gid, link, mtime_s, major, minor, xattrs
Row = tuple[bytes, str, int, int, int, int, bytes, int, int, int, dict[str, bytes]]

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}
_NOTHING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_HIDDEN = ("user.overlay.", "trusted.overlay.", "security.selinux", "security.ima", "security.evm", "system.")


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
    yield row
    if row[1] != "directory":
        return
    directory_fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        for child in sorted(os.fsencode(item) for item in os.listdir(directory_fd)):
            yield from _walk(directory_fd, child, _join(path, child))
    finally:
        os.close(directory_fd)


def _row(parent_fd: int, name: bytes, path: bytes) -> Row:
    status = os.lstat(name, dir_fd=parent_fd)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "socket")
    link = os.readlink(name, dir_fd=parent_fd) if kind == "symlink" else b""
    xattrs = read_xattrs(b"/proc/self/fd/%d/%b" % (parent_fd, name))
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if DEVICE_XATTR in xattrs:
        kind, major, minor = parse_device(xattrs.pop(DEVICE_XATTR))
    size = status.st_size if kind == "file" else 0
    mode = stat.S_IMODE(status.st_mode)
    mtime_s = status.st_mtime_ns // 1_000_000_000
    path = b"" if path == b"." else path
    return (path, kind, mode, size, status.st_uid, status.st_gid, link, mtime_s, major, minor, xattrs)


def read_xattrs(path: bytes) -> dict[str, bytes]:
    """The extended attributes that belong to a file of an image."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return {}
        raise
    if not names:
        return {}
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names if not name.startswith(_HIDDEN)}


def _join(parent: bytes, name: bytes) -> bytes:
    return parent + b"/" + name if parent else name
