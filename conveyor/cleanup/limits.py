"""How much a home may take, and for how long: what people write, and what follows from it for a disk."""

from __future__ import annotations

import re

from msgspec import Struct

_SIZE = r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(i?)B?"
_DURATION = r"([0-9]+(?:\.[0-9]+)?)(m|h|d|w)"
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_MARGIN = 0.05  # of the volume: below what is allowed, or the next build would be over it again


class Size(Struct, frozen=True):
    """A number of bytes, or (`share`) a part of the volume, 0 to 1."""

    bytes: int = 0
    share: float | None = None


class Volume(Struct, frozen=True):
    """The file system of a home."""

    total_bytes: int
    used_bytes: int
    free_bytes: int


def parse_size(text: str) -> Size:
    """`70%`, `20GiB`, `500MB`, `1024`. `ValueError`."""
    if text.endswith("%"):
        share = float(text[:-1])
        if not 0 <= share <= 100:
            raise ValueError(f"{text} is not between 0% and 100%")
        return Size(share=share / 100)
    match = re.fullmatch(_SIZE, text.strip(), re.IGNORECASE | re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is no size, as 20GiB, 500MB or 70%")
    unit = 1024 if match[3] else 1000
    return Size(int(float(match[1]) * unit ** " KMGT".index(match[2].upper() or " ")))


def parse_duration(text: str) -> float:
    """`90m`, `36h`, `7d`, `2w` in seconds. `ValueError`."""
    match = re.fullmatch(_DURATION, text.strip(), re.ASCII)
    if match is None:
        raise ValueError(f"{text!r} is no duration, as 90m, 36h, 7d or 2w")
    return float(match[1]) * _SECONDS[match[2]]


def bytes_to_free(volume: Volume, home_bytes: int, *, allowed: Size | None, min_free: Size | None) -> int:
    """How much must go.

    A share allowed is of the volume, whoever uses it, and where it is exceeded 5% more are freed; a number of bytes is what
    the home itself may take.
    """
    wanted = [0]
    if allowed is not None and allowed.share is None:
        wanted.append(home_bytes - allowed.bytes)
    elif allowed is not None and allowed.share is not None and volume.used_bytes > allowed.share * volume.total_bytes:
        wanted.append(int(volume.used_bytes - max(allowed.share - _MARGIN, 0) * volume.total_bytes))
    if min_free is not None:
        share = min_free.share
        wanted.append(int(min_free.bytes if share is None else share * volume.total_bytes) - volume.free_bytes)
    return max(wanted)
