"""The list of a layer that is kept as a whole tree: its entries without their contents, a JSON text a line.

With it the layer is written again, byte for byte, from the tree. What differs between two trees would not do: a layer may
lay a file that was there already, or empty a directory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from functools import partial
from typing import BinaryIO, cast

from stapel.oci.directories import OpenDirectory
from stapel.oci.layer import OPAQUE, WHITEOUT, Entry

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


def listed(entries: Iterable[Entry], out: BinaryIO) -> Iterator[Entry]:
    """The same entries, each put into the list `out` as it passes."""
    for entry in entries:
        put_entry(entry, out)
        yield entry


def put_entry(entry: Entry, out: BinaryIO) -> None:
    """Put an entry into a list."""
    xattrs = {name: value.decode("latin-1") for name, value in entry.xattrs.items()}
    extents = list(entry.extents) if entry.extents is not None else None
    numbers = (entry.mode, entry.uid, entry.gid, entry.mtime_s, entry.size)
    row = (os.fsdecode(entry.path), entry.kind, *numbers, os.fsdecode(entry.link), entry.device, xattrs, extents)
    out.write(json.dumps(row).encode() + b"\n")


def listed_layer(listing: bytes, tree: bytes) -> Iterator[Entry]:
    """The entries of the layer that has made a tree, by the list at `listing`. Each is valid until the next one is taken."""
    root = os.open(tree, _DIRECTORY)
    try:
        with open(listing, "rb") as lines, OpenDirectory(root) as walk:
            for line in lines:
                yield _entry(line, walk)
    finally:
        os.close(root)


def find_unlisted(listing: Iterable[bytes], below: bytes, tree: bytes) -> bytes:
    """A path by which a tree differs from the one below though its layer says nothing of it; b"" where there is none."""
    from stapel.oci.diff import diff_trees

    named = {os.fsencode(json.loads(line)[0]) for line in listing}
    old, new = os.open(below, _DIRECTORY), os.open(tree, _DIRECTORY)
    try:
        for entry in diff_trees(old, new):
            parent, slash, name = entry.path.rpartition(b"/")
            removed = name.startswith(WHITEOUT) and parent + slash + OPAQUE in named
            if entry.kind != "directory" and entry.path not in named and not removed:
                return parent + slash + name.removeprefix(WHITEOUT)
    finally:
        os.close(old)
        os.close(new)
    return b""


def _entry(line: bytes, walk: OpenDirectory) -> Entry:
    path, kind, mode, uid, gid, mtime_s, size, link, device, xattrs, extents = json.loads(line)
    place = os.fsencode(path)
    return Entry(
        place,
        kind,
        mode,
        uid,
        gid,
        mtime_s,
        size,
        os.fsencode(link),
        tuple(device),
        {name: value.encode("latin-1") for name, value in xattrs.items()},
        open=partial(_open, walk, place) if size else None,
        content=None if size else b"",
        extents=[(offset, length) for offset, length in extents] if extents is not None else None,
    )


def _open(walk: OpenDirectory, path: bytes) -> BinaryIO:
    parent, _, name = path.rpartition(b"/")
    walk.go(parent)
    return cast(BinaryIO, os.fdopen(os.open(name, _OPEN, dir_fd=walk.fd), "rb", buffering=0))
