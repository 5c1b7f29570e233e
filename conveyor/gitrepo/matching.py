"""Which paths a set of globs means, in werf's three forms.

A glob matches the paths it spells and everything below them, and trailing `*` and `**` add nothing to that: `dir`,
`dir/*`, `dir/**` and `dir/**/*` are the same. A path is taken where an include matches it (or there is none) and no
exclude does.

`**` as a whole component stands for any number of components, none too; `*`, `?` and `[..]` (`^` or `!` negates) never
match a `/` and do match a leading dot; `{a,b}` are alternatives and may hold `/`; `\\` takes the next character as it is.
What cannot be read as a glob (a bracket that is not closed) stands for itself: `conveyor.config` refuses it with its place.

Paths are bytes. They are matched as UTF-8, where a byte that is no UTF-8 counts as one character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from conveyor.errors import GitError

Taken = Literal["none", "partial", "all"]

_LONGEST = 4096  # characters of a glob
_MOST_CHARACTERS = 100_000  # of all globs of a list
_MOST_BRACES = 1000
_MOST_STARS = 8
_MOST_ALTERNATIVES = 4096  # of one glob, after its braces with `/` are written out
_WRITTEN_OUT = re.compile(r"/|\*\*|(?<=[{,])[,}]")
_STARS = r"\*+"
_NEVER = re.compile(r"(?!)")


class _Globs(Struct, frozen=True):
    """Several globs, any of which may match."""

    match: re.Pattern[str]  # the paths, and all below them
    lead: re.Pattern[str]  # directories, with a `/` at the end, below which a glob may still match

    def directory(self, path: str) -> Taken:
        if self.match.fullmatch(path):
            return "all"
        return "partial" if not path or self.lead.fullmatch(path + "/") else "none"


class PathMatcher(Struct, frozen=True, eq=False):
    """Tells which paths are taken. Paths are relative to what a mapping adds, without slashes at their ends."""

    includes: tuple[_Globs, ...]
    exclude: _Globs | None

    @property
    def takes_all(self) -> bool:
        """Whether there is nothing to filter by."""
        return not self.includes and self.exclude is None

    def matches(self, path: bytes) -> bool:
        """Whether a file at `path` is taken; b"" where what is added is itself a file."""
        text = path.decode("utf-8", "surrogateescape")
        if self.exclude is not None and self.exclude.match.fullmatch(text):
            return False
        return all(globs.match.fullmatch(text) for globs in self.includes)

    def directory(self, path: bytes) -> Taken:
        """Which of the files below a directory are taken: every one, none whatever they are called, or it depends."""
        if self.takes_all:
            return "all"
        text = path.decode("utf-8", "surrogateescape")
        excluded = self.exclude.directory(text) if self.exclude is not None else "none"
        if excluded == "all":
            return "none"
        taken: Taken = "all" if excluded == "none" else "partial"
        for globs in self.includes:
            included = globs.directory(text)
            if included == "none":
                return "none"
            if included == "partial":
                taken = "partial"
        return taken


@lru_cache(maxsize=4096)
def compile_matcher(include: tuple[str, ...], exclude: tuple[str, ...], within: tuple[str, ...] = ()) -> PathMatcher:
    """A matcher of the paths that an include takes, a `within` takes too (each: or there is none), and no exclude takes.

    `GitError` (reason `glob_too_large`) for a glob with thousands of alternatives.
    """
    return PathMatcher(
        tuple(_compile(globs) for globs in (include, within) if globs),
        _compile(exclude) if exclude else None,
    )


@lru_cache(maxsize=4096)
def _compile(globs: tuple[str, ...]) -> _Globs:
    size = sum(map(len, globs))
    long = next((glob for glob in globs if len(glob) > _LONGEST or _is_costly(glob)), "")
    if long or size > _MOST_CHARACTERS:
        what = (
            f"the glob `{long[:100]}...` is too long or too deep"
            if long
            else f"the globs of one list have {size} characters"
        )
        raise GitError(
            f"{what}: it has at most {_LONGEST} characters, {_MOST_BRACES} braces and {_MOST_STARS} `*` beside them,"
            f" and a list {_MOST_CHARACTERS} characters",
            reason="glob_too_large",
            hint="write fewer and wider ones",
        )
    # An alternative that leaves no name, as the last one of `{a,}`, does not stand for everything.
    written = [text for glob in globs for text in _write_out(glob) if text == glob or set(text.split("/")) - {"", "."}]
    spelled = [_components(text) for text in written]
    if not all(spelled):
        return _Globs(re.compile(r".*", re.DOTALL), _NEVER)  # one of them is all of it
    match = "|".join(dict.fromkeys(map(_match_source, spelled))) or _NEVER.pattern
    leads = [lead for lead in dict.fromkeys(map(_lead_source, spelled)) if lead]
    return _Globs(
        re.compile(f"(?=.)(?:{match})(?:/.*)?", re.DOTALL),
        re.compile("|".join(leads), re.DOTALL) if leads else _NEVER,
    )


def _is_costly(glob: str) -> bool:
    return glob.count("{") > _MOST_BRACES or ("{" in glob and len(re.findall(_STARS, glob)) > _MOST_STARS)


def _match_source(components: tuple[str, ...]) -> str:
    """What follows a `**` is taken where it first fits: later places would leave less for the rest, and are never tried."""
    source = ""
    at = 0
    while at < len(components):
        crosses = components[at] == "**"
        begin = at + crosses
        at = next((index for index in range(begin, len(components)) if components[index] == "**"), len(components))
        part = "/".join(map(_regex, components[begin:at]))
        end = "/" if at < len(components) else r"(?=/|\Z)"
        source += f"(?>(?:.*?/)??{part}{end})" if crosses else part + end
    return source


def _lead_source(components: tuple[str, ...]) -> str:
    """What may stand before the last component: `a/b/c` may still match below `a/` and `a/b/`; all below a `**`."""
    source = ""
    opened = 0
    for component in components[:-1]:
        if component == "**":
            source += r".*"
            break
        source += _regex(component) + "/(?:"
        opened += 1
    return source + ")?" * opened


def _components(glob: str) -> tuple[str, ...]:
    """The components of a glob; trailing `*` and `**` left out, for what is before them stands for all below it."""
    found: list[str] = []
    for component in _split(glob, "/"):
        named = "**" if component == "**" else re.sub(r"(?<!\\)\*{2,}", "*", component)
        if named not in ("", ".") and not (named == "**" and found and found[-1] == "**"):
            found.append(named)
    while found and found[-1] in ("*", "**"):
        found.pop()
    return tuple(found)


def _write_out(glob: str) -> list[str]:
    """A glob without those braces whose alternatives are more, or less, than parts of one component."""
    done: list[str] = []
    left = [glob]
    while left:
        if len(done) + len(left) > _MOST_ALTERNATIVES:
            raise GitError(
                f"the glob `{glob}` has more than {_MOST_ALTERNATIVES} alternatives",
                reason="glob_too_large",
                hint="write several globs, or fewer `{..}` with `/` or `**` in them",
            )
        text = left.pop()
        braces = next((span for span in _braces(text) if _WRITTEN_OUT.search(text, *span)), None)
        if braces is None:
            done.append(text)
            continue
        start, end = braces
        left += [text[:start] + alternative + text[end:] for alternative in _split(text[start + 1 : end - 1], ",")]
    return done


def _braces(text: str) -> Iterator[tuple[int, int]]:
    """Where outer braces begin and end."""
    at = 0
    while at < len(text):
        end = _end(text, at)
        if text[at] == "{" and end > at + 1:
            yield at, end
        at = end


def _split(text: str, separator: str) -> list[str]:
    """The parts between separators that stand outside of brackets and braces."""
    parts = []
    start = at = 0
    while at < len(text):
        if text[at] == separator:
            parts.append(text[start:at])
            start = at + 1
        at = _end(text, at)
    parts.append(text[start:])
    return parts


def _end(text: str, at: int) -> int:
    """Where the element ends that begins at `at`: a character, an escape, a class, braces."""
    character = text[at]
    if character == "\\":
        return min(at + 2, len(text))
    if character == "[":
        return _class_end(text, at)
    if character == "{":
        return _ends_of_braces(text).get(at, at + 1)
    return at + 1


@lru_cache(maxsize=64)
def _ends_of_braces(text: str) -> dict[int, int]:
    """Where braces end, by where they begin, as far as they are closed."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    at = 0
    while at < len(text):
        if text[at] == "{":
            opened.append(at)
            at += 1
            continue
        if text[at] == "}" and opened:
            ends[opened.pop()] = at + 1
        at = _end(text, at)
    return ends


