"""What drivers share that keep the whole tree of a chain in each snapshot.

The layer of a tree of commands is what differs from the tree below. Beside the tree stands the list of its layer, by which
its bytes are made again; a tree without a list is one layer with all that is in it, or has its bytes kept elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import BinaryIO

from stapel.oci.archive import Member
from stapel.oci.diff import diff_trees
from stapel.oci.layer import Entry, LayerResult, write_layer
from stapel.sandbox.inside.drivers import EMPTY, LIST
from stapel.sandbox.inside.listing import listed as listed_entries
from stapel.sandbox.inside.listing import put_entry
from stapel.sandbox.inside.syscalls import MNT_DETACH, MS_BIND, mount, unmount

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Wholes:
    """A `Driver` but for its name and `begin`."""

    def __init__(self, point: bytes) -> None:
        self._point = point
        self._is_mounted = False
        self._since_ns: int | None = None  # files of another time of change than this or a later one are as below

    def read(self, lowers: Sequence[bytes]) -> int:
        """See `Driver`."""
        return os.open(lowers[0] if lowers else EMPTY, _DIRECTORY)

    def apply(
        self, stream: BinaryIO, filling: bytes, lowers: Sequence[bytes], *, owners: bool, planned: bool, listed: bool
    ) -> None:
        """See `Driver`."""
        del lowers, planned
        from stapel.oci.apply import Form, apply_layer

        form = Form(devices="placeholder", owners=owners)
        root = os.open(filling + b"/fs", _DIRECTORY)
        try:
            if not listed:
                apply_layer(stream, root, form)
                return
            with open(filling + LIST, "wb") as out:
                apply_layer(stream, root, form, on_member=partial(_put_member, out))
        finally:
            os.close(root)

    def holds(self, filling: bytes, lowers: Sequence[bytes], name: bytes) -> bool:
        """See `Driver`."""
        del lowers
        return os.path.lexists(filling + b"/fs/" + name)

    def enter(self, filling: bytes, lowers: Sequence[bytes], stub: bytes) -> bytes:
        """See `Driver`. Mount points are made in the tree by who needs them, and taken back."""
        del lowers, stub
        mount(filling + b"/fs", self._point, b"", MS_BIND)
        self._is_mounted = True
        return self._point

    def leave(self) -> None:
        """See `Driver`."""
        if self._is_mounted:
            unmount(self._point, MNT_DETACH)
            self._is_mounted = False

    def tidy(self) -> None:
        """See `Driver`."""

    def close(self) -> None:
        """See `Driver`."""

    def write(self, filling: bytes, lowers: Sequence[bytes], on_large: Callable[[], None] = lambda: None) -> LayerResult:
        """See `Driver`. Nobody can read it before its list is complete."""
        del on_large
        old, new = os.open(lowers[0] if lowers else EMPTY, _DIRECTORY), os.open(filling + b"/fs", _DIRECTORY)
        try:
            with open(os.devnull, "wb") as nowhere, open(filling + LIST, "wb") as out:
                return write_layer(listed_entries(diff_trees(old, new, since_ns=self._since_ns), out), nowhere)
        finally:
            os.close(old)
            os.close(new)


def _put_member(out: BinaryIO, member: Member) -> None:
    size = member.size if member.kind == "file" else 0
    numbers = (member.mode, member.uid, member.gid, member.mtime_ns // 1_000_000_000, size)
    path = b"" if member.path == b"./" else member.path.removesuffix(b"/")
    entry = Entry(path, member.kind, *numbers, member.link, member.device, member.xattrs, extents=member.extents)
    put_entry(entry, out)
