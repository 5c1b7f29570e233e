"""Copies: a snapshot is a plain directory with the whole tree. It asks for extended attributes, no more."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from contextlib import suppress

from stapel.oci.directories import OpenDirectory
from stapel.oci.overlay import DEVICE_XATTR, kept_xattrs
from stapel.sandbox.inside.drivers import EMPTY
from stapel.sandbox.inside.wholes import Wholes

_FICLONE = 0x40049409
_NO_REFLINK = frozenset({errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS})
_NO_XATTR = frozenset({errno.ENOTSUP, errno.EPERM})
_SMALL_BYTES = 1 << 17
_AT_ONCE_BYTES = 1 << 30
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Copies(Wholes):
    """A `Driver`."""

    name = "copy"

    def begin(self, filling: bytes, lowers: Sequence[bytes]) -> None:
        """See `Driver`."""
        tree = filling + b"/fs"
        os.mkdir(tree, 0o700)
        source, target = os.open(lowers[0] if lowers else EMPTY, _DIRECTORY), os.open(tree, _DIRECTORY)
        try:
            _Copying(source, target).copy()
        finally:
            os.close(source)
            os.close(target)
        # The file system's clock, not ours: whatever is written from now on has no earlier time of change.
        mark = filling + b"/mark"
        os.close(os.open(mark, _MAKE, 0o600))
        self._since_ns = os.stat(mark).st_ctime_ns
        os.unlink(mark)


class _Copying:
    """One copy. No name is followed, and what is done to one file is never seen in the other one."""

    def __init__(self, source: int, target: int) -> None:
        self._source, self._target = source, target
        self._links: dict[int, bytes] = {}  # of files with several names: where the first copy is
        self._reflinks = True

    def copy(self) -> None:
        """All below the source, then the source's own metadata."""
        with OpenDirectory(self._source) as old, OpenDirectory(self._target) as new:
            waiting = [self._copy_files(old, new)]
            while True:
                if waiting[-1]:
                    name = waiting[-1].pop()
                    os.mkdir(name, 0o700, dir_fd=new.fd)
                    old.enter(name)
                    new.enter(name)
                    waiting.append(self._copy_files(old, new))
                    continue
                waiting.pop()
                _set_all(new.fd, old.fd, os.fstat(old.fd))
                if not waiting:
                    return
                old.leave_to(len(waiting) - 1)
                new.leave_to(len(waiting) - 1)

    def _copy_files(self, old: OpenDirectory, new: OpenDirectory) -> list[bytes]:
        """Copy all but directories, whose names are returned."""
        directories = []
        with os.scandir(old.fd) as items:
            for item in items:
                name = os.fsencode(item.name)
                if item.is_dir(follow_symlinks=False):
                    directories.append(name)
                else:
                    self._copy_file(old, new, name)
        return directories

    def _copy_file(self, old: OpenDirectory, new: OpenDirectory, name: bytes) -> None:
        info = os.stat(name, dir_fd=old.fd, follow_symlinks=False)
        if stat.S_ISSOCK(info.st_mode):
            return  # no part of an image
        if info.st_nlink > 1:
            place = new.path + b"/" + name if new.path else name
            first = self._links.setdefault(info.st_ino, place)
            if first is not place:
                # All directories on the way are ours and just made: none is a link.
                os.link(first, name, src_dir_fd=self._target, dst_dir_fd=new.fd, follow_symlinks=False)
                return
        if stat.S_ISREG(info.st_mode):
            self._copy_content(old.fd, new.fd, name)
            return
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=old.fd), name, dir_fd=new.fd)
        else:
            os.mknod(name, info.st_mode, info.st_rdev, dir_fd=new.fd)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=new.fd, follow_symlinks=False)
        if not stat.S_ISLNK(info.st_mode):
            os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=new.fd)
        os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=new.fd, follow_symlinks=False)

    def _copy_content(self, old: int, new: int, name: bytes) -> None:
        source = os.open(name, _READ, dir_fd=old)
        try:
            target = os.open(name, _MAKE, 0o600, dir_fd=new)
            try:
                info = os.fstat(source)
                if info.st_size and not self._share(source, target):
                    _copy_bytes(source, target, info)
                _set_all(target, source, info)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _share(self, source: int, target: int) -> bool:
        """Let a file have the blocks of another one, until one of them is written to; whether it does."""
        if not self._reflinks:
            return False
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as error:
            if error.errno not in _NO_REFLINK:
                raise
            self._reflinks = False
        return self._reflinks


def _copy_bytes(source: int, target: int, info: os.stat_result) -> None:
    size = info.st_size
    if size <= _SMALL_BYTES and info.st_blocks * 512 >= size:
        data = os.read(source, size)
        while data:
            data = data[os.write(target, data) :]
        return
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            break
        end = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(source, at, os.SEEK_SET)
        os.lseek(target, at, os.SEEK_SET)
        while at < end:
            sent = os.sendfile(target, source, None, min(end - at, _AT_ONCE_BYTES))
            if not sent:
                return  # it became shorter: whoever changes a snapshot is found out by its digest
            at += sent
    os.ftruncate(target, size)


def _set_all(target: int, source: int, info: os.stat_result) -> None:
    os.fchown(target, info.st_uid, info.st_gid)
    os.fchmod(target, stat.S_IMODE(info.st_mode))  # behind the owner: a new one takes setuid and capabilities away
    if names := os.listxattr(source):
        xattrs = kept_xattrs(source)
        if DEVICE_XATTR in names:
            xattrs[DEVICE_XATTR] = os.getxattr(source, DEVICE_XATTR)
        for name, value in xattrs.items():
            try:
                os.setxattr(target, name, value)
            except OSError as error:
                if error.errno not in _NO_XATTR:
                    raise
    with suppress(PermissionError):
        os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
