"""How names of images are shown."""

from __future__ import annotations

RENDERED = " (rendered)"  # after the name of a file: the text that its templates make


def display_name(name: str) -> str:
    """The name of an image for people: `~` for the nameless one."""
    return name or "~"
