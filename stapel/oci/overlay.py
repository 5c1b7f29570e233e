"""What overlayfs writes into upper directories, and the merged tree of several, read without a mount."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from typing import BinaryIO, Protocol, cast

from stapel.oci.archive import Member
from stapel.oci.directories import OpenDirectory
from stapel.oci.layer import CAPABILITY, OVERLAY_XATTRS, EntryKind

DEVICE_XATTR = "user.stapel.device"  # of an empty file that stands for a device: b"c MAJOR MINOR" or b"b ..."

_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
KINDS: dict[int, EntryKind] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}


def is_whiteout(info: os.stat_result) -> bool:
    """Whether this is the device 0/0, by which an upper directory hides a name below."""
    return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0


def overlay_mark(target: int | str, mark: str) -> bytes:
    """The value of overlayfs's extended attribute `mark` (opaque, whiteout ...), b"" where it has none."""
    for prefix in OVERLAY_XATTRS:
        try:
            return os.getxattr(target, prefix + mark) or b"y"
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.ENOTSUP):
                raise
    return b""


def kept_xattrs(target: int | str) -> dict[str, bytes]:
    """The extended attributes of a file or directory that belong to it on every machine: the user's, capabilities, ACLs.

    Labels of security modules and what is trusted are this machine's, marks of overlayfs and ours are no attributes.
    """
    return {
        key: os.getxattr(target, key)
        for key in os.listxattr(target)
        if (key.startswith("user.") and not key.startswith(OVERLAY_XATTRS) and key != DEVICE_XATTR)
        or key == CAPABILITY
        or key in _ACLS
    }


def parse_device(value: bytes) -> tuple[EntryKind, tuple[int, int]] | None:
    """What an empty file with `DEVICE_XATTR` stands for; None where the value makes no sense."""
    letter, _, numbers = value.partition(b" ")
    major, _, minor = numbers.partition(b" ")
    if letter not in (b"b", b"c") or not major.isdigit() or not minor.isdigit():
        return None
    return ("character" if letter == b"c" else "block"), (int(major), int(minor))


class LowerTree(Protocol):
    """The merged tree of the layers below an upper directory (`OverlayLayers`). No link in a parent is followed."""

    def find(self, path: bytes) -> Member | None:
        """What stands at a path, itself not followed; None: nothing."""

    def names(self, path: bytes) -> Iterable[bytes]:
        """The names in a directory."""

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file."""


class OverlayLayers:
    """The merged tree of upper directories, the topmost first; also of one mounted overlay. A `LowerTree`.

    No link is followed. The descriptors are the caller's and stay open as long as this is used.
    """

    def __init__(self, layers: Sequence[int]) -> None:
        self._layers = [_Layer(layer) for layer in layers]

    def find(self, path: bytes) -> Member | None:
        """What stands at a path; None: nothing."""
        for layer in self._layers:
            found, hides = layer.find(path)
            if found is not None or hides:
                return found
        return None

    def names(self, path: bytes) -> Iterable[bytes]:
        """The names in a directory, in no order."""
        seen: dict[bytes, bool] = {}
        for layer in self._layers:
            hides = layer.add_names(path, seen)
            if hides:
                break
        return [name for name, there in seen.items() if there]

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file. `FileNotFoundError`."""
        for layer in self._layers:
            found, hides = layer.find(path)
            if found is not None:
                return layer.open(path)
            if hides:
                break
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


class _Layer:
    def __init__(self, root: int) -> None:
        self._at = OpenDirectory(root)
        self._hides: list[bool] = []  # for each directory above where we stand: whether it or one above is opaque

    def find(self, path: bytes) -> tuple[Member | None, bool]:
        """What stands here; where nothing does, whether the layers below are hidden."""
        parent, _, name = path.rpartition(b"/")
        hides = self._go(parent)
        if hides is None:
            return None, True
        if self._at.path != parent:
            return None, hides
        try:
            info = os.stat(name or b".", dir_fd=self._at.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None, hides
        if is_whiteout(info) or self._is_marked(name, info):
            return None, True
        return self._member(name or b".", path, info), True

    def add_names(self, path: bytes, seen: dict[bytes, bool]) -> bool:
        """Add the names that stand here (False: hidden); whether the layers below are hidden."""
        hides = self._go(path)
        if hides is None:
            return True
        if self._at.path == path:
            with os.scandir(self._at.fd) as items:
                for item in items:
                    name, info = os.fsencode(item.name), item.stat(follow_symlinks=False)
                    seen.setdefault(name, not is_whiteout(info) and not self._is_marked(name, info))
        return hides

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file that was found here."""
        parent, _, name = path.rpartition(b"/")
        self._go(parent)
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._at.fd)
        return cast(BinaryIO, os.fdopen(fd, "rb"))

    def _go(self, path: bytes) -> bool | None:
        """Stand in a directory, or in the last one above it that is here.

        Whether an opaque one was passed; None where a parent is no directory: it hides all below it.
        """
        at = self._at
        names = path.split(b"/") if path else []
        shared = 0
        while shared < min(len(names), len(at.names)) and names[shared] == at.names[shared]:
            shared += 1
        at.leave_to(shared)
        del self._hides[shared:]
        hides = bool(self._hides) and self._hides[-1]
        for name in names[shared:]:
            try:
                at.enter(name)
            except FileNotFoundError:
                return hides
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    return None
                raise
            hides = hides or overlay_mark(at.fd, "opaque") == b"y"
            self._hides.append(hides)
        return hides

    def _is_marked(self, name: bytes, info: os.stat_result) -> bool:
        """Whether this is the other form of a whiteout: an empty file with an attribute."""
        return stat.S_ISREG(info.st_mode) and info.st_size == 0 and bool(overlay_mark(self._place(name), "whiteout"))

    def _member(self, name: bytes, path: bytes, info: os.stat_result) -> Member:
        kind = KINDS.get(stat.S_IFMT(info.st_mode), "fifo")  # or a socket
        device = (os.major(info.st_rdev), os.minor(info.st_rdev))
        xattrs: Mapping[str, bytes] = {}
        if kind in ("file", "directory"):
            place = self._place(name)
            xattrs = kept_xattrs(place)
            if not info.st_size and DEVICE_XATTR in os.listxattr(place):
                kind, device = parse_device(os.getxattr(place, DEVICE_XATTR)) or (kind, device)
        link = os.readlink(name, dir_fd=self._at.fd) if kind == "symlink" else b""
        mode = stat.S_IMODE(info.st_mode)
        return Member(path, kind, mode, info.st_uid, info.st_gid, info.st_mtime_ns, info.st_size, link, device, xattrs, None)

    def _place(self, name: bytes) -> str:
        return f"/proc/self/fd/{self._at.fd}/{os.fsdecode(name)}"
