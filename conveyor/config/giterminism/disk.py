"""Files as they are on the disk: what is accepted uncommitted, and everything where giterminism is loose.

Nothing outside of the repository is ever read, whatever the links say.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

from conveyor.config.giterminism.matching import clean_globs
from conveyor.config.giterminism.paths import MAX_FILE_BYTES, MAX_LINKS, MAX_LISTED, split_glob, too_large, too_many_links
from conveyor.errors import GiterminismError
from conveyor.gitrepo.matching import PathMatcher, compile_matcher

_LINKS_FOLLOWED = 40


class Disk:
    """The work tree `root`, seen from the project's directory in it. Paths are relative to that one, and clean."""

    def __init__(self, root: Path, directory: Path) -> None:
        self._root = root.resolve()
        self._directory = directory

    def locate(self, path: str) -> Path | None:
        """Where a path leads; None where that is outside of the repository, or in circles. It need not exist."""
        try:
            target = (self._directory / path).resolve()
        except (OSError, RuntimeError, ValueError):
            return None
        return target if target.is_relative_to(self._root) else None

    def find(self, path: str) -> Path | None:
        """What a path leads to; None where nothing is there."""
        target = self.locate(path)
        return target if target is not None and target.exists() else None

    def is_there(self, path: str) -> bool:
        """Whether anything has this name, a link that leads nowhere too."""
        return os.path.lexists(self._directory / path)

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none. `GiterminismError` for one that is too large."""
        target = self.find(path)
        if target is None or not target.is_file():
            return None
        size = target.stat().st_size
        if size > MAX_FILE_BYTES:
            raise too_large(path, size)
        return target.read_bytes()

    def relative(self, target: Path) -> bytes:
        """A path of the disk relative to the root of the repository."""
        return os.fsencode(target.relative_to(self._root))

    def links(self, path: str) -> list[str]:
        """The paths that a path is led to by links, one after the other."""
        found: list[str] = []
        left = path.split("/")[::-1]
        at = ""
        while left and len(found) < _LINKS_FOLLOWED:
            name = left.pop()
            at = posixpath.normpath(posixpath.join(at, name))
            here = self._directory / at
            if not here.is_symlink():
                continue
            target = str(here.readlink())
            if target.startswith("/"):
                break
            at = posixpath.dirname(at)
            found.append(posixpath.normpath(posixpath.join(at, target, *left[::-1])))
            left += target.split("/")[::-1]
        return found

    def walk(self, pattern: str, accepted: Sequence[str] | None, visited: set[Path]) -> Iterator[str]:
        """The files that a glob means and one of `accepted` too (None: all), in no order.

        The directories that were looked into are added to `visited`. `GiterminismError` where there is too much to look at.
        """
        base, _ = split_glob(pattern)
        matcher = compile_matcher(() if pattern == "." else (pattern,), (), clean_globs(accepted or ()))
        top = self.find(base)
        if top is None or top.is_file():
            visited.add(self._directory / base)
            if top is not None and matcher.matches(os.fsencode(base)):
                yield base
            return
        found = _Count(pattern)
        yield from self._walk(base, (top,), matcher, visited, found)

    def _walk(
        self, base: str, over: tuple[Path, ...], matcher: PathMatcher, visited: set[Path], found: _Count
    ) -> Iterator[str]:
        """The files of a directory; links have led to it, the last of `over`, and to those before it."""
        for directory, directories, files in os.walk(self._directory / base):
            here = Path(directory).relative_to(self._directory)
            if matcher.directory(_bytes(here)) == "none":
                directories.clear()
                continue
            visited.add(Path(directory))
            directories[:] = [name for name in directories if name != ".git"]
            for name in files:
                found.add_file()
                if matcher.matches(_bytes(here / name)):
                    yield (here / name).as_posix()
            for name in directories:
                path = here / name
                if (self._directory / path).is_symlink() and matcher.directory(_bytes(path)) != "none":
                    target, link = self.find(str(path)), Path(directory).resolve() / name
                    if target is not None and not any(place.is_relative_to(target) for place in (*over, link)):
                        found.add_link()
                        yield from self._walk(path.as_posix(), (*over, target), matcher, visited, found)


class _Count:
    """What a glob has made us look at. `GiterminismError` where it is too much."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._files = self._links = 0

    def add_file(self) -> None:
        """One file more."""
        self._files += 1
        if self._files > 10 * MAX_LISTED:
            raise GiterminismError(
                f"there are more than {self._files - 1} files on the disk below {split_glob(self._pattern)[0] or '.'}",
                hint="write a narrower glob",
            )

    def add_link(self) -> None:
        """One link to a directory more."""
        self._links += 1
        if self._links > MAX_LINKS:
            raise too_many_links(self._pattern)


def _bytes(path: Path) -> bytes:
    return b"" if path == Path() else os.fsencode(path)
