"""Functions of sprig over regular expressions: RE2's, in time that grows with the text alone, with Go's rules around."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from conveyor.config.template.functions import FunctionError, check_elements, check_text, declare
from conveyor.config.template.sprig.letters import map_characters
from conveyor.config.template.values import TypedList, raw
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
_MOST_MATCHES = 100_000  # what takes about a second
_CONTINUATION = frozenset(bytes((byte,)) for byte in range(0x80, 0xC0))
_ONE_BYTE = re.compile(rb"(?<!\\)(?:\\\\)*\\C")
_REFERENCE = re.compile(r"\$(?:\$|(?P<plain>\w+)|\{(?P<braced>\w+)\})")
_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$]")


class _Syntax(Exception):
    """A pattern is not one; the text is Go's."""


def match(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere; false where it is none."""
    try:
        return _matches_once(_compiled(pattern), text)
    except _Syntax:
        return False


def must_match(pattern: str, text: str) -> bool:
    """Whether the pattern matches anywhere."""
    return _matches_once(_checked(pattern), text)


def find(pattern: str, text: str) -> str:
    """The first match; "" where there is none."""
    return _first(_checked(pattern, panics=True), text)


def must_find(pattern: str, text: str) -> str:
    """The first match; "" where there is none."""
    return _first(_checked(pattern), text)


def find_all(pattern: str, text: str, count: int) -> TypedList:
    """At most `count` matches, all where it is negative."""
    return _all(_checked(pattern, panics=True), text, count)


def must_find_all(pattern: str, text: str, count: int) -> TypedList:
    """At most `count` matches, all where it is negative."""
    return _all(_checked(pattern), text, count)


def replace_all(pattern: str, text: str, replacement: str) -> str:
    """Every match replaced; `$1`, `${1}` and `${name}` are groups, `$$` a dollar."""
    return _replaced(_checked(pattern, panics=True), text, replacement)


def must_replace_all(pattern: str, text: str, replacement: str) -> str:
    """Every match replaced; `$1`, `${1}` and `${name}` are groups, `$$` a dollar."""
    return _replaced(_checked(pattern), text, replacement)


def replace_all_literal(pattern: str, text: str, replacement: str) -> str:
    """Every match replaced by just this text."""
    return _replaced(_checked(pattern, panics=True), text, replacement, literal=True)


def must_replace_all_literal(pattern: str, text: str, replacement: str) -> str:
    """Every match replaced by just this text."""
    return _replaced(_checked(pattern), text, replacement, literal=True)


def split(pattern: str, text: str, count: int) -> TypedList:
    """The pieces between matches, at most `count` where it is not negative; the last one holds the rest."""
    return _pieces(_checked(pattern, panics=True), pattern, text, count)


def must_split(pattern: str, text: str, count: int) -> TypedList:
    """The pieces between matches, at most `count` where it is not negative; the last one holds the rest."""
    return _pieces(_checked(pattern), pattern, text, count)


def quote_meta(text: str) -> str:
    """A pattern that matches just this text."""
    check_text(2 * len(text))
    return _SPECIAL.sub(r"\\\g<0>", text)


def compile_pattern(pattern: str) -> Any:  # noqa: ANN401 - google-re2 has no types
    """The compiled pattern, which matches bytes. Raises FunctionError where it is none."""
    return _checked(pattern)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:  # noqa: ANN401 - google-re2 has no types
    import re2  # type: ignore[import-untyped]

    octets = raw(pattern)
    options = re2.Options()
    options.log_errors = False
    if any("\ud800" <= character <= "\udfff" for character in pattern):
        raise _Syntax(f"error parsing regexp: invalid UTF-8: `{map_characters(str, pattern)}`")
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
    raise _Syntax(f"error parsing regexp: {_MESSAGES.get(problem, problem)}: `{part or ''}`")


def _checked(pattern: str, *, panics: bool = False) -> Any:  # noqa: ANN401 - google-re2 has no types
    try:
        return _compiled(pattern)
    except _Syntax as error:
        from conveyor.config.template.quoting import back_quoted, quoted

        shown = back_quoted(pattern) or quoted(pattern)
        raise FunctionError(f"regexp: Compile({shown}): {error}" if panics else str(error)) from None


def _first(compiled: Any, text: str) -> str:  # noqa: ANN401 - google-re2 has no types
    octets = raw(text)
    return next((as_text(octets[start:end]) for start, end, _ in _matches(compiled, octets)), "")


def _matches_once(compiled: Any, text: str) -> bool:  # noqa: ANN401 - google-re2 has no types
    return next(_matches(compiled, raw(text)), None) is not None


def _all(compiled: Any, text: str, count: int) -> TypedList:  # noqa: ANN401 - google-re2 has no types
    octets = raw(text)
    found: list[str] = []
    for start, end, _ in _matches(compiled, octets):
        if len(found) == count:
            break
        check_elements(len(found) + 1)
        found.append(as_text(octets[start:end]))
    return TypedList(found, is_nil=not found)


def _pieces(compiled: Any, pattern: str, text: str, count: int) -> TypedList:  # noqa: ANN401 - google-re2 has no types
    if count == 0:
        return TypedList((), is_nil=True)
    octets = raw(text)
    if pattern and not octets:
        return TypedList([""])
    pieces: list[bytes] = []
    begin = end = 0
    for start, stop, _ in _matches(compiled, octets):
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


def _matches(compiled: Any, octets: bytes) -> Iterator[tuple[int, int, Any]]:  # noqa: ANN401 - google-re2 has no types
    """Where matches stand, one after the other, each with its groups.

    RE2 finds an empty match again where it has just found one, and no boundary of words (`\\B`) inside of characters, too.
    """
    before, count = -1, 0
    for found in compiled.finditer(octets):
        start, end = found.span()
        if start == end and (start == before or octets[start : start + 1] in _CONTINUATION):
            continue
        count += 1
        if count > _MOST_MATCHES:
            raise FunctionError(f"the pattern matches more than {_MOST_MATCHES} times, which a template may not use")
        yield start, end, found
        before = end


def _replaced(compiled: Any, text: str, replacement: str, *, literal: bool = False) -> str:  # noqa: ANN401 - no types
    octets = raw(text)
    constant = raw(replacement) if literal or "$" not in replacement else None
    pieces: list[bytes] = []
    copied = size = 0
    for start, end, found in _matches(compiled, octets):
        pieces.append(octets[copied:start])
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


FUNCTIONS = dict(
    (
        declare("regexMatch", "string string", match, walks=2),
        declare("mustRegexMatch", "string string", must_match, walks=2),
        declare("regexFind", "string string", find, walks=2),
        declare("mustRegexFind", "string string", must_find, walks=2),
        declare("regexFindAll", "string string int", find_all, walks=2),
        declare("mustRegexFindAll", "string string int", must_find_all, walks=2),
        declare("regexReplaceAll", "string string string", replace_all, walks=2),
        declare("mustRegexReplaceAll", "string string string", must_replace_all, walks=2),
        declare("regexReplaceAllLiteral", "string string string", replace_all_literal, walks=2),
        declare("mustRegexReplaceAllLiteral", "string string string", must_replace_all_literal, walks=2),
        declare("regexSplit", "string string int", split, walks=2),
        declare("mustRegexSplit", "string string int", must_split, walks=2),
        declare("regexQuoteMeta", "string", quote_meta),
    )
)
