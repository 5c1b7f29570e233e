"""The merged tree of snapshots, at one place in the mount namespace of this worker.

Snapshots are named relative to the working directory, the directory of snapshots: options of an overlay have one page, and
paths in them need no quoting then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from stapel.sandbox.inside.syscalls import MNT_DETACH, mount, unmount

EMPTY = b"0"  # a snapshot without files
_OPTIONS_BYTES = 4095


class Merged:
    """At most one tree is mounted at a time. `point` is an empty directory."""

    def __init__(self, point: bytes) -> None:
        self.point = point
        self._mounted = False

    def read(self, lowers: Sequence[bytes]) -> int:
        """A descriptor of the root of these snapshots merged, the uppermost first."""
        if not lowers:
            return os.open(EMPTY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._mount(b"lowerdir=" + b":".join([*lowers, EMPTY]))
        return os.open(self.point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def write(self, lowers: Sequence[bytes], filling: bytes) -> None:
        """Mount them for writing; what is written goes to `fs` of `filling`."""
        # Volatile: what is not complete is thrown away after a crash, so nothing is forced to the disk when it is unmounted.
        upper = b"upperdir=%b/fs,workdir=%b/work,volatile" % (filling, filling)
        self._mount(b"lowerdir=%b,%b" % (b":".join(lowers), upper))

    def unmount(self) -> None:
        """Take it away with all that is mounted on it."""
        if self._mounted:
            unmount(self.point, MNT_DETACH)
            self._mounted = False

    def _mount(self, options: bytes) -> None:
        assert not self._mounted, "a tree is mounted already"
        data = options + b",userxattr"
        if len(data) > _OPTIONS_BYTES:
            raise OSError(0, f"too many layers: {data.count(b':') + 1}")
        mount(b"overlay", self.point, b"overlay", 0, data)
        self._mounted = True
