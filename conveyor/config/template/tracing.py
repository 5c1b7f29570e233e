"""Which part of which template wrote each character of a text: for mistakes that are found in the text only."""

from __future__ import annotations

from typing import NamedTuple

from .nodes import Template


class _Piece(NamedTuple):
    length: int
    template: Template
    position: int  # in the source of the template
    is_copied: bool  # the text stands so in the source
    pieces: list[_Piece] | None  # of a text that another template made


class Origin(NamedTuple):
    """A place in the source of a template: the name of its text, line and column, counting from 1."""

    file: str
    line: int
    column: int


class Trace:
    """What one run wrote. A text that a template made and that is printed as it is keeps its own origins."""

    __slots__ = ("_made", "_open")

    def __init__(self) -> None:
        self._open: dict[int, list[_Piece]] = {}
        self._made: dict[int, tuple[str, list[_Piece]]] = {}

    def note(self, out: list[str], template: Template, position: int, text: str, *, is_copied: bool) -> None:
        """`text` is about to be added to `out` by what stands at a position of a template."""
        made = self._made.get(id(text)) if not is_copied else None
        pieces = made[1] if made is not None else None
        self._open.setdefault(id(out), []).append(_Piece(len(text), template, position, is_copied, pieces))

    def close(self, out: list[str], text: str) -> None:
        """`text` is all that was added to `out`."""
        self._made[id(text)] = (text, self._open.pop(id(out), []))

    def find(self, text: str, offset: int) -> Origin | None:
        """Where the character at an offset of a text comes from; None where no template of this run made the text."""
        made = self._made.get(id(text))
        pieces = made[1] if made is not None else []
        at = offset
        found = None
        while pieces:
            for piece in pieces:
                if at < piece.length:
                    break
                at -= piece.length
            else:
                break
            found = _origin(piece, at)
            pieces = piece.pieces or []
        return found


def _origin(piece: _Piece, at: int) -> Origin:
    source = piece.template.source
    position = piece.position + (at if piece.is_copied else 0)
    start = source.rfind("\n", 0, position) + 1
    return Origin(piece.template.file, source.count("\n", 0, position) + 1, position - start + 1)
