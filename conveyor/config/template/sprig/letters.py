"""Characters as Go sees them: one to one changes of case, its spaces, letters, digits and punctuation."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

REPLACEMENT = "\ufffd"

_SPACES = frozenset(
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
SPACES = "".join(sorted(_SPACES))
_CJK = ((0x3400, 0x4D85), (0x4E00, 0x9FCC), (0x20000, 0x2B81D))


def to_upper(character: str) -> str:
    """The capital of a character; itself where it has none that is one character."""
    upper = character.upper()
    return upper if len(upper) == 1 else to_title(character)


def to_title(character: str) -> str:
    """The title case of a character; itself where it has none that is one character."""
    title = character.title()
    return title if len(title) == 1 else character


def to_lower(character: str) -> str:
    """The small letter of a character."""
    return character.lower()[0]


def map_characters(change: Callable[[str], str], text: str) -> str:
    """`text` with every character changed; bytes that are no UTF-8 become U+FFFD, as in Go's `strings.Map`."""
    return "".join(REPLACEMENT if "\ud800" <= character <= "\udfff" else change(character) for character in text)


def is_space(character: str) -> bool:
    """Whether Go calls it white space."""
    return character in _SPACES


def is_upper(character: str) -> bool:
    """Whether it is a capital."""
    return unicodedata.category(character) == "Lu"


def is_lower(character: str) -> bool:
    """Whether it is a small letter."""
    return unicodedata.category(character) == "Ll"


def is_letter(character: str) -> bool:
    """Whether it is a letter of any kind."""
    return unicodedata.category(character).startswith("L")


def is_digit(character: str) -> bool:
    """Whether it is a decimal digit."""
    return unicodedata.category(character) == "Nd"


def is_number(character: str) -> bool:
    """Whether it is a number of any kind."""
    return unicodedata.category(character).startswith("N")


def is_punctuation(character: str) -> bool:
    """Whether it is punctuation; symbols such as `+` and `$` are not."""
    return unicodedata.category(character).startswith("P")


def is_alphabetic(character: str) -> bool:
    """Whether it is a letter of a script that writes words with several: not an ideograph."""
    code = ord(character)
    return is_letter(character) and not any(low <= code <= high for low, high in _CJK)
