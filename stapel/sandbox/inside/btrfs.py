"""Subvolumes of btrfs: the tree of a layer begins as a snapshot of the tree below, in no time and without space.

The tree is a directory in its subvolume and not the subvolume itself: programs that find themselves in the root of a
subvolume make more of them (systemd-tmpfiles), and snapshots leave such ones out.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Sequence

from stapel.oci.layer import LayerResult
from stapel.sandbox.inside.drivers import EMPTY, VOLUME
from stapel.sandbox.inside.wholes import Wholes

_ROOT_INODE = 256
_SUBVOL_CREATE = 0x5000940E
_SNAP_CREATE_V2 = 0x50009417
_SNAP_DESTROY = 0x5000940F
_GET_SUBVOL_ROOTREF = 0xD000943D
_ARGUMENT_BYTES = 4096


class Subvolumes(Wholes):
    """A `Driver`."""

    name = "btrfs"

    def begin(self, filling: bytes, lowers: Sequence[bytes]) -> None:
        """See `Driver`."""
        place = os.open(filling, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.symlink(VOLUME[1:] + b"/fs", b"fs", dir_fd=place)
            if lowers:
                self._snapshot(lowers[0].removesuffix(b"/fs") + VOLUME, place)
                return
            fcntl.ioctl(place, _SUBVOL_CREATE, _named(0))
        finally:
            os.close(place)
        status = os.stat(EMPTY)
        os.mkdir(filling + VOLUME + b"/fs")
        os.chown(filling + b"/fs", status.st_uid, status.st_gid)
        os.chmod(filling + b"/fs", status.st_mode & 0o7777)

    def write(self, filling: bytes, lowers: Sequence[bytes], on_large: Callable[[], None] = lambda: None) -> LayerResult:
        """See `Driver`."""
        if _has_subvolumes(filling + VOLUME):
            raise OSError(0, "the commands have made a btrfs subvolume, which no image holds: make a directory instead")
        return super().write(filling, lowers, on_large)

    def _snapshot(self, source: bytes, place: int) -> None:
        volume = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(place, _SNAP_CREATE_V2, _named(volume, reserved=6))
        finally:
            os.close(volume)


def remove_subvolume(snapshot: bytes) -> None:
    """Remove the subvolume of a snapshot at once, where there is one and we may (else it is removed as a directory)."""
    try:
        if os.lstat(snapshot + VOLUME).st_ino != _ROOT_INODE:
            return
        place = os.open(snapshot, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        fcntl.ioctl(place, _SNAP_DESTROY, _named(0))
    except OSError:
        return  # the mount option user_subvol_rm_allowed lets us
    finally:
        os.close(place)


def _named(source: int, *, reserved: int = 0) -> bytearray:
    """What is said to make or remove the subvolume: a descriptor, fields that are not used, the name."""
    said = struct.pack("q", source) + bytes(8 * reserved) + VOLUME[1:]
    return bytearray(said.ljust(_ARGUMENT_BYTES, b"\0"))


def _has_subvolumes(path: bytes) -> bool:
    """Whether there are subvolumes in a subvolume."""
    volume = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        answer = bytearray(_ARGUMENT_BYTES)
        fcntl.ioctl(volume, _GET_SUBVOL_ROOTREF, answer)
        return any(answer[8:24])  # the first of them: its tree and its directory
    finally:
        os.close(volume)
