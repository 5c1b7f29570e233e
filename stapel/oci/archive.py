"""Reading layers: tar streams of any writer, parsed without trust and verified while they are read.

Understood is what Docker and its like understand: ustar, PAX and GNU headers, names of any length, numbers in base 256,
sparse files of all four formats. What follows no rule, promises more than comes, or exceeds a limit is `BadLayer`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from zlib import adler32

from msgspec import Struct

from stapel.oci.compress import Readable, decompressed
from stapel.oci.errors import BadLayer
from stapel.oci.layer import EntryKind, Extents

_BLOCK = 512
_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s6s2s64s8s8s155s12x")
_MOST_HEADER_BYTES = 1 << 20  # of extended headers; Go's reader has the same bound
_MOST_EXTENTS = 1 << 20
_MOST_NS = (1 << 62) * 1_000_000_000
_MOST_BYTES = 1 << 62
_NOBODY = (1 << 32) - 1  # means that an owner stays as it is, to chown
_KINDS: dict[bytes, EntryKind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"S": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "character",
    b"4": "block",
    b"5": "directory",
    b"6": "fifo",
}
_NO_XATTRS: Mapping[str, bytes] = {}
_XATTR = b"SCHILY.xattr."


class Limits(Struct, frozen=True):
    """What a layer may cost at most. None: no limit."""

    bytes: int | None = None  # of the uncompressed tar
    entries: int | None = None


NO_LIMITS = Limits()


class Member(NamedTuple):
    """One entry of a tar as it is written there: nothing about its names is checked."""

    path: bytes
    kind: EntryKind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int  # of the content (files only), holes included
    link: bytes
    device: tuple[int, int]
    xattrs: Mapping[str, bytes]
    extents: Extents | None  # where the stored bytes belong in a sparse file


class LayerReader:
    """A layer's tar stream, plain or compressed by gzip or zstd, read once from its begin to its end.

    After each member its content may be taken by `content()`; what is not taken is skipped. `finish` reads what is behind
    the last member and gives the diff id. Every method raises `BadLayer` with the layer's fault.
    """

    def __init__(self, stream: Readable, limits: Limits = NO_LIMITS) -> None:
        self._chunks = decompressed(stream)
        self._limits = limits
        self._digest = hashlib.sha256()
        self._buffer = b""
        self._at = 0
        self._left = 0  # of the content of the current member
        self._padding = 0
        self._octals: dict[bytes, int] = {}
        self.size_bytes = 0
        self.entries = 0

    def members(self) -> Iterator[Member]:
        """The members in their order."""
        records: dict[bytes, bytes] = {}
        long_name = long_link = None
        while True:
            self._skip(self._left + self._padding)
            self._left = self._padding = 0
            block = self._take(_BLOCK, "a header", end=True)
            if not block or (not block[0] and not any(block)):
                if records or long_name is not None or long_link is not None:
                    raise BadLayer("an extended header at the end of the tar belongs to no entry")
                return
            fields = self._parse(block)
            flag = fields[7]
            if flag in b"xgLK" and flag != b"\0":
                body = self._extended(self._number(fields[4], "size"))
                if flag == b"x":
                    records.update(_parse_records(body))
                elif flag == b"L":
                    long_name = body.partition(b"\0")[0]
                elif flag == b"K":
                    long_link = body.partition(b"\0")[0]
                continue
            self.entries += 1
            if self._limits.entries is not None and self.entries > self._limits.entries:
                raise BadLayer(f"it has more than {self._limits.entries} entries")
            yield self._member(block, fields, records, long_name, long_link)
            if records:
                records = {}
            long_name = long_link = None

    def content(self) -> Iterator[bytes]:
        """The stored bytes of the current member's content, in pieces."""
        while self._left:
            if self._at == len(self._buffer):
                self._fill("the content of a file")
            piece = self._buffer[self._at : self._at + self._left]
            self._at += len(piece)
            self._left -= len(piece)
            yield piece

    def whole(self, size: int) -> bytes:
        """The stored content of the current member, `size` bytes, at once."""
        data = self._buffer[self._at : self._at + size]
        if len(data) == size:
            self._at += size
        else:
            data = self._take(size, "the content of a file")
        self._left -= size
        return data

    def finish(self) -> str:
        """Read to the end of the stream; the diff id (`sha256:...` of the uncompressed tar)."""
        self._skip(self._left + self._padding)
        self._left = self._padding = 0
        while self._fill("", end=True):
            pass
        return "sha256:" + self._digest.hexdigest()

    # -- bytes

    def _fill(self, what: str, *, end: bool = False) -> bool:
        for chunk in self._chunks:
            if chunk:
                self._digest.update(chunk)
                self.size_bytes += len(chunk)
                if self._limits.bytes is not None and self.size_bytes > self._limits.bytes:
                    raise BadLayer(f"it is larger than {self._limits.bytes} bytes when it is unpacked")
                self._buffer, self._at = chunk, 0
                return True
        if not end:
            raise BadLayer(f"the tar ends in the middle of {what}")
        self._buffer, self._at = b"", 0
        return False

    def _take(self, size: int, what: str, *, end: bool = False) -> bytes:
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        if len(data) == size:
            return data
        parts, left = [data], size - len(data)
        while left:
            if not self._fill(what, end=end and left == size):
                return b""
            data = self._buffer[:left]
            self._at = len(data)
            left -= len(data)
            parts.append(data)
        return b"".join(parts)

    def _skip(self, size: int) -> None:
        while size:
            if self._at == len(self._buffer):
                self._fill("the content of a file")
            step = min(size, len(self._buffer) - self._at)
            self._at += step
            size -= step

    # -- headers

    def _parse(self, block: bytes) -> tuple[bytes, ...]:
        fields = _FIELDS.unpack(block)
        written = fields[6]
        try:
            stored = int(written.strip(b"\0 ") or b"0", 8)
        except ValueError:
            stored = -1
        # Adler-32 holds the sum of the bytes modulo 65521: as good, and twenty times faster.
        if (adler32(block) & 0xFFFF) != (1 + stored - 256 + sum(written)) % 65521:
            signed = sum(byte - 256 if byte > 127 else byte for byte in block[:148] + block[156:]) + 256
            if signed != stored:
                raise BadLayer("it is no tar, or damaged: the checksum of a header is wrong")
        return fields

    def _number(self, raw: bytes, what: str) -> int:
        value = self._octals.get(raw)
        if value is None:
            value = _parse_number(raw, what)
            if len(self._octals) > 4096:
                self._octals.clear()
            self._octals[raw] = value
        return value

    def _extended(self, size: int) -> bytes:
        if size > _MOST_HEADER_BYTES:
            raise BadLayer(f"an extended header of {size} bytes is longer than any reader takes")
        body = self._take(size, "an extended header")
        self._take(-size % _BLOCK, "an extended header")
        return body

    def _member(
        self,
        block: bytes,
        fields: tuple[bytes, ...],
        records: dict[bytes, bytes],
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Member:
        number = self._number
        flag = fields[7]
        path = fields[0].partition(b"\0")[0]
        if fields[9] == b"ustar\0" and fields[14][0]:
            path = fields[14].partition(b"\0")[0] + b"/" + path
        link = fields[8].partition(b"\0")[0]
        if long_name is not None:
            path = long_name
        if long_link is not None:
            link = long_link
        mode, uid, gid = number(fields[1], "mode"), number(fields[2], "uid"), number(fields[3], "gid")
        size, mtime_ns = number(fields[4], "size"), number(fields[5], "mtime") * 1_000_000_000
        xattrs = _NO_XATTRS
        extents: Extents | None = None
        real_size: int | None = None
        if records:
            path, link = records.get(b"path", path), records.get(b"linkpath", link)
            uid = _decimal(records, b"uid", uid)
            gid = _decimal(records, b"gid", gid)
            size = _decimal(records, b"size", size)
            if b"mtime" in records:
                mtime_ns = _parse_time_ns(records[b"mtime"])
            xattrs = {
                key[len(_XATTR) :].decode("utf-8", "surrogateescape"): value
                for key, value in records.items()
                if key.startswith(_XATTR)
            }
        kind = _KINDS.get(flag)
        if kind is None:
            raise BadLayer(f"{path!r} is of the unknown type {flag!r}")
        if kind == "file" and path.endswith(b"/") and flag == b"\0":
            kind = "directory"  # as tars before POSIX have it
        if kind != "file":
            size = 0
        elif not 0 <= size < _MOST_BYTES:
            raise BadLayer(f"{path!r} has a size of {size}")
        self._left, self._padding = size, -size % _BLOCK
        if kind == "file" and (flag == b"S" or records):
            path, real_size, extents = self._sparse(block, flag, path, records)
        if not (0 <= uid < _NOBODY and 0 <= gid < _NOBODY):
            raise BadLayer(f"{path!r} belongs to {uid}:{gid}, which are no ids")
        if abs(mtime_ns) >= _MOST_NS:
            raise BadLayer(f"{path!r} has a time that makes no sense")
        if extents is not None and real_size is not None:
            _check_extents(path, extents, real_size, self._left)
            size = real_size
        device = (0, 0)
        if kind in ("character", "block"):
            device = (number(fields[12], "device"), number(fields[13], "device"))
        return Member(path, kind, mode & 0o7777, uid, gid, mtime_ns, size, link, device, xattrs, extents)

    # -- sparse files

    def _sparse(
        self, block: bytes, flag: bytes, path: bytes, records: Mapping[bytes, bytes]
    ) -> tuple[bytes, int | None, Extents | None]:
        if flag == b"S":
            return path, _parse_number(block[483:495], "size"), self._old_extents(block)
        if records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
            name, size = records.get(b"GNU.sparse.name", path), _decimal(records, b"GNU.sparse.realsize", -1)
            return name, size, self._extents_of_content(path)
        if b"GNU.sparse.map" in records:
            name = records.get(b"GNU.sparse.name", path)
            return name, _decimal(records, b"GNU.sparse.size", -1), _pairs(records[b"GNU.sparse.map"].split(b","), path)
        return path, None, None

    def _old_extents(self, block: bytes) -> Extents:
        """The map of GNU's own header: four pieces in it, more in blocks behind it."""
        numbers: list[bytes] = []
        table, count, more = block[386:482], 4, block[482]
        while True:
            for at in range(0, count * 24, 24):
                if table[at]:
                    numbers += [table[at : at + 12], table[at + 12 : at + 24]]
            if not more:
                break
            if len(numbers) > _MOST_EXTENTS:
                raise BadLayer("a sparse file has more pieces than any reader takes")
            table = self._take(_BLOCK, "the map of a sparse file")
            count, more = 21, table[504]
        values = [_parse_number(number, "map") for number in numbers]
        return list(zip(values[::2], values[1::2], strict=True))

    def _extents_of_content(self, path: bytes) -> Extents:
        """The map of format 1.0: decimal lines in blocks before the data."""
        text, lines = bytearray(), 0
        wanted = 1
        while lines < wanted:
            if self._left < _BLOCK or len(text) > _MOST_HEADER_BYTES * 16:
                raise BadLayer(f"the map of the sparse file {path!r} has no end")
            piece = self._take(_BLOCK, "the map of a sparse file")
            self._left -= _BLOCK
            text += piece
            lines += piece.count(b"\n")
            if wanted == 1 and lines:
                count = bytes(text.partition(b"\n")[0])
                if not count.isdigit() or len(count) > 8 or int(count) > _MOST_EXTENTS:
                    raise BadLayer(f"the sparse file {path!r} has a map that makes no sense")
                wanted = 1 + 2 * int(count)
        return _pairs(bytes(text).split(b"\n")[1:wanted], path)


def _pairs(numbers: list[bytes], path: bytes) -> Extents:
    if numbers == [b""]:
        return []
    sane = all(number.isdigit() and len(number) < 20 for number in numbers)
    if len(numbers) % 2 or len(numbers) > 2 * _MOST_EXTENTS or not sane:
        raise BadLayer(f"the sparse file {path!r} has a map that makes no sense")
    values = [int(number) for number in numbers]
    return list(zip(values[::2], values[1::2], strict=True))


def _check_extents(path: bytes, extents: Extents, size: int, stored: int) -> None:
    at = 0
    for offset, length in extents:
        if length < 0 or offset < at or offset + length > size:
            raise BadLayer(f"the sparse file {path!r} has a map that makes no sense")
        at = offset + length
    if not 0 <= size < _MOST_BYTES or sum(length for _, length in extents) != stored:
        raise BadLayer(f"the sparse file {path!r} has a map that makes no sense")


def _parse_number(raw: bytes, what: str) -> int:
    if raw[0] & 0x80:  # base 256, a complement of two
        value = int.from_bytes(raw, "big")
        return value - (1 << 8 * len(raw)) if raw[0] & 0x40 else value - (0x80 << 8 * (len(raw) - 1))
    digits = raw.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise BadLayer(f"a header has the {what} {digits!r}, which is no number")
    return int(digits, 8)


def _parse_records(body: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    sparse: list[bytes] = []
    at = 0
    while at < len(body):
        space = body.find(b" ", at)
        length = body[at:space]
        if space < 0 or not length.isdigit() or len(length) > 8:
            raise BadLayer("an extended header makes no sense")
        end = at + int(length)
        key, equals, value = body[space + 1 : end - 1].partition(b"=")
        if end > len(body) or end <= space + 1 or body[end - 1 : end] != b"\n" or not equals or b"\0" in key:
            raise BadLayer("an extended header makes no sense")
        if key in (b"path", b"linkpath", b"GNU.sparse.name") and b"\0" in value:
            raise BadLayer(f"an extended header has a {key.decode()} with a zero byte in it")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            sparse.append(value)
        records[key] = value
        at = end
    if sparse:
        records[b"GNU.sparse.map"] = b",".join(sparse)
    return {key: value for key, value in records.items() if value or key.startswith(_XATTR) or key == b"GNU.sparse.map"}


def _decimal(records: Mapping[bytes, bytes], key: bytes, default: int) -> int:
    raw = records.get(key)
    if raw is None:
        return default
    if not raw.removeprefix(b"-").isdigit() or len(raw) > 20:
        raise BadLayer(f"an extended header has the {key.decode()} {raw!r}, which is no number")
    return int(raw)


def _parse_time_ns(raw: bytes) -> int:
    whole, _, fraction = raw.partition(b".")
    negative = whole.startswith(b"-")
    digits = whole.removeprefix(b"-") or b"0"
    if not digits.isdigit() or (fraction and not fraction.isdigit()) or len(raw) > 64:
        raise BadLayer(f"an extended header has the time {raw!r}, which is no number")
    value = int(digits) * 1_000_000_000 + int(fraction[:9].ljust(9, b"0"))
    return -value if negative else value
