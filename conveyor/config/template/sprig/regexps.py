"""Functions of sprig over regular expressions: RE2's, in time that is bounded, with Go's rules around.

One search takes no longer than text times pattern: steps are counted for that, and for each match again where a pattern
may look far beyond what it matches, as `a.*z|b` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

from conveyor.config.template.functions import Function, FunctionError, Runtime, check_elements, check_text, declare
from conveyor.config.template.sprig.letters import map_characters
from conveyor.config.template.values import TypedList, Value, raw
from conveyor.config.template.values import text as as_text

_MESSAGES = {
    "missing ]": "missing closing ]",
    "missing )": "missing closing )",
    "no argument for repetition operator": "missing argument to repetition operator",
    "bad repetition operator": "invalid nested repetition operator",
    "invalid repetition size": "invalid repeat count",
    "trailing \\": "trailing backslash at end of expression",
    "invalid perl operator": "invalid or unsupported Perl syntax",
    "invalid named capture group": "invalid named capture",
    "duplicate capture group name": "duplicate capture group name",
}
_MOST_MATCHES = 100_000
_STEPS_OF_AN_INSTRUCTION: Final = 10  # to compile it, there and back
_STEPS_OF_A_LARGE_PATTERN: Final = 900_000  # of one that RE2 gives up
_STEPS_OF_A_MATCH: Final = 25
_STEPS_OF_A_SEARCH: Final = 100
_STEPS_OF_A_REPLACEMENT: Final = 12  # for each of its characters
_SMALL: Final = 20  # instructions: RE2 needs one look at each character
_INSTRUCTIONS_IN_A_STEP: Final = 5
_CHARACTERS_SKIPPED_IN_A_STEP: Final = 48
_UNBOUNDED = re.compile(r"[*+]|\{\d*,\}")
_BRANCHES = re.compile(r"\||(?<!\()\?|\)[*{]")
_CONTINUATION = frozenset(bytes((byte,)) for byte in range(0x80, 0xC0))
_ONE_BYTE = re.compile(rb"(?<!\\)(?:\\\\)*\\C")
_REFERENCE = re.compile(r"\$(?:\$|(?P<plain>\w+)|\{(?P<braced>\w+)\})")
_SPECIAL = str.maketrans({character: "\\" + character for character in "\\.+*?()|[]{}^$"})
_LONGEST_SHOWN: Final = 1000


class _Syntax(Exception):
    """A pattern is not one; the text is Go's."""


class _TooLarge(_Syntax):
    """A pattern takes more memory than RE2 may have."""


