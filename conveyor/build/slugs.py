"""Names of images made into tags: a readable part and a hash, as scripts written for werf expect them."""

from __future__ import annotations

import re

_VALID = r"\w[\w.-]*"
_LENGTH = 128


def slugify(text: str) -> str:
    """The text itself where it is a valid tag, else a readable part of it and a hash of the whole; "" stays."""
    if not text or (re.fullmatch(_VALID, text, re.ASCII) and len(text) <= _LENGTH):
        return text
    import unicodedata

    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    digest = f"{murmur3(text.encode()):x}"
    return f"{words[: _LENGTH - len(digest) - 1]}-{digest}" if words else digest


def murmur3(data: bytes) -> int:
    """MurmurHash3 (x86, 32 bits, seed 0)."""
    mask = 0xFFFFFFFF

    def rotate(value: int, bits: int) -> int:
        return ((value << bits) | (value >> (32 - bits))) & mask

    def scramble(block: int) -> int:
        return rotate(block * 0xCC9E2D51 & mask, 15) * 0x1B873593 & mask

    state = 0
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        block = int.from_bytes(data[start : start + 4], "little")
        state = (rotate(state ^ scramble(block), 13) * 5 + 0xE6546B64) & mask
    if data[whole:]:
        state ^= scramble(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        state = (state ^ (state >> shift)) * factor & mask
    return state
