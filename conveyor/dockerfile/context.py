"""The files of a commit that a Dockerfile takes of its context, links followed as BuildKit follows them."""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from conveyor.dockerfile.classes import read_class
from conveyor.dockerfile.ignore import Ignore
from conveyor.gitrepo.api import Blob
from conveyor.wildcards import STAR, join_pieces

_WILD = re.compile(r"[*?\[\\]")
_NEVER = re.compile(r"(?!)")
_LINKS_FOLLOWED = 255


class Listing:
    """The files of a context, sorted by path, so that many may ask for a few of them."""

    def __init__(self, files: Sequence[Blob]) -> None:
        self.files = files
        self.paths = [blob.path for blob in files]
        self.links: Mapping[bytes, Blob] = {blob.path: blob for blob in files if blob.is_link}


def select_files(
    listing: Listing,
    patterns: Iterable[str] | None,
    ignore: Ignore,
    read_link: Callable[[Blob], bytes],
) -> tuple[Blob, ...]:
    """Of the files of a context those that `patterns` take, sorted by path; None takes all.

    What a path leads through is taken too where it is a link, and what the link names.
    """
    if patterns is None:
        return tuple(blob for blob in listing.files if not ignore.ignores(blob.path))
    selection = _Selection(listing, ignore, read_link)
    for pattern in patterns:
        selection.take(tuple(part for part in pattern.encode("utf-8", "surrogateescape").split(b"/") if part))
    return tuple(selection.taken[path] for path in sorted(selection.taken))


def may_take(patterns: Iterable[str] | None, path: bytes, *, is_whole: bool) -> bool:
    """Whether patterns take a path, or (`is_whole`) perhaps something below it. Links are not followed."""
    if patterns is None:
        return True
    parts = path.decode("utf-8", "surrogateescape").split("/")
    for pattern in patterns:
        wanted = [part for part in pattern.split("/") if part]
        reaches = len(parts) >= len(wanted) or is_whole
        if reaches and all(_component(want).fullmatch(part) for want, part in zip(wanted, parts, strict=False)):
            return True
    return False


class _Selection:
    def __init__(self, listing: Listing, ignore: Ignore, read_link: Callable[[Blob], bytes]) -> None:
        self._files = listing.files
        self._paths = listing.paths
        self._links = listing.links
        self._ignore = ignore
        self._read_link = read_link
        self._found: dict[tuple[bytes, tuple[bytes, ...]], bool] = {}
        self.taken: dict[bytes, Blob] = {}

    def take(self, parts: tuple[bytes, ...], at: bytes = b"", followed: int = 0) -> bool:
        """All that matches the rest of a pattern below a directory; whether anything does."""
        if (at, parts) not in self._found:
            self._found[at, parts] = False  # what leads back to here takes nothing more
            self._found[at, parts] = self._take(parts, at, followed)
        return self._found[at, parts]

    def _take(self, parts: tuple[bytes, ...], at: bytes, followed: int) -> bool:
        if at in self._links:
            return self._follow(parts, at, followed)
        if not parts:
            return self._take_below(at)
        text = parts[0].decode("utf-8", "surrogateescape")
        if not _WILD.search(text):
            return self.take(parts[1:], _below(at, parts[0]), followed)
        expression = _component(text)
        names = [name for name in self._names(at) if expression.fullmatch(name.decode("utf-8", "surrogateescape"))]
        matched = [self.take(parts[1:], _below(at, name), followed) for name in names]
        return any(matched)

    def _follow(self, parts: tuple[bytes, ...], at: bytes, followed: int) -> bool:
        """A link, where what it names is taken, or it itself."""
        link = self._links[at]
        if self._ignore.ignores(at) or followed >= _LINKS_FOLLOWED:
            return False
        target = posixpath.normpath(posixpath.join(b"/", posixpath.dirname(at), self._read_link(link))).lstrip(b"/")
        rest = tuple(re.sub(rb"([*?\[\\])", rb"\\\1", part) for part in target.split(b"/") if part)
        if not self.take((*rest, *parts), b"", followed + 1) and parts:
            return False
        self.taken[at] = link
        return True

    def _take_below(self, path: bytes) -> bool:
        """A file, or all files of a directory."""
        prefix = path + b"/" if path else b""
        index = bisect_left(self._paths, path)
        found = list(self._files[index : index + 1]) if self._paths[index : index + 1] == [path] else []
        index = bisect_left(self._paths, prefix)
        while index < len(self._paths) and self._paths[index].startswith(prefix):
            found.append(self._files[index])
            index += 1
        self.taken |= {blob.path: blob for blob in found if not self._ignore.ignores(blob.path)}
        return bool(found)

    def _names(self, directory: bytes) -> list[bytes]:
        """What stands in a directory."""
        prefix = directory + b"/" if directory else b""
        index = bisect_left(self._paths, prefix)
        names: dict[bytes, None] = {}
        while index < len(self._paths) and self._paths[index].startswith(prefix):
            name, slash, _ = self._paths[index][len(prefix) :].partition(b"/")
            names[name] = None
            # What stands below a directory is passed over: `0` is the byte after `/`.
            index = bisect_left(self._paths, prefix + name + b"0", index) if slash else index + 1
        return list(names)


def _component(text: str) -> re.Pattern[str]:
    """A component as Go's `filepath.Match` reads it; what it cannot read matches nothing, as there."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "*":
            pieces.append(STAR)
        elif character == "?":
            pieces.append("[^/]")
        elif character == "\\":
            pieces.append(re.escape(text[at : at + 1]))
            at += 1
        elif character == "[":
            try:
                characters, at = read_class(text, at)
            except ValueError:
                return _NEVER
            pieces.append(characters)
        else:
            pieces.append(re.escape(character))
    return re.compile(join_pieces(pieces), re.DOTALL)


def _below(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name