def match(runtime: Runtime, pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere; false where it is none."""
    try:
        return _matches_once(_kept(runtime, pattern), text)
    except _Syntax:
        return False


def must_match(runtime: Runtime, pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere."""
    return _matches_once(_checked(runtime, pattern), text)


def find(runtime: Runtime, pattern: str, text: str) -> str:
    """The first match; "" where there is none."""
    return _first(_checked(runtime, pattern, panics=True), text)


def must_find(runtime: Runtime, pattern: str, text: str) -> str:
    """The first match; "" where there is none."""
    return _first(_checked(runtime, pattern), text)


def find_all(runtime: Runtime, pattern: str, text: str, count: int) -> TypedList:
    """At most `count` matches, all where it is negative."""
    return _all(_checked(runtime, pattern, panics=True), text, count)


def must_find_all(runtime: Runtime, pattern: str, text: str, count: int) -> TypedList:
    """At most `count` matches, all where it is negative."""
    return _all(_checked(runtime, pattern), text, count)


def replace_all(runtime: Runtime, pattern: str, text: str, replacement: str) -> str:
    """Every match replaced; `$1`, `${1}` and `${name}` are groups, `$$` a dollar."""
    return _replaced(_checked(runtime, pattern, panics=True), text, replacement)


def must_replace_all(runtime: Runtime, pattern: str, text: str, replacement: str) -> str:
    """Every match replaced; `$1`, `${1}` and `${name}` are groups, `$$` a dollar."""
    return _replaced(_checked(runtime, pattern), text, replacement)


def replace_all_literal(runtime: Runtime, pattern: str, text: str, replacement: str) -> str:
    """Every match replaced by just this text."""
    return _replaced(_checked(runtime, pattern, panics=True), text, replacement, literal=True)


def must_replace_all_literal(runtime: Runtime, pattern: str, text: str, replacement: str) -> str:
    """Every match replaced by just this text."""
    return _replaced(_checked(runtime, pattern), text, replacement, literal=True)


def split(runtime: Runtime, pattern: str, text: str, count: int) -> TypedList:
    """The pieces between matches, at most `count` where it is not negative; the last one holds the rest."""
    return _pieces(_checked(runtime, pattern, panics=True), text, count)


def must_split(runtime: Runtime, pattern: str, text: str, count: int) -> TypedList:
    """The pieces between matches, at most `count` where it is not negative; the last one holds the rest."""
    return _pieces(_checked(runtime, pattern), text, count)


def quote_meta(text: str) -> str:
    """A pattern that matches just this text."""
    check_text(2 * len(text))
    return text.translate(_SPECIAL)


@lru_cache(maxsize=16)
def compile_pattern(pattern: str) -> Any:  # noqa: ANN401 - google-re2 has no types
    """The compiled pattern of a function's own, which matches bytes."""
    return _compiled(pattern)


class _Pattern:
    """A compiled pattern, and what a search with it takes in the run that it is for."""

    __slots__ = ("_looks_far", "_size", "charge", "compiled", "text")

    def __init__(self, runtime: Runtime, text: str) -> None:
        self.charge = runtime.charge
        self.text = text
        runtime.charge(_STEPS_OF_A_SEARCH + len(text))
        try:
            self.compiled = _compiled(text)
        except _TooLarge:
            runtime.charge(_STEPS_OF_A_LARGE_PATTERN)
            raise
        self._size: int = self.compiled.programsize
        self._looks_far = bool(_UNBOUNDED.search(text) and _BRANCHES.search(text))
        runtime.charge(self._size * _STEPS_OF_AN_INSTRUCTION)

    def charge_search(self, length: int) -> None:
        """Count the steps of going through so many bytes, in the worst case."""
        each = 1 if self._size <= _SMALL else self._size // _INSTRUCTIONS_IN_A_STEP
        self.charge(_STEPS_OF_A_SEARCH + length * each)

    def charge_match(self, left: int) -> None:
        """Count the steps of a match that so many bytes follow."""
        steps = _STEPS_OF_A_MATCH
        if self._looks_far:
            small = self._size <= _SMALL
            steps += left // _CHARACTERS_SKIPPED_IN_A_STEP if small else left * self._size // _INSTRUCTIONS_IN_A_STEP
        self.charge(steps)


def _kept(runtime: Runtime, text: str) -> _Pattern:
    """The pattern, compiled once in a run. Raises _Syntax."""
    key = "regex", text
    found: _Pattern | _Syntax | None = runtime.kept.get(key)
    if found is None:
        try:
            found = _Pattern(runtime, text)
        except _Syntax as error:
            found = error
        runtime.kept[key] = found
    if isinstance(found, _Syntax):
        raise found
    return found


def _compiled(pattern: str) -> Any:  # noqa: ANN401 - google-re2 has no types
    import re2  # type: ignore[import-untyped]

    octets = raw(pattern)
    options = re2.Options()
    options.log_errors = False
    if any("\ud800" <= character <= "\udfff" for character in pattern):
        raise _Syntax(f"error parsing regexp: invalid UTF-8: `{map_characters(str, pattern[:_LONGEST_SHOWN])}`")
    try:
        compiled = re2.compile(octets, options)
    except re2.error as error:
        message = error.args[0]
        message = as_text(message) if isinstance(message, bytes) else str(message)
    else:
        if _ONE_BYTE.search(octets):  # RE2 takes it, Go does not
            raise _Syntax("error parsing regexp: invalid escape sequence: `\\C`")
        return compiled
    found = re.fullmatch(r"(.*?)(?:: (.*))?", message, re.DOTALL)
    problem, part = found.groups() if found else (message, None)
    if problem == "trailing \\":
        part = ""
    kind = _TooLarge if problem.startswith("pattern too large") else _Syntax
    raise kind(f"error parsing regexp: {_MESSAGES.get(problem, problem)}: `{part or ''}`")


def _checked(runtime: Runtime, pattern: str, *, panics: bool = False) -> _Pattern:
    try:
        return _kept(runtime, pattern)
    except _Syntax as error:
        from conveyor.config.template.quoting import back_quoted, quoted

        if len(pattern) > _LONGEST_SHOWN:
            pattern = pattern[:_LONGEST_SHOWN] + "..."
        shown = back_quoted(pattern) or quoted(pattern)
        raise FunctionError(f"regexp: Compile({shown}): {error}" if panics else str(error)) from None


def _first(pattern: _Pattern, text: str) -> str:
    octets = raw(text)
    return next((as_text(octets[start:end]) for start, end, _ in _matches(pattern, octets)), "")


def _matches_once(pattern: _Pattern, text: str) -> bool:
    return next(_matches(pattern, raw(text)), None) is not None


def _all(pattern: _Pattern, text: str, count: int) -> TypedList:
    octets = raw(text)
    found: list[str] = []
    for start, end, _ in _matches(pattern, octets):
        if len(found) == count:
            break
        check_elements(len(found) + 1)
        found.append(as_text(octets[start:end]))
    return TypedList(found, is_nil=not found)


def _pieces(pattern: _Pattern, text: str, count: int) -> TypedList:
    if count == 0:
        return TypedList((), is_nil=True)
    octets = raw(text)
    if pattern.text and not octets:
        return TypedList([""])
    pieces: list[bytes] = []
    begin = end = 0
    for start, stop, _ in _matches(pattern, octets):
        if len(pieces) == count - 1:
            break
        end = start
        if stop:
            check_elements(len(pieces) + 1)
            pieces.append(octets[begin:end])
        begin = stop
    if end != len(octets):
        pieces.append(octets[begin:])
    return TypedList(map(as_text, pieces))


def _matches(pattern: _Pattern, octets: bytes) -> Iterator[tuple[int, int, Any]]:
    """Where matches stand, one after the other, each with its groups.

    RE2 finds an empty match again where it has just found one, and no boundary of words (`\\B`) inside of characters, too.
    """
    before, count, size = -1, 0, len(octets)
    pattern.charge_search(size)
    for found in pattern.compiled.finditer(octets):
        start, end = found.span()
        pattern.charge_match(size - end)
        if start == end and (start == before or octets[start : start + 1] in _CONTINUATION):
            continue
        count += 1
        if count > _MOST_MATCHES:
            raise FunctionError(f"the pattern matches more than {_MOST_MATCHES} times, which a template may not use")
        yield start, end, found
        before = end


def _replaced(pattern: _Pattern, text: str, replacement: str, *, literal: bool = False) -> str:
    octets = raw(text)
    constant = raw(replacement) if literal or "$" not in replacement else None
    pieces: list[bytes] = []
    copied = size = 0
    for start, end, found in _matches(pattern, octets):
        pieces.append(octets[copied:start])
        if constant is None:
            pattern.charge(len(replacement) * _STEPS_OF_A_REPLACEMENT)
        pieces.append(constant if constant is not None else _expanded(replacement, found))
        size += len(pieces[-1])
        check_text(size)
        copied = end
    check_text(size + len(octets))
    return as_text(b"".join([*pieces, octets[copied:]]))


def _expanded(replacement: str, found: Any) -> bytes:  # noqa: ANN401 - google-re2 has no types
    size = 0

    def group(reference: re.Match[str]) -> str:
        nonlocal size
        name = reference["plain"] or reference["braced"]
        if name is None:
            return "$"
        index: int | None = None
        if not re.fullmatch("[0-9]+", name):
            index = found.re.groupindex.get(raw(name))
        elif len(name) < 9 and (name == "0" or name[0] != "0"):
            index = int(name)
        if index is None or index > found.re.groups:
            return ""
        octets = found.group(index) or b""
        size += len(octets)
        check_text(size)
        return as_text(octets)

    return raw(_REFERENCE.sub(group, replacement))


def _both(
    name: str, signature: str, call: Callable[..., Value], must: Callable[..., Value]
) -> tuple[tuple[str, Function], tuple[str, Function]]:
    must_name = "must" + name[0].upper() + name[1:]
    return declare(name, signature, call, runtime=True), declare(must_name, signature, must, runtime=True)


FUNCTIONS = dict(
    (
        *_both("regexMatch", "string string", match, must_match),
        *_both("regexFind", "string string", find, must_find),
        *_both("regexFindAll", "string string int", find_all, must_find_all),
        *_both("regexReplaceAll", "string string string", replace_all, must_replace_all),
        *_both("regexReplaceAllLiteral", "string string string", replace_all_literal, must_replace_all_literal),
        *_both("regexSplit", "string string int", split, must_split),
        declare("regexQuoteMeta", "string", quote_meta, walks=1),
    )
)
