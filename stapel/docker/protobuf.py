"""The wire format of Protocol Buffers, as far as BuildKit's messages need it: numbers and bytes by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class BadMessage(Exception):
    """Bytes that are no message."""


def fields_of(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: varints and fixed numbers as int, all else as bytes. `BadMessage`."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise BadMessage(f"a field of the kind {kind}")
        if at + size > len(message):
            raise BadMessage("it ends in the middle")
        piece = message[at : at + size]
        yield number, piece if kind == 2 else int.from_bytes(piece, "little")
        at += size


def write_field(number: int, value: int | bytes | str) -> bytes:
    """A field; a number that is 0 and an empty text are left out, as they are what is read where nothing stands."""
    if not value:
        return b""
    if isinstance(value, int):
        return _write_varint(number << 3) + _write_varint(value & 0xFFFF_FFFF_FFFF_FFFF)
    content = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value
    return _write_varint(number << 3 | 2) + _write_varint(len(content)) + content


def last_text(fields: Mapping[int, bytes], number: int) -> str:
    """The text of a field, "" where there is none."""
    return fields.get(number, b"").decode("utf-8", "replace")


def time_s(message: bytes) -> float:
    """A `google.protobuf.Timestamp` in seconds since the epoch."""
    values = {number: value for number, value in fields_of(message) if isinstance(value, int)}
    return values.get(1, 0) + values.get(2, 0) / 1e9


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise BadMessage("a number that does not end")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _write_varint(value: int) -> bytes:
    pieces = bytearray()
    while value >= 0x80:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    pieces.append(value)
    return bytes(pieces)
