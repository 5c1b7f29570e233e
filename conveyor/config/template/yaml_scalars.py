"""What a plain scalar of YAML means to Go's `yaml.v2`: YAML 1.1 without base 60."""

from __future__ import annotations

import math
import re
from typing import Literal

from conveyor.config.template.number_text import parse_float, parse_int
from conveyor.config.template.values import INT64_MAX, Uint64, Value

Meaning = Literal["text", "boolean", "integer", "float", "null", "timestamp"]

_WORDS: dict[str, tuple[Meaning, Value]] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), ("boolean", True)),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), ("boolean", False)),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), ("null", None)),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), ("float", math.nan)),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), ("float", math.inf)),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), ("float", -math.inf)),
}
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?P<letter>[Tt]|(?P<blank> ))([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,][0-9]+)?"
    r"(?(blank)|(?:Z|[+-]([0-9]{2}):([0-9]{2}))))?"
)


def resolve(text: str) -> tuple[Meaning, Value]:
    """What the scalar is, and its value; a timestamp stays the text that it is."""
    known = _WORDS.get(text)
    if known is not None:
        return known
    first = text[0]
    if first == ".":
        number = parse_float(text)
        return ("text", text) if number is None else ("float", number)
    if first not in "+-0123456789":
        return "text", text
    if text[4:5] == "-" and _is_timestamp(text):
        return "timestamp", text
    return _number(text)


def _number(text: str) -> tuple[Meaning, Value]:
    plain = text.replace("_", "")
    whole = parse_int(plain)
    if whole is None:
        unsigned = parse_int(plain, unsigned=True)
        whole = None if unsigned is None or unsigned <= INT64_MAX else Uint64(unsigned)
    if whole is not None:
        return "integer", whole
    if _FLOAT.fullmatch(plain):
        real = parse_float(plain)
        if real is not None:
            return "float", real
    if plain.startswith("0b"):  # `0b-1`: the library takes a sign there, too
        whole = parse_int(plain[2:], 2)
    return ("text", text) if whole is None else ("integer", whole)


def _is_timestamp(text: str) -> bool:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return False
    year, month, day, _, _, *clock = match.groups()
    from datetime import date

    try:
        date(int(year) or 4, int(month), int(day))  # the year 0 is a leap year, too
    except ValueError:
        return False
    limits = (23, 59, 59, 24, 60)
    return all(part is None or int(part) <= limit for part, limit in zip(clock, limits, strict=True))
