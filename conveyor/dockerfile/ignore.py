"""`.dockerignore`: which paths of a context are left out, by the rules of the Docker Engine's own matcher.

A pattern is matched against a whole path and against each directory above it; the last pattern that matches decides. `*`
and `?` do not match a `/`, `**` matches any number of components, `!` takes back, a leading or trailing `/` says nothing.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable

from conveyor.dockerfile.classes import read_class
from conveyor.wildcards import DEEP, STAR, join_pieces

MAX_BYTES = 2**20
MAX_LINES = 5000
_LONGEST = 4096  # characters of a pattern
_META = re.compile(r"[*?\[\]\\]")


class BadPattern(Exception):
    """A line that is no pattern; `line` counts from 1."""

    def __init__(self, line: int, pattern: str, why: str) -> None:
        super().__init__(f"`{pattern}` {why}")
        self.line = line


class Ignore:
    """Tells which paths of a context are left out."""

    def __init__(self, content: bytes = b"") -> None:
        """`content`: the text of a `.dockerignore`. `BadPattern`."""
        if len(content) > MAX_BYTES or content.count(b"\n") > MAX_LINES:
            raise BadPattern(1, "...", f"has too many after it: at most {MAX_LINES} lines and {MAX_BYTES} bytes are read")
        text = content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        self._rules = tuple(_rules(text.split("\n")))
        self._takes_back = any(takes_back for takes_back, _ in self._rules)
        self._above: dict[str, tuple[bool, ...]] = {"": (False,) * len(self._rules)}

    def ignores(self, path: bytes) -> bool:
        """Whether a path, relative to the context, is left out."""
        if not self._rules:
            return False
        name = path.decode("utf-8", "surrogateescape")
        above = self._decide_above(posixpath.dirname(name))
        for found, (takes_back, matches) in zip(reversed(above), reversed(self._rules), strict=True):
            if found or matches(name):
                return not takes_back
        return False

    def ignores_all_below(self, directory: bytes) -> bool:
        """Whether whatever stands in a directory is left out, for certain."""
        return not self._takes_back and self.ignores(directory)

    def _decide_above(self, directory: str) -> tuple[bool, ...]:
        """Which rules match a directory or one above it."""
        found = self._above.get(directory)
        if found is None:
            above = self._decide_above(posixpath.dirname(directory))
            rules = zip(above, self._rules, strict=True)
            found = self._above[directory] = tuple(is_above or matches(directory) for is_above, (_, matches) in rules)
        return found


def _rules(lines: Iterable[str]) -> Iterable[tuple[bool, Callable[[str], bool]]]:
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            continue
        pattern = line.strip()
        if not pattern:
            continue
        if len(pattern) > _LONGEST:
            raise BadPattern(number, pattern[:100] + "...", f"has more than {_LONGEST} characters")
        takes_back = pattern.startswith("!")
        if takes_back:
            pattern = pattern[1:].strip()
            if not pattern:
                raise BadPattern(number, line.strip(), "takes back nothing: a pattern follows the `!`")
        cleaned = _clean(pattern)
        try:
            yield takes_back, _matcher(cleaned)
        except ValueError as error:
            raise BadPattern(number, line.strip(), f"is no pattern: {error}") from None


def _clean(pattern: str) -> str:
    cleaned = posixpath.normpath(pattern)
    cleaned = "/" + cleaned.lstrip("/") if cleaned.startswith("//") else cleaned
    return cleaned[1:] if cleaned.startswith("/") and len(cleaned) > 1 else cleaned


def _matcher(pattern: str) -> Callable[[str], bool]:
    if not _META.search(pattern):
        return lambda path: path == pattern
    if pattern.startswith("**") and not _META.search(pattern[2:]):
        suffix = pattern[2:]
        return lambda path: path.endswith(suffix) or (suffix.startswith("/") and path == suffix[1:])
    expression = _expression(pattern)
    return lambda path: expression.fullmatch(path) is not None


def _expression(pattern: str) -> re.Pattern[str]:
    pieces: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and pattern[at : at + 1] == "*":
            at += 1
            at += pattern[at : at + 1] == "/"
            pieces.append(".*" if at == len(pattern) else DEEP)
        elif character == "*":
            pieces.append(STAR)
        elif character == "?":
            pieces.append("[^/]")
        elif character == "\\":
            pieces.append(re.escape(pattern[at : at + 1]) if at < len(pattern) else r"\\")
            at += 1
        elif character == "[":
            characters, at = read_class(pattern, at)
            pieces.append(characters)
        else:
            pieces.append(re.escape(character))
    return re.compile(join_pieces(pieces), re.DOTALL)
