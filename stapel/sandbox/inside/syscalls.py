"""System calls that Python 3.11 has no word for. Errors are `OSError`, with the path that the call was about."""

from __future__ import annotations

import ctypes
import os
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

_OPEN_TREE, _MOVE_MOUNT, _OPENAT2, _MOUNT_SETATTR = 428, 429, 437, 442  # the same numbers on every architecture
_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_FROM_FD_TO_FD = 0x4 | 0x40
_MOUNT_ATTR_RDONLY = 0x1
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def unshare(flags: int) -> None:
    """Leave the namespaces named for new ones."""
    _check(_libc.unshare(flags), b"unshare")


def mount(source: bytes, target: bytes, kind: bytes, flags: int = 0, data: bytes = b"") -> None:
    """Mount a filesystem."""
    _check(_libc.mount(source, target, kind, flags, data), target)


def make_private() -> None:
    """Let no mount of this namespace reach another one, and none of others come here."""
    _check(_libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), b"/")


def unmount(target: bytes, flags: int = 0) -> None:
    """Take a mount away."""
    _check(_libc.umount2(target, flags), target)


def adopt_orphans() -> None:
    """Become the parent of descendants whose parents end."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), b"prctl")


def end_with_parent() -> None:
    """Be killed when the parent ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), b"prctl")


def open_inside(root_fd: int, path: bytes, flags: int) -> int:
    """Open a path as if `root_fd` was `/`: neither links nor `..` lead out of it."""
    how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    return _check(_libc.syscall(_OPENAT2, root_fd, path or b".", ctypes.byref(how), ctypes.sizeof(how)), path)


def clone_tree(source: bytes, *, directory_fd: int = _AT_FDCWD) -> int:
    """A descriptor of a bind mount of what stands at `source`, with all that is mounted below it, that is nowhere yet."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    return _check(_libc.syscall(_OPEN_TREE, directory_fd, source, flags), source)


def attach_tree(tree: int, target_fd: int, what: bytes) -> None:
    """Let a mount that is nowhere yet stand over an open file or directory."""
    _check(_libc.syscall(_MOVE_MOUNT, tree, b"", target_fd, b"", _MOVE_FROM_FD_TO_FD), what)


def bind(source: bytes, target_fd: int, *, read_only: bool) -> None:
    """Bind-mount what stands at `source`, with all that is mounted below it, over an open file or directory."""
    tree = clone_tree(source)
    try:
        if read_only:
            attributes = _MountAttributes(_MOUNT_ATTR_RDONLY, 0, 0, 0)
            size = ctypes.sizeof(attributes)
            flags = _AT_EMPTY_PATH | _AT_RECURSIVE
            _check(_libc.syscall(_MOUNT_SETATTR, tree, b"", flags, ctypes.byref(attributes), size), source)
        attach_tree(tree, target_fd, source)
    finally:
        os.close(tree)


def _check(result: int, what: bytes) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), os.fsdecode(what))
    return result
