"""Writing layers: deterministic tar streams out of entries.

Equal entries give equal bytes: numeric owners without names, times in whole seconds, one order, extended headers only where
a plain one cannot say it. Names that are not ASCII or too long are written as PAX records in UTF-8; names that are no UTF-8
as GNU long names, which take any bytes (Go's archive/tar, GNU tar and Python read both). Files with large holes are written
as GNU's sparse format 1.0 in PAX records, which the same readers know.

What belongs to one machine alone is left out: overlayfs's own extended attributes, and the user namespace in which a
capability was given to a file.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, Literal

from msgspec import Struct, field

from stapel.oci.vectors import reset_vectors

EntryKind = Literal["file", "directory", "symlink", "hardlink", "character", "block", "fifo"]
Extents = Sequence[tuple[int, int]]  # offset and length of what is no hole

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")
CAPABILITY = "security.capability"
CHUNK_BYTES = 1 << 20
_LARGE_BYTES = 8 << 20
_SENT_AT_ONCE_BYTES = 1 << 28
_CANNOT_SEND = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)

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
_ZEROS = bytes(_BLOCK)
_NO_DEVICE = b"0000000\x000000000\0" + bytes(167)
_END = bytes(2 * _BLOCK)


class Entry(Struct, frozen=True):
    """One entry of a layer. `path` is relative to the root, without a leading or trailing slash (b"": the root itself).

    The content of a file is `content`, else what `open` gives; with `extents` only those pieces are read, the rest is
    holes (`open` then gives something that can seek).
    """

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
    content: bytes | None = None
    extents: Extents | None = None


class LayerResult(Struct, frozen=True):
    """A written layer: the digest, the size and the CRC-32 of the uncompressed tar."""

    diff_id: str
    size_bytes: int
    crc32: int


class LayerError(Exception):
    """A layer that cannot be written: entries out of order, or a file that is not as long as it was said to be."""


def whiteout(path: bytes) -> Entry:
    """The entry that removes what the layers below have at `path`."""
    parent, slash, name = path.rpartition(b"/")
    return Entry(parent + slash + WHITEOUT + name, "file", 0o600)


def opaque(path: bytes) -> Entry:
    """The entry that hides all that the layers below have in the directory `path`."""
    return Entry(path + b"/" + OPAQUE if path else OPAQUE, "file", 0o600)


def write_layer(entries: Iterable[Entry], out: BinaryIO) -> LayerResult:
    """Write entries, sorted by the components of their paths, as a tar; the digest is made on the way.

    `LayerError` leaves a tar without an end behind, which no reader takes for a whole one.
    """
    digest = hashlib.sha256()
    size = checksum = 0
    crc32 = zlib.crc32
    for chunk in layer_chunks(entries):
        digest.update(chunk)
        checksum = crc32(chunk, checksum)
        out.write(chunk)
        size += len(chunk)
        if size > _LARGE_BYTES:
            from isal.isal_zlib import crc32  # many times faster

            reset_vectors()
    return LayerResult("sha256:" + digest.hexdigest(), size, checksum)


def send_layer(entries: Iterable[Entry], pipe: int) -> None:
    """Write the layer of entries into a pipe, for a reader who makes the digest. See `write_layer`.

    Contents of large files, which `open` gives as files of the system, go there without passing through this process.
    """

    def send(data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[os.write(pipe, left) :]

    def contents(entry: Entry) -> Iterator[bytes]:
        if entry.size <= CHUNK_BYTES or entry.extents is not None or entry.open is None:
            yield from _content(entry)
            return
        with entry.open() as content:  # all that comes before it is in the pipe
            left = entry.size
            try:
                while left:
                    count = os.sendfile(pipe, content.fileno(), None, min(left, _SENT_AT_ONCE_BYTES))
                    if not count:
                        raise _wrong_length(entry, shorter=True)
                    left -= count
            except OSError as error:
                if error.errno not in _CANNOT_SEND:
                    raise
                for piece in _pieces(entry, content, left):
                    send(piece)
            if content.read(1):
                raise _wrong_length(entry, shorter=False)
        yield _ZEROS[: -entry.size % _BLOCK]

    for chunk in layer_chunks(entries, contents):
        send(chunk)


def layer_chunks(entries: Iterable[Entry], contents: Callable[[Entry], Iterator[bytes]] | None = None) -> Iterator[bytes]:
    """The tar of entries, in pieces of about a mebibyte. See `write_layer`.

    `contents` gives what is stored of a file, with zeros up to a whole block. For a file of more than a mebibyte it is asked
    when all that comes before it has been given.
    """
    contents = contents or _content
    parts: list[bytes] = []
    held = 0
    previous: bytes | None = None
    for entry in entries:
        # Sorted by components: no name holds a NUL, so with it for the slash this is an order of bytes.
        order = entry.path.replace(b"/", b"\0")
        if previous is not None and order <= previous:
            raise LayerError(f"{entry.path!r} comes after {previous.replace(bytes(1), b'/')!r}")
        previous = order
        header = _header(entry)
        parts.append(header)
        held += len(header)
        if entry.kind == "file":
            content = entry.content
            if content is not None:
                if len(content) != entry.size:
                    raise _wrong_length(entry, shorter=len(content) < entry.size)
                parts.append(content)
                parts.append(_ZEROS[: -len(content) % _BLOCK])
                held += len(content) + len(parts[-1])
            elif entry.size or entry.open:
                if entry.size > CHUNK_BYTES:
                    yield b"".join(parts)
                    parts, held = [], 0
                for piece in contents(entry):
                    parts.append(piece)
                    held += len(piece)
                    if held >= CHUNK_BYTES:
                        yield b"".join(parts) if len(parts) > 1 else piece
                        parts, held = [], 0
        if held >= CHUNK_BYTES:
            yield b"".join(parts)
            parts, held = [], 0
    parts.append(_END)
    yield b"".join(parts)


def _content(entry: Entry) -> Iterator[bytes]:
    assert entry.open is not None
    with entry.open() as content:
        if entry.extents is None:
            yield from _pieces(entry, content, entry.size)
            stored = entry.size
            if content.read(1):
                raise _wrong_length(entry, shorter=False)
        else:
            yield _sparse_map(entry.extents)
            stored = 0
            for offset, length in entry.extents:
                content.seek(offset)
                yield from _pieces(entry, content, length)
                stored += length
            if content.seek(0, io.SEEK_END) != entry.size:
                raise _wrong_length(entry, shorter=content.tell() < entry.size)
    yield _ZEROS[: -stored % _BLOCK]


def _pieces(entry: Entry, content: BinaryIO, left: int) -> Iterator[bytes]:
    while left:
        data = content.read(min(left, CHUNK_BYTES))
        if not data:
            raise _wrong_length(entry, shorter=True)
        left -= len(data)
        yield data


def _wrong_length(entry: Entry, *, shorter: bool) -> LayerError:
    return LayerError(f"{entry.path!r} is {'shorter' if shorter else 'longer'} than {entry.size} bytes")


def _sparse_map(extents: Extents) -> bytes:
    numbers = [len(extents), *(number for extent in extents for number in extent)]
    text = b"".join(b"%d\n" % number for number in numbers)
    return text + _ZEROS[: -len(text) % _BLOCK]


def _header(entry: Entry) -> bytes:
    path, kind, uid, gid, mtime_s = entry.path, entry.kind, entry.uid, entry.gid, entry.mtime_s
    name = path + b"/" if kind == "directory" and path else path or (b"./" if kind == "directory" else b".")
    size = entry.size if kind == "file" else 0
    if (
        len(name) <= 100
        and name.isascii()
        and not entry.xattrs
        and not entry.link
        and 0 <= uid < 8**7
        and 0 <= gid < 8**7
        and 0 <= mtime_s < 8**11
        and size < 8**11
        and entry.extents is None
    ):
        return _ustar(name, _TYPES[kind], entry.mode, uid, gid, size, mtime_s, b"", _device(entry))
    return _extended_header(entry, name, size)


def _extended_header(entry: Entry, name: bytes, size: int) -> bytes:
    records: dict[bytes, bytes] = {}
    if entry.extents is not None:
        records[b"GNU.sparse.major"], records[b"GNU.sparse.minor"] = b"1", b"0"
        records[b"GNU.sparse.name"] = name
        records[b"GNU.sparse.realsize"] = b"%d" % size
        size = len(_sparse_map(entry.extents)) + sum(length for _, length in entry.extents)
        name = b"GNUSparseFile.0/file"
    long_names = b""
    plain_name = _plain(name, b"path", records)
    plain_link = _plain(entry.link, b"linkpath", records)
    if plain_name is None:
        long_names += _gnu_long(b"L", name)
    if plain_link is None:
        long_names += _gnu_long(b"K", entry.link)
    fields = {b"uid": (entry.uid, 8**7), b"gid": (entry.gid, 8**7), b"size": (size, 8**11), b"mtime": (entry.mtime_s, 8**11)}
    plain = {}
    for key, (number, limit) in fields.items():
        plain[key] = number if 0 <= number < limit else 0
        if plain[key] != number:
            records[key] = b"%d" % number
    for xattr, value in entry.xattrs.items():
        if not xattr.startswith(OVERLAY_XATTRS):
            records[b"SCHILY.xattr." + xattr.encode("utf-8", "surrogateescape")] = (
                _portable_capability(value) if xattr == CAPABILITY else value
            )
    return (
        (_pax(records) if records else b"")
        + long_names
        + _ustar(
            name[:100] if plain_name is None else plain_name,
            _TYPES[entry.kind],
            entry.mode,
            plain[b"uid"],
            plain[b"gid"],
            plain[b"size"],
            plain[b"mtime"],
            entry.link[:100] if plain_link is None else plain_link,
            _device(entry),
        )
    )


def _portable_capability(value: bytes) -> bytes:
    """A capability set of revision 3 as one of revision 2: without the user id that is root where it was written."""
    if len(value) == 24 and value[3] == 3:
        return value[:3] + b"\2" + value[4:20]
    return value


def _device(entry: Entry) -> bytes:
    if entry.kind in ("character", "block"):
        return b"%07o\0%07o\0" % entry.device + bytes(167)
    return _NO_DEVICE


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
    return _extra(b"x", b"PaxHeaders.0/x", body)


def _pax_record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return b"%d" % length + rest


def _gnu_long(type_flag: bytes, name: bytes) -> bytes:
    return _extra(type_flag, b"././@LongLink", name + b"\0")


def _extra(type_flag: bytes, name: bytes, body: bytes) -> bytes:
    return _ustar(name, type_flag, 0o644, 0, 0, len(body), 0, b"", _NO_DEVICE) + body + _ZEROS[: -len(body) % _BLOCK]


def _ustar(
    name: bytes, type_flag: bytes, mode: int, uid: int, gid: int, size: int, mtime_s: int, link: bytes, device: bytes
) -> bytes:
    header = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0        %b%b%bustar\x0000%b%b" % (
        name + _ZEROS[: 100 - len(name)],
        mode & 0o7777,
        uid,
        gid,
        size,
        mtime_s,
        type_flag,
        link,
        _ZEROS[: 100 - len(link)],
        _ZEROS[:64],
        device,
    )
    # The sum of the bytes is the lower half of Adler-32 less one, as long as it is below 65521: 312 bytes of ASCII, mostly
    # zeros, and two names of 100 bytes cannot reach that. Twenty times faster than sum().
    return b"%b%06o\0 %b" % (header[:148], (zlib.adler32(header) & 0xFFFF) - 1, header[156:])
