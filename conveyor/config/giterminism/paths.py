"""Paths as giterminism compares them, and how much is read."""

from __future__ import annotations

import posixpath

from conveyor.errors import GiterminismError

MAX_FILE_BYTES = 32 * 2**20
MAX_LISTED = 20_000  # files of one list
MAX_PATH = 4096  # characters: the system has none that is longer
MAX_LISTED_BYTES = 128 * 2**20
MAX_LINKS = 1000  # to directories, on the ways of one glob


def clean_path(path: str) -> str:
    """A path relative to the project's directory, which a leading `/` means too; "" is the directory itself."""
    if len(path) > MAX_PATH:
        raise GiterminismError(
            f"a path of {len(path)} characters is asked for, and there is none with more than {MAX_PATH}: `{path[:100]}...`",
            hint="look for what makes it: a loop, or a text in the place of a path",
        )
    cleaned = posixpath.normpath(path.lstrip("/")) if path.strip("/") else ""
    return "" if cleaned == "." else cleaned


def split_glob(pattern: str) -> tuple[str, str]:
    """The directory that a glob spells out, and the rest of it ("." for all)."""
    from conveyor.config.globs import is_literal

    components = pattern.split("/") if pattern != "." else []
    spelled: list[str] = []
    while components and is_literal(components[0]) and "\\" not in components[0]:
        spelled.append(components.pop(0))
    return "/".join(spelled), "/".join(components) or "."


def too_large(path: str, size: int) -> GiterminismError:
    """The error of a file that is no configuration."""
    from conveyor.config.giterminism.wording import show_text

    return GiterminismError(
        f'the file "{show_text(path)}" has {size} bytes, and a configuration reads files of at most {MAX_FILE_BYTES} bytes',
        reason="too_large",
        hint="lay large files by a git mapping",
    )


def too_many_links(pattern: str) -> GiterminismError:
    """The error of a glob that leads over links without end."""
    from conveyor.config.giterminism.wording import show_text

    return GiterminismError(
        f"the glob {show_text(pattern)} leads over more than {MAX_LINKS} links to directories",
        hint="write a narrower one",
    )
