"""What goes wrong in a template, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_MOST_SPOTS: Final = 16  # a recursion names its first and last places
_LONGEST_QUOTE: Final = 500
_LONGEST_CAUSE: Final = 4000


class Spot:
    """A place in the text of one template.

    `template` is the name that the text was given, `line` counts from 1, `column` counts bytes from 0 (-1: only the line is
    known), `shown` is that line of the text. `doing` is what went on there, in Go's words ("" while parsing).
    """

    __slots__ = ("column", "doing", "line", "shown", "template")

    def __init__(self, template: str, line: int, column: int, shown: str, doing: str = "") -> None:
        self.template = template
        self.line = line
        self.column = column
        self.shown = shown
        self.doing = doing

    def __str__(self) -> str:
        column = f":{self.column}" if self.column >= 0 else ""
        return f"template: {self.template}:{self.line}{column}: {self.doing}"

    def __repr__(self) -> str:
        return f"Spot({self.template!r}, {self.line}, {self.column})"


class TemplateError(Exception):
    """A template that cannot be parsed, or fails.

    As text it is what Go prints, and names every template on the way. `spots` are these places, the outermost first;
    `cause` is the message without them; `hint` says how to mend it ("" where nothing is known).
    """

    def __init__(self, cause: str, *, spots: Sequence[Spot], hint: str = "") -> None:
        if len(cause) > _LONGEST_CAUSE:
            cause = cause[:_LONGEST_CAUSE] + "..."
        super().__init__(cause)
        self.cause = cause
        self.spots = tuple(spots)
        self.hint = hint

    def __str__(self) -> str:
        spots = [str(spot) for spot in self.spots]
        if len(spots) > _MOST_SPOTS:
            spots[_MOST_SPOTS // 2 : -_MOST_SPOTS // 2] = ["... "]
        return "".join(spots) + self.cause


def spot_of_line(template: str, source: str, line: int) -> Spot:
    """A line of `source` as a place."""
    lines = source.split("\n")
    return Spot(template, line, -1, lines[line - 1] if line <= len(lines) else "")


def spot_of_node(template: str, source: str, position: int, executing: str, node: str, then: str = "") -> Spot:
    """The place of a character of `source`, where the part `node` of the template `executing` was at work."""
    from .quoting import quoted

    start = source.rfind("\n", 0, position) + 1
    end = source.find("\n", start)
    column = len(source[start:position].encode("utf-8", "surrogateescape"))
    if len(node) > _LONGEST_QUOTE:
        node = node[:_LONGEST_QUOTE] + "..."
    doing = f"executing {quoted(executing)} at <{node}>: {then}"
    return Spot(template, source.count("\n", 0, position) + 1, column, source[start : end if end >= 0 else None], doing)
