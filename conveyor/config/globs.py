"""Whether a glob can be read, before anything is matched against it.

`**` crosses `/`; `*` and `?` do not; `[..]` is a class (`^` or `!` negates); `{a,b}` are alternatives; `\\` takes the next
character as it is. A `[` that is all of a name is that name.
"""

from __future__ import annotations

import re

MAX_LENGTH = 4096
MAX_DEPTH = 20
META = re.compile(r"(?<!\\)(?:\\\\)*[*?\[{]")


def glob_mistake(pattern: str) -> str:
    """What is wrong with a glob; "" where nothing is."""
    if len(pattern) > MAX_LENGTH:
        return f"it has more than {MAX_LENGTH} characters"
    depth = 0
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            if at + 1 == len(pattern):
                return "a `\\` at its end escapes nothing"
            at += 1
        elif character == "{":
            depth += 1
            if depth > MAX_DEPTH:
                return f"braces inside of one another are more than {MAX_DEPTH} deep"
        elif character == "}":
            if depth == 0:
                return "a `}` without a `{`"
            depth -= 1
        elif character == "[" and not _is_program(pattern, at):
            mistake, at = _class_end(pattern, at)
            if mistake:
                return mistake
        at += 1
    return "a `{` is not closed" if depth else ""


def _is_program(pattern: str, at: int) -> bool:
    """Whether a `[` is all of a name, as that of the program `/usr/bin/[`: no class, and no slip of the pen."""
    return pattern[at - 1 : at] in ("", "/") and pattern[at + 1 : at + 2] in ("", "/")


def _class_end(pattern: str, start: int) -> tuple[str, int]:
    at = start + 1
    if pattern[at : at + 1] in ("^", "!"):
        at += 1
    first = at
    previous = ""
    while at < len(pattern):
        character = pattern[at]
        if character == "]" and at > first:
            return "", at
        if character == "]":
            return "a `[]` names no character", at
        if character == "/":
            return "a `/` inside `[..]` can never match", at
        if character == "\\":
            at += 1
            character = pattern[at : at + 1]
        elif character == "-" and (not previous or pattern[at + 1 : at + 2] in ("]", "")):
            return "a range inside `[..]` has one end only", at
        elif character == "-":
            at += 1
            if pattern[at : at + 1] == "\\":
                at += 1
            if pattern[at : at + 1] < previous:
                return f"the range `{previous}-{pattern[at : at + 1]}` inside `[..]` is empty", at
            previous = ""
            at += 1
            continue
        previous = character
        at += 1
    return "a `[` is not closed", at


def escape_glob(text: str) -> str:
    """A glob that matches `text` alone."""
    return re.sub(r"([*?\[\]{}\\])", r"\\\1", text)


def is_literal(pattern: str) -> bool:
    """Whether a glob holds nothing that stands for more than itself."""
    return META.search(pattern) is None
