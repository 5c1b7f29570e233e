"""Device nodes where none can be made: an empty file that says in an attribute what it stands for."""

from __future__ import annotations

DEVICE_XATTR = "user.stapel.device"


def format_device(kind: str, major: int, minor: int) -> bytes:
    """The value of the attribute."""
    return f"{kind} {major}:{minor}".encode()


def parse_device(value: bytes) -> tuple[str, int, int]:
    """What it stands for. `ValueError`."""
    kind, _, numbers = value.decode().partition(" ")
    major, _, minor = numbers.partition(":")
    if kind not in ("character", "block"):
        raise ValueError(f"{value!r} is no device")
    return kind, int(major), int(minor)
