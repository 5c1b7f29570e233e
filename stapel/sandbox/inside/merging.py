"""Overlays: a snapshot is an upper directory, and trees are mounted in the mount namespace of this worker.

Snapshots are named relative to the working directory, the directory of snapshots: options of an overlay have one page, and
paths in them need no quoting then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO, cast

from stapel.sandbox.inside.drivers import EMPTY, LARGE_BYTES, POINT
from stapel.sandbox.inside.syscalls import MNT_DETACH, mount, unmount

if TYPE_CHECKING:
    from stapel.oci.layer import Entry, LayerResult

_OPTIONS_BYTES = 4095


class Overlays:
    """A `Driver`. `point` is an empty directory; the kernel's work directories are `spare` with a number.

    They are made, and removed, while commands run: each of both takes longer than the mount.
    """

    name = "overlay"

    def __init__(self, point: bytes, spare: bytes) -> None:
        self._point = point
        self._spare = spare
        self._mounts = 0
        self._work_count = 0
        self._next_work = self._work = b""
        self._used_works: list[bytes] = []

    def read(self, lowers: Sequence[bytes]) -> int:
        """See `Driver`."""
        if not lowers:
            return os.open(EMPTY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._mount([*lowers, EMPTY])
        return os.open(self._point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def begin(self, filling: bytes, lowers: Sequence[bytes]) -> None:
        """See `Driver`. The root of a merged tree has what the uppermost directory has, so that begins as the next one's."""
        status, upper = os.stat(_below(lowers)), filling + b"/fs"
        os.mkdir(upper)
        os.chown(upper, status.st_uid, status.st_gid)
        os.chmod(upper, status.st_mode & 0o7777)
        os.utime(upper, ns=(status.st_atime_ns, status.st_mtime_ns))

    def apply(
        self, stream: BinaryIO, filling: bytes, lowers: Sequence[bytes], *, owners: bool, planned: bool, listed: bool
    ) -> None:
        """See `Driver`. An upper directory is its layer: nothing has to be listed."""
        del listed
        from stapel.oci.apply import Form, apply_layer
        from stapel.oci.overlay import OverlayLayers

        root = os.open(filling + b"/fs", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        place = filling + b"-place"
        try:
            if planned:
                apply_layer(stream, root, Form(overlay="user.", devices="placeholder", owners=owners), place=place)
                return
            below = self.read(lowers)
            try:
                form = Form(overlay="user.", below=OverlayLayers([below]), devices="placeholder", owners=owners)
                apply_layer(stream, root, form, place=place)
            finally:
                os.close(below)
                self.leave()
        finally:
            os.close(root)

    def holds(self, filling: bytes, lowers: Sequence[bytes], name: bytes) -> bool:
        """See `Driver`."""
        return any(os.path.lexists(layer + b"/" + name) for layer in (filling + b"/fs", *lowers))

    def enter(self, filling: bytes, lowers: Sequence[bytes], stub: bytes) -> bytes:
        """See `Driver`. What is written goes to `fs` of `filling`."""
        self._work, self._next_work = self._next_work or self._make_work(), b""
        # Volatile: what is not complete is thrown away after a crash, so nothing is forced to the disk when it is unmounted.
        self._mount([*lowers, stub], b",upperdir=%b/fs,workdir=%b,volatile" % (filling, self._work))
        return self._point

    def leave(self) -> None:
        """See `Driver`."""
        while self._mounts:
            unmount(self._point, MNT_DETACH)
            self._mounts -= 1
        if self._work:
            self._used_works.append(self._work)
            self._work = b""

    def tidy(self) -> None:
        """See `Driver`. What cannot be removed is left for the next run."""
        self._remove_works()
        if not self._next_work:
            with suppress(OSError):  # who needs it is told
                self._next_work = self._make_work()

    def close(self) -> None:
        """See `Driver`."""
        if self._next_work:
            self._used_works.append(self._next_work)
            self._next_work = b""
        self._remove_works()

    def _make_work(self) -> bytes:
        self._work_count += 1
        work = b"%b.%d" % (self._spare, self._work_count)
        try:
            os.mkdir(work, 0o700)
        except FileNotFoundError:  # in a store of an earlier version
            os.makedirs(os.path.dirname(work), 0o700, exist_ok=True)
            os.mkdir(work, 0o700)
        return work

    def _remove_works(self) -> None:
        from stapel.sandbox.inside.building import remove

        while self._used_works:
            with suppress(OSError):
                remove(self._used_works.pop())

    def write(self, filling: bytes, lowers: Sequence[bytes], on_large: Callable[[], None] = lambda: None) -> LayerResult:
        """See `Driver`."""
        from stapel.oci.layer import write_layer

        return write_layer(upper_layer(filling + b"/fs", _below(lowers)), cast(BinaryIO, _Nowhere(on_large)))

    def _mount(self, lowers: Sequence[bytes], upper: bytes = b"", *, is_below: bool = False) -> None:
        """Mount, in one overlay; the lowest layers, where the options do not take all, in another one below it.

        (The lowest: what they remove needs no mark any more. The kernel stacks two overlays, not three.)
        """
        options = upper + b",userxattr"
        room = _OPTIONS_BYTES - len(options) - len(b"lowerdir=") - len(POINT)
        used = fitting = 0
        while fitting < len(lowers) and used + len(lowers[fitting]) < room:
            used += len(lowers[fitting]) + 1
            fitting += 1
        here = list(lowers)
        try:
            if fitting < len(lowers):
                if is_below:
                    raise OSError(0, "the image has too many layers for overlays; `--sandbox-store copy` takes any number")
                self._mount(lowers[fitting:], is_below=True)
                here = [*lowers[:fitting], POINT]
            mount(b"overlay", self._point, b"overlay", 0, b"lowerdir=" + b":".join(here) + options)
        except BaseException:
            self.leave()
            raise
        self._mounts += 1


class _Nowhere:
    """Takes a layer of which only the digest is wanted."""

    def __init__(self, on_large: Callable[[], None]) -> None:
        self._on_large = on_large
        self._left = LARGE_BYTES

    def write(self, data: bytes) -> int:
        was_small = self._left > 0
        self._left -= len(data)
        if was_small and self._left <= 0:
            self._on_large()
        return len(data)


def upper_layer(upper: bytes, below: bytes) -> Iterator[Entry]:
    """The entries of the layer that an upper directory made on `below` is. Each is valid until the next one is taken."""
    from stapel.oci.diff import RootMetadata, diff_upper

    status = os.stat(below)
    before = RootMetadata(status.st_mode & 0o7777, status.st_uid, status.st_gid)
    directory = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from diff_upper(directory, root=before)
    finally:
        os.close(directory)


def _below(lowers: Sequence[bytes]) -> bytes:
    return lowers[0] if lowers else EMPTY
