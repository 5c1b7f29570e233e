"""Patterns with `*` as regular expressions that are matched in linear time: what has matched is never tried elsewhere.

Between two `*` a text is best taken where it first fits, for later places would leave less for what follows. Atomic groups
say that to Python's `re`, which would otherwise try all places of all of them: minutes for twenty `*`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

STAR: Final = "[^/]*"
DEEP: Final = "(?:.*/)?"  # any number of components, none too


def join_pieces(pieces: Sequence[str]) -> str:
    """The expression of `STAR`, `DEEP` and expressions that each take one character.

    It matches whole texts as the pieces one after the other would. Compile it with `re.DOTALL`.
    """
    source: list[str] = []
    at = 0
    while at < len(pieces):
        piece = pieces[at]
        following = at + 1
        if piece == STAR:
            while following < len(pieces) and pieces[following] not in (STAR, DEEP, ".*"):
                following += 1
            if following < len(pieces) and pieces[following] == STAR:
                source += ("(?>[^/]*?", *pieces[at + 1 : following], ")")
                at = following
                continue
        elif piece == DEEP:
            while following < len(pieces) and pieces[following] != DEEP:
                following += 1
            # What ends with a `/` has one end, wherever it begins.
            if following < len(pieces) and pieces[following - 1] == "/":
                source += ("(?>(?:.*?/)??", join_pieces(pieces[at + 1 : following]), ")")
                at = following
                continue
        source.append(piece)
        at += 1
    return "".join(source)
