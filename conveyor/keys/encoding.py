"""One text of bytes for one value: what keys are made of.

The encoding has no two readings: every value says its type and its length before its content, so nothing that is joined
can be taken apart in another way. Maps are written in the order of their encoded keys, so their own order never matters.

    None  n;      True  t;      False  f;      int  i-12;      str  s<bytes>:<utf-8>      bytes  b<bytes>:<raw>
    list or tuple  l<items>:<each item>          map  m<entries>:<each key, then its value>

Texts may hold lone surrogates (undecodable bytes of a file name); they are encoded by `surrogateescape`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import TypeAlias

Value: TypeAlias = "bool | int | str | bytes | Sequence[Value] | Mapping[str, Value] | None"


def encode(value: Value) -> bytes:
    """The canonical bytes of a value. `TypeError` for a value of another type (a float, a set)."""
    pieces: list[bytes] = []
    _write(value, pieces)
    return b"".join(pieces)


def _write(value: Value, pieces: list[bytes]) -> None:
    # The frequent ones first; asking for the abstract types costs ten times as much as asking for a list.
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogateescape")
        pieces.append(b"s%d:%b" % (len(raw), raw))
    elif isinstance(value, bytes):
        pieces.append(b"b%d:%b" % (len(value), value))
    elif value is None:
        pieces.append(b"n;")
    elif value is True:
        pieces.append(b"t;")
    elif value is False:
        pieces.append(b"f;")
    elif isinstance(value, int):
        pieces.append(b"i%d;" % value)
    elif isinstance(value, (list, tuple, Sequence)):
        pieces.append(b"l%d:" % len(value))
        for item in value:
            _write(item, pieces)
    elif isinstance(value, Mapping):
        pieces.append(b"m%d:" % len(value))
        for key, item in sorted([(encode(key), item) for key, item in value.items()], key=itemgetter(0)):
            pieces.append(key)
            _write(item, pieces)
    else:
        raise TypeError(f"a key cannot hold {type(value).__name__}: {value!r}")
