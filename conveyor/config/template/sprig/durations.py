"""Go's `time.Duration`: nanoseconds, written as `1h2m3.5s`."""

from __future__ import annotations

import re

from conveyor.config.template.functions import FunctionError
from conveyor.config.template.sprig.time_parsing import quote
from conveyor.config.template.values import wrapped

_UNITS = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^.0-9]*)")
_LARGEST = 1 << 63


def parse_duration(text: str) -> int:
    """The nanoseconds that a text means. Raises FunctionError with Go's message."""
    from fractions import Fraction

    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0
    invalid = FunctionError(f"time: invalid duration {quote(text)}")
    total = 0
    at = 0
    while at < len(rest) or not rest:
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]):
            raise invalid
        if len(part[1]) > 30 or not part[3]:
            raise (
                invalid if part[3] or len(part[1]) > 30 else FunctionError(f"time: missing unit in duration {quote(text)}")
            )
        if part[3] not in _UNITS:
            raise FunctionError(f"time: unknown unit {quote(part[3])} in duration {quote(text)}")
        unit = _UNITS[part[3]]
        fraction = Fraction(int((part[2] or "")[:18] or 0), 10 ** len((part[2] or "")[:18]))
        total += int(part[1] or 0) * unit + int(fraction * unit)
        if total > _LARGEST:
            raise invalid
        at = part.end()
    if text.startswith("-"):
        return -total
    if total == _LARGEST:
        raise invalid
    return total


def format_duration(nanoseconds: int) -> str:
    """Hours, minutes and seconds; below a second in the largest unit that gives a whole number before the point."""
    nanoseconds = wrapped(nanoseconds)
    sign, size = "-" if nanoseconds < 0 else "", abs(nanoseconds)
    if size == 0:
        return "0s"
    for unit, name in ((10**3, "ns"), (10**6, "µs"), (10**9, "ms")):
        if size < unit:
            return f"{sign}{_decimal(size, unit // 10**3)}{name}"
    minutes, rest = divmod(size, 60 * 10**9)
    text = f"{_decimal(rest, 10**9)}s"
    if minutes:
        text = f"{minutes % 60}m{text}"
    if minutes >= 60:
        text = f"{minutes // 60}h{text}"
    return sign + text


def round_duration(nanoseconds: int) -> str:
    """The number of the largest unit that it has more than one of: `3d`, `2mo`."""
    size = abs(wrapped(nanoseconds)) // 1
    day = 24 * 3600 * 10**9
    units = ((365 * day, "y"), (30 * day, "mo"), (day, "d"), (3600 * 10**9, "h"), (60 * 10**9, "m"), (10**9, "s"))
    return next((f"{size // unit}{name}" for unit, name in units if size > unit), "0s")


def _decimal(size: int, unit: int) -> str:
    whole, rest = divmod(size, unit)
    digits = str(rest).rjust(len(str(unit)) - 1, "0").rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
