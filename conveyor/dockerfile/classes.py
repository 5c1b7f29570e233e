"""`[a-z]` of Go's patterns."""

from __future__ import annotations

import re


def read_class(pattern: str, at: int) -> tuple[str, int]:
    """The class whose `[` stands before `at`, as a regular expression, and where it ends. `ValueError` where Go has none.

    Only `^` negates; a `-` or a `]` of its own needs a `\\` before it.
    """
    end = at + (pattern[at : at + 1] == "^")
    negated = end > at
    ranges: list[str] = []
    while True:
        if end >= len(pattern):
            raise ValueError("a `[` is not closed")
        if pattern[end] == "]" and ranges:
            return f"[{'^' if negated else ''}{''.join(ranges)}]", end + 1
        low, end = _character(pattern, end)
        high = low
        if pattern[end : end + 1] == "-":
            high, end = _character(pattern, end + 1)
        if high < low:
            raise ValueError(f"the range {low}-{high} is empty")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")


def _character(pattern: str, at: int) -> tuple[str, int]:
    at += pattern[at : at + 1] == "\\"
    if at >= len(pattern) or (pattern[at] in "-]" and pattern[at - 1] != "\\"):
        raise ValueError("a `-` or `]` stands where a character is asked for")
    return pattern[at], at + 1
