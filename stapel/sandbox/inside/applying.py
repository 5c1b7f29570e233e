"""Minimal application of a trusted tar to an overlay upper, until stapel.oci.apply is there."""

from __future__ import annotations

import os
import tarfile
from typing import BinaryIO

from stapel.sandbox.inside.devices import DEVICE_XATTR, format_device


def apply_layer(stream: BinaryIO, upper: bytes, *, lowest: bool) -> None:
    """Apply."""
    times = []
    with tarfile.open(fileobj=stream, mode="r|*", errorlevel=2, encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = os.fsencode(member.name.strip("/"))
            if name == b".":
                name = b""
            path = os.path.join(upper, name) if name else upper
            parent, base = os.path.split(path)
            if base == b".wh..wh..opq":
                if not lowest:
                    os.setxattr(parent, "user.overlay.opaque", b"y")
                continue
            if base.startswith(b".wh."):
                if not lowest:
                    os.makedirs(parent, exist_ok=True)
                    os.mknod(os.path.join(parent, base[4:]), 0o020000, 0)
                continue
            os.makedirs(parent, exist_ok=True)
            if os.path.lexists(path) and not (member.isdir() and os.path.isdir(path) and not os.path.islink(path)):
                os.unlink(path)
            if member.isdir():
                if not os.path.isdir(path):
                    os.mkdir(path)
                times.append((path, member.mtime))
            elif member.isfile():
                source = archive.extractfile(member)
                with open(path, "wb") as out:
                    while data := source.read(1 << 20):
                        out.write(data)
            elif member.islnk():
                os.link(os.path.join(upper, os.fsencode(member.linkname)), path, follow_symlinks=False)
                continue
            elif member.issym():
                os.symlink(os.fsencode(member.linkname), path)
            elif member.isfifo():
                os.mkfifo(path)
            else:
                open(path, "x").close()
                kind = "character" if member.ischr() else "block"
                os.setxattr(path, DEVICE_XATTR, format_device(kind, member.devmajor, member.devminor))
            os.lchown(path, member.uid, member.gid)
            if not member.issym():
                os.chmod(path, member.mode & 0o7777)
            for key, value in member.pax_headers.items():
                if key.startswith("SCHILY.xattr."):
                    os.setxattr(path, key[13:], value.encode("utf-8", "surrogateescape"), follow_symlinks=False)
            if not member.isdir():
                os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
    for path, mtime in reversed(times):
        os.utime(path, (mtime, mtime))
