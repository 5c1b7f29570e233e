"""How names of images are shown."""

from __future__ import annotations


def display_name(name: str) -> str:
    """The name of an image for people: `~` for the nameless one."""
    return name or "~"
