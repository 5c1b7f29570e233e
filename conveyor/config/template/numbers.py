"""Number literals of templates."""

from __future__ import annotations

import re
from typing import Final

from .lexer import CHARACTER, COMPLEX
from .nodes import Literal, Overflow
from .quoting import character, quoted
from .values import INT64_MAX, INT64_MIN

_INTEGER: Final = re.compile(
    r"[+-]?(?:0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|0[oO]_?[0-7]+(?:_[0-7]+)*|0[bB]_?[01]+(?:_[01]+)*"
    r"|0(?:_?[0-7]+)*|[1-9][0-9]*(?:_[0-9]+)*)"
)
_OLD_OCTAL: Final = re.compile(r"0_?[0-7]")
_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_HEXADECIMAL: Final = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+")
_COMPLEX: Final = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([+-][0-9.]+(?:[eE][+-]?[0-9]+)?)i")
_LONGEST: Final = 400  # digits: far beyond every number that fits


def number_literal(kind: int, text: str, position: int) -> Literal:
    """The literal of a token. Raises ValueError with Go's message."""
    if kind == CHARACTER:
        code = character(text)
        return Literal(position, text, code, code, float(code))
    if kind == COMPLEX:
        return _complex_literal(position, text)
    if text.endswith("i") and not text[:2].lower().startswith("0x"):
        real = _real(text[:-1])
        if real is not None:
            return _simplified(position, text, complex(0, real))
    whole = _whole(text)
    if whole is not None:
        if INT64_MIN <= whole <= INT64_MAX:
            return Literal(position, text, whole, whole, float(whole))
        if 0 <= whole < 1 << 64:
            return Literal(position, text, Overflow(), None, float(whole))
    real = _real(text)
    if real is None:
        raise ValueError(f"illegal number syntax: {quoted(text)}")
    if not any(sign in text for sign in ".eEpP"):
        raise ValueError(f"integer overflow: {quoted(text)}")
    fits = real.is_integer() and INT64_MIN <= real <= INT64_MAX
    return Literal(position, text, real, int(real) if fits else None, real)


def _complex_literal(position: int, text: str) -> Literal:
    match = _COMPLEX.fullmatch(text)
    parts = [_real(part) for part in match.groups()] if match else []
    if len(parts) != 2 or parts[0] is None or parts[1] is None:
        raise ValueError("syntax error scanning complex number")
    return _simplified(position, text, complex(parts[0], parts[1]))


def _simplified(position: int, text: str, value: complex) -> Literal:
    """A complex literal; without imaginary part it fits where a real one does, too."""
    if value.imag:
        return Literal(position, text, value)
    whole = int(value.real) if value.real.is_integer() and INT64_MIN <= value.real <= INT64_MAX else None
    return Literal(position, text, value, whole, value.real)


def _whole(text: str) -> int | None:
    if len(text) > _LONGEST or not _INTEGER.fullmatch(text):
        return None
    digits = text.lstrip("+-")
    number = int(digits.replace("_", ""), 8) if _OLD_OCTAL.match(digits) else int(digits, 0)
    return -number if text[0] == "-" else number


def _real(text: str) -> float | None:
    if len(text) > 100 * _LONGEST:
        return None
    if _HEXADECIMAL.fullmatch(text):
        try:
            return float.fromhex(text)
        except OverflowError:
            return None
    if not _DECIMAL.fullmatch(text):
        return None
    real = float(text)
    return None if real in (float("inf"), float("-inf")) else real
