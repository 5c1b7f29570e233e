"""Owners, modes, extended attributes and times of what a layer makes, set in the order that keeps them all."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import NamedTuple, NoReturn

from stapel.oci.archive import Member
from stapel.oci.errors import BadLayer
from stapel.oci.layer import OVERLAY_XATTRS
from stapel.oci.overlay import DEVICE_XATTR

_LAYERS_FAULT = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.EFBIG, errno.EMLINK, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EOVERFLOW),
        *(errno.ERANGE, errno.E2BIG),  # extended attributes
    }
)
_NOT_HERE = frozenset({errno.ENOTSUP, errno.EPERM})


class Metadata(NamedTuple):
    """Of a directory: it is set when nothing is put into it any more."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: Mapping[str, bytes]


MADE = Metadata(0o755, 0, 0, 0, {})  # of a parent that nobody has described


def metadata_of(member: Member) -> Metadata:
    """What an entry says."""
    return Metadata(member.mode, member.uid, member.gid, member.mtime_ns, member.xattrs)


class Settings:
    """Sets metadata. `owners`: whether every file gets its owner; `dropped` are attributes that are not taken here."""

    def __init__(self, *, owners: bool) -> None:
        self._owners = owners
        self.dropped: set[str] = set()

    def set_open(self, fd: int, path: bytes, metadata: Metadata | Member, device: bytes = b"") -> None:
        """All of an open file or directory; `device` is what it stands for. `BadLayer`, `OSError`."""
        if self._owners:
            try:
                os.fchown(fd, metadata.uid, metadata.gid)
            except OSError as error:
                _raise_for_owner(path, metadata.uid, metadata.gid, error)
        os.fchmod(fd, metadata.mode)  # behind the owner: a new one takes setuid and capabilities away
        if metadata.xattrs:
            self._set_xattrs(fd, metadata.xattrs)
        if device:
            os.setxattr(fd, DEVICE_XATTR, device)
        os.utime(fd, ns=(metadata.mtime_ns, metadata.mtime_ns))

    def set_named(self, directory: int, name: bytes, member: Member) -> None:
        """All of what is not opened (a link, a device, a pipe) and was just made: no link but the one that was meant."""
        if self._owners:
            try:
                os.chown(name, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                _raise_for_owner(member.path, member.uid, member.gid, error)
        if member.kind != "symlink":
            os.chmod(name, member.mode, dir_fd=directory)
        if member.xattrs:
            self._set_xattrs(b"/proc/self/fd/%d/%b" % (directory, name), member.xattrs)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=directory, follow_symlinks=False)

    def _set_xattrs(self, target: int | bytes, xattrs: Mapping[str, bytes]) -> None:
        for key, value in xattrs.items():
            if key.startswith(OVERLAY_XATTRS) or key == DEVICE_XATTR:
                continue
            try:
                if isinstance(target, int):
                    os.setxattr(target, key, value)
                else:
                    os.setxattr(target, key, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                self.dropped.add(key)


def drop_xattrs(fd: int, kept: Mapping[str, bytes]) -> None:
    """Remove what a directory had before its layer, which says all about it."""
    for key in os.listxattr(fd):
        if key.startswith("user.") and key not in kept and not key.startswith(OVERLAY_XATTRS):
            os.removexattr(fd, key)


def raise_for(path: bytes, error: OSError) -> NoReturn:
    """Raise `BadLayer` for what is the layer's fault, else the error itself."""
    if error.errno in _LAYERS_FAULT:
        raise BadLayer(f"{show(path)} cannot be made: {error.strerror}") from error
    raise error


def show(path: bytes) -> str:
    """A path for messages, from the root on."""
    return "/" + path.decode("utf-8", "backslashreplace").lstrip("/")


def _raise_for_owner(path: bytes, uid: int, gid: int, error: OSError) -> NoReturn:
    if error.errno != errno.EINVAL:
        raise error
    raise BadLayer(
        f"{show(path)} belongs to {uid}:{gid}, which there is not in this user namespace",
        hint="give the user a larger range of ids in /etc/subuid and /etc/subgid",
    ) from error
