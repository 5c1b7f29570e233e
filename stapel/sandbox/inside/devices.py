"""Device nodes where none can be made: an empty file that says in an attribute what it stands for."""

from __future__ import annotations

DEVICE_XATTR = "user.stapel.device"


def parse_device(value: bytes) -> tuple[str, int, int]:
    """What it stands for. `ValueError`."""
    letter, major, minor = value.split()
    return {b"c": "character", b"b": "block"}[letter], int(major), int(minor)
