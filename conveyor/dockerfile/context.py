"""The files of a commit that a Dockerfile takes of its context, links followed as BuildKit follows them."""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from conveyor.dockerfile.ignore import Ignore
from conveyor.gitrepo.api import Blob

_WILD = re.compile(r"[*?\[\\]")
_LINKS_FOLLOWED = 255


def select_files(
    files: Sequence[Blob],
    patterns: Iterable[str] | None,
    ignore: Ignore,
    read_link: Callable[[Blob], bytes],
) -> tuple[Blob, ...]:
    """Of the files of a context (sorted by path) those that `patterns` take, sorted by path; None takes all.

    What a path leads through is taken too where it is a link, and what the link names.
    """
    if patterns is None:
        return tuple(blob for blob in files if not ignore.ignores(blob.path))
    selection = _Selection(files, ignore, read_link)
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
    def __init__(self, files: Sequence[Blob], ignore: Ignore, read_link: Callable[[Blob], bytes]) -> None:
        self._files = files
        self._paths = [blob.path for blob in files]
        self._ignore = ignore
        self._read_link = read_link
        self._links: Mapping[bytes, Blob] = {blob.path: blob for blob in files if blob.is_link}
        self._asked: set[tuple[bytes, tuple[bytes, ...]]] = set()
        self.taken: dict[bytes, Blob] = {}

    def take(self, parts: tuple[bytes, ...], at: bytes = b"", followed: int = 0) -> None:
        """All that matches the rest of a pattern below a directory."""
        if (at, parts) in self._asked or followed > _LINKS_FOLLOWED:
            return
        self._asked.add((at, parts))
        if at in self._links:
            link = self._links[at]
            if not self._ignore.ignores(at):
                self.taken[at] = link
                target = posixpath.normpath(posixpath.join(b"/", posixpath.dirname(at), self._read_link(link))).lstrip(b"/")
                rest = tuple(re.sub(rb"([*?\[\\])", rb"\\\1", part) for part in target.split(b"/") if part)
                self.take((*rest, *parts), b"", followed + 1)
            return
        if not parts:
            self._take_below(at)
            return
        first = parts[0]
        text = first.decode("utf-8", "surrogateescape")
        if not _WILD.search(text):
            self.take(parts[1:], _below(at, first), followed)
            return
        expression = _component(text)
        for name in self._names(at):
            if expression.fullmatch(name.decode("utf-8", "surrogateescape")):
                self.take(parts[1:], _below(at, name), followed)

    def _take_below(self, path: bytes) -> None:
        index = bisect_left(self._paths, path)
        if index < len(self._paths) and self._paths[index] == path:
            self._keep(self._files[index])
        prefix = path + b"/" if path else b""
        index = bisect_left(self._paths, prefix)
        while index < len(self._paths) and self._paths[index].startswith(prefix):
            self._keep(self._files[index])
            index += 1

    def _keep(self, blob: Blob) -> None:
        if not self._ignore.ignores(blob.path):
            self.taken[blob.path] = blob

    def _names(self, directory: bytes) -> list[bytes]:
        """What stands in a directory."""
        prefix = directory + b"/" if directory else b""
        index = bisect_left(self._paths, prefix)
        names: dict[bytes, None] = {}
        while index < len(self._paths) and self._paths[index].startswith(prefix):
            name = self._paths[index][len(prefix) :].partition(b"/")[0]
            names[name] = None
            # What stands below a directory is passed over: `0` is the byte after `/`.
            index = max(index + 1, bisect_left(self._paths, prefix + name + b"0", index))
        return list(names)


def _component(text: str) -> re.Pattern[str]:
    """A component as Go's `filepath.Match` reads it; what it cannot read matches nothing, as there."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "*":
            pieces.append("[^/]*")
        elif character == "?":
            pieces.append("[^/]")
        elif character == "\\":
            pieces.append(re.escape(text[at : at + 1]))
            at += 1
        elif character == "[":
            end = at + 1
            while end < len(text) and text[end] != "]":
                end += 2 if text[end] == "\\" else 1
            negated = text[at : at + 1] == "^"
            inner = re.sub(r"\\(.)|([\[\]&~|])", lambda found: re.escape(found[1] or found[2]), text[at + negated : end])
            pieces.append(f"[{'^' if negated else ''}{inner}]")
            at = end + 1
        else:
            pieces.append(re.escape(character))
    try:
        return re.compile("".join(pieces), re.DOTALL)
    except re.error:
        return re.compile("(?!)")


def _below(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name