def _class_end(text: str, at: int) -> int:
    end = at + 2 if text[at + 1 : at + 2] in ("^", "!") else at + 1
    first = end
    while end < len(text) and text[end] != "/":
        if text[end] == "]" and end > first:
            return end + 1
        end += 2 if text[end] == "\\" else 1
    return at + 1


def _regex(component: str) -> str:
    """The regular expression of one component, or of an alternative inside one."""
    source = ""
    at = 0
    # Between two `*` a text is taken where it first fits: later places would leave less for the rest. Alternatives may
    # differ in length, so that it does not hold for them.
    stars_left = component.count("*") if "{" not in component else 1
    is_open = False
    while at < len(component):
        end = _end(component, at)
        element = component[at:end]
        if element == "*":
            source += ")" * is_open
            stars_left -= 1
            is_open = stars_left > 0
            source += r"(?>[^/]*?" if is_open else r"[^/]*"
        elif element == "?":
            source += r"[^/]"
        elif element[0] == "[" and len(element) > 1:
            source += _class_regex(element[1:-1])
        elif element[0] == "{" and len(element) > 1:
            source += "(?:" + "|".join(map(_regex, _split(element[1:-1], ","))) + ")"
        elif element[0] == "\\" and len(element) > 1:
            source += re.escape(element[1])
        else:
            source += re.escape(element)
        at = end
    return source + ")" * is_open


def _class_regex(inner: str) -> str:
    negated = inner[0] in "^!"
    characters = re.findall(r"\\?(.)(?:-\\?(.))?", inner[1:] if negated else inner, re.DOTALL)
    ranges = [(first, last or first) for first, last in characters]
    source = "".join(f"{re.escape(first)}-{re.escape(last)}" for first, last in ranges if first <= last)
    if negated:
        return f"[^/{source}]"
    return f"(?!/)[{source}]" if source else r"(?!)"
