"""Writing layers: deterministic tar streams out of entries.

Equal entries give equal bytes: numeric owners without names, times in whole seconds, one order, extended headers only where
a plain one cannot say it. Names that are not ASCII or too long are written as PAX records in UTF-8; names that are no UTF-8
as GNU long names, which take any bytes (Go's archive/tar, GNU tar and Python read both).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

EntryKind = Literal["file", "directory", "symlink", "hardlink", "character", "block", "fifo"]

_TYPES: dict[EntryKind, bytes] = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "character": b"3",
    "block": b"4",
    "directory": b"5",
    "fifo": b"6",
}
_BLOCK = 512
_CHUNK = 1 << 20
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a layer. `path` is relative to the root, without a leading or trailing slash (b"": the root itself)."""

    path: bytes
    kind: EntryKind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0
    size: int = 0
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    open: Callable[[], BinaryIO] | None = None


@dataclass(frozen=True, slots=True)
class LayerResult:
    """A written layer: the digest and size of the uncompressed tar."""

    diff_id: str
    size_bytes: int


class LayerError(Exception):
    """A layer that cannot be written: entries out of order, or a file that is not as long as it was said to be."""


def whiteout(path: bytes) -> Entry:
    """The entry that removes what the layers below have at `path`."""
    parent, slash, name = path.rpartition(b"/")
    return Entry(parent + slash + _WHITEOUT + name, "file", 0o600)


def opaque(path: bytes) -> Entry:
    """The entry that hides all that the layers below have in the directory `path`."""
    return Entry(path + b"/" + _OPAQUE if path else _OPAQUE, "file", 0o600)


def write_layer(entries: Iterable[Entry], out: BinaryIO) -> LayerResult:
    """Write entries, sorted by the components of their paths, as a tar; the digest is made on the way.

    `LayerError` leaves a tar without an end behind, which no reader takes for a whole one.
    """
    digest = hashlib.sha256()
    size = 0

    def put(data: bytes) -> None:
        nonlocal size
        digest.update(data)
        out.write(data)
        size += len(data)

    previous: list[bytes] | None = None
    for entry in entries:
        components = entry.path.split(b"/") if entry.path else []
        if previous is not None and components <= previous:
            raise LayerError(f"{entry.path!r} comes after {b'/'.join(previous)!r}")
        previous = components
        put(_headers(entry))
        if entry.kind == "file" and (entry.size or entry.open):
            _put_content(entry, put)
    put(b"\0" * (2 * _BLOCK))
    return LayerResult("sha256:" + digest.hexdigest(), size)


def _put_content(entry: Entry, put: Callable[[bytes], None]) -> None:
    assert entry.open is not None
    left = entry.size
    with entry.open() as content:
        while left and (data := content.read(min(left, _CHUNK))):
            put(data)
            left -= len(data)
        if left or content.read(1):
            raise LayerError(f"{entry.path!r} is {'shorter' if left else 'longer'} than {entry.size} bytes")
    put(b"\0" * (-entry.size % _BLOCK))


def _headers(entry: Entry) -> bytes:
    name = entry.path or b"."
    if entry.kind == "directory":
        name += b"/"
    records: dict[bytes, bytes] = {}
    long_names = b""
    plain_name = _plain(name, b"path", records)
    plain_link = _plain(entry.link, b"linkpath", records)
    if plain_name is None:
        long_names += _gnu_long(b"L", name)
    if plain_link is None:
        long_names += _gnu_long(b"K", entry.link)
    for field_name, number, limit in (
        (b"uid", entry.uid, 8**7),
        (b"gid", entry.gid, 8**7),
        (b"size", entry.size, 8**11),
        (b"mtime", entry.mtime_s, 8**11),
    ):
        if not 0 <= number < limit:
            records[field_name] = b"%d" % number
    for key, value in entry.xattrs.items():
        records[b"SCHILY.xattr." + key.encode()] = value
    pax = _pax(records) if records else b""
    return (
        pax
        + long_names
        + _ustar(entry, plain_name or name[:100], plain_link if plain_link is not None else entry.link[:100])
    )


def _plain(name: bytes, record: bytes, records: dict[bytes, bytes]) -> bytes | None:
    """The name for a plain header (its PAX record noted where it needs one), None where only a GNU long name can hold it."""
    if len(name) <= 100 and name.isascii():
        return name
    try:
        name.decode()
    except UnicodeDecodeError:
        return None
    records[record] = name
    return name.decode().encode("ascii", "replace")[:100]


def _pax(records: Mapping[bytes, bytes]) -> bytes:
    body = b"".join(_pax_record(key, records[key]) for key in sorted(records))
    header = Entry(b"PaxHeaders.0/x", "file", 0o644, size=len(body))
    return _ustar(header, header.path, b"", type_flag=b"x") + body + b"\0" * (-len(body) % _BLOCK)


def _pax_record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return b"%d" % length + rest


def _gnu_long(type_flag: bytes, name: bytes) -> bytes:
    body = name + b"\0"
    header = Entry(b"././@LongLink", "file", 0o644, size=len(body))
    return _ustar(header, header.path, b"", type_flag=type_flag) + body + b"\0" * (-len(body) % _BLOCK)


def _ustar(entry: Entry, name: bytes, link: bytes, type_flag: bytes = b"") -> bytes:
    device = entry.device if entry.kind in ("character", "block") else (0, 0)
    size = entry.size if entry.kind == "file" and 0 <= entry.size < 8**11 else 0
    header = b"".join(
        (
            name.ljust(100, b"\0"),
            b"%07o\0" % (entry.mode & 0o7777),
            b"%07o\0" % (entry.uid if 0 <= entry.uid < 8**7 else 0),
            b"%07o\0" % (entry.gid if 0 <= entry.gid < 8**7 else 0),
            b"%011o\0" % size,
            b"%011o\0" % (entry.mtime_s if 0 <= entry.mtime_s < 8**11 else 0),
            b" " * 8,
            type_flag or _TYPES[entry.kind],
            link.ljust(100, b"\0"),
            b"ustar\x0000",
            b"\0" * 64,
            b"%07o\0%07o\0" % device,
            b"\0" * 167,
        )
    )
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]
