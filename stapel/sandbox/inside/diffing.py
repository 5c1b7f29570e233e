"""Minimal entries of an overlay upper, until stapel.oci.diff is there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from functools import partial

from stapel.oci.layer import Entry, opaque, whiteout
from stapel.sandbox.inside.trees import _walk


def _is_opaque(path: bytes) -> bool:
    try:
        return os.getxattr(path, "user.overlay.opaque") == b"y"
    except OSError:
        return False


def diff_upper(upper: bytes) -> Iterator[Entry]:
    """The entries of a layer."""
    fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY)
    out: list[Entry] = []
    links: dict[int, bytes] = {}
    try:
        if _is_opaque(upper):
            out.append(opaque(b""))
        for row in _walk(fd, b".", b""):
            path, kind, mode, size, uid, gid, link, mtime_s, major, minor, xattrs = row
            full = os.path.join(upper, path)
            if not path:
                continue
            status = os.lstat(full)
            if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                out.append(whiteout(path))
                continue
            if kind == "file" and status.st_nlink > 1:
                first = links.setdefault(status.st_ino, path)
                if first != path:
                    out.append(Entry(path, "hardlink", mode, uid, gid, mtime_s, 0, first))
                    continue
            out.append(Entry(path, kind, mode, uid, gid, mtime_s, size, link, (major, minor) if kind in ("character", "block") else (0, 0), xattrs, partial(open, full, "rb") if kind == "file" else None))
            if kind == "directory" and _is_opaque(full):
                out.append(opaque(path))
    finally:
        os.close(fd)
    return iter(sorted(out, key=lambda entry: entry.path.split(b"/")))
