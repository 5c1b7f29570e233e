"""A moment read from a text by a layout of Go."""

from __future__ import annotations

import re
from typing import NamedTuple

from conveyor.config.template.functions import FunctionError
from conveyor.config.template.sprig.times import ELEMENT, MONTHS, UTC, WEEKDAYS, Time, Zone, days_of, in_zone
from conveyor.config.template.values import raw

_LONGEST = 2000
_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_NAMES = {
    "January": MONTHS,
    "Jan": tuple(name[:3] for name in MONTHS),
    "Monday": WEEKDAYS,
    "Mon": tuple(name[:3] for name in WEEKDAYS),
}
# What an element holds, and the digits of it.
_NUMBERS = {
    "1": ("month", 1, 2), "01": ("month", 2, 2), "2": ("day", 1, 2), "_2": ("day", 1, 2), "02": ("day", 2, 2),
    "__2": ("yearday", 1, 3), "002": ("yearday", 3, 3), "15": ("hour", 1, 2), "3": ("hour12", 1, 2), "03": ("hour12", 2, 2),
    "4": ("minute", 1, 2), "04": ("minute", 2, 2), "5": ("second", 1, 2), "05": ("second", 2, 2),
}  # fmt: skip
_LIMITS = {"month": (1, 12), "hour": (0, 23), "hour12": (0, 12), "minute": (0, 59), "second": (0, 59)}
_OFFSETS = {
    "07": r"([+-])([0-9]{2})()()",
    "0700": r"([+-])([0-9]{2})([0-9]{2})()",
    "07:00": r"([+-])([0-9]{2}):([0-9]{2})()",
    "070000": r"([+-])([0-9]{2})([0-9]{2})([0-9]{2})",
    "07:00:00": r"([+-])([0-9]{2}):([0-9]{2}):([0-9]{2})",
}
_ZONE_NAME = re.compile(
    r"ChST|MeST|GMT(?:[+-](?:2[0-3]|1[0-9]|0*[0-9])(?![0-9]))?|[+-](?:2[0-3]|1[0-9]|0*[0-9])(?![0-9])"
    r"|(?:WITA|[A-Z]{4}T|[A-Z]{3}T|[A-Z]{3})(?![A-Z])"
)


class _Bad(Exception):
    """What stands there is not what the layout has there; with a text: what is out of range."""


class _Found(NamedTuple):
    """What was read so far."""

    parts: dict[str, int]
    zone: Zone | None = None
    zone_name: str = ""


def parse_time(layout: str, text: str, local: Zone) -> Time:
    """The moment that a text means, read as the layout says; `local` is the zone where it names none.

    Raises FunctionError with Go's message.
    """
    if len(layout) > _LONGEST or len(text) > _LONGEST:
        raise FunctionError(f"parsing time: a layout and a text may have {_LONGEST} characters at most")
    found = _Found({})
    rest, at = text, 0
    elements = list(ELEMENT.finditer(layout))
    for index, element in enumerate(elements):
        rest = _skipped(layout[at : element.start()], rest, layout, text)
        at = element.end()
        following = elements[index + 1][0] if index + 1 < len(elements) else ""
        hold = rest
        try:
            found, rest = _read(element[0], rest, found, fraction_follows=following[:1] in (".", ","))
        except _Bad as bad:
            if str(bad):
                raise FunctionError(f"parsing time {quote(text)}: {bad} out of range") from None
            raise _mismatch(layout, text, element[0], hold) from None
    rest = _skipped(layout[at:], rest, layout, text)
    if rest:
        raise FunctionError(f"parsing time {quote(text)}: extra text: {quote(rest)}")
    return _moment(text, found, local)


def _skipped(prefix: str, rest: str, layout: str, text: str) -> str:
    """`rest` behind the literal part of the layout; blanks match any number of blanks."""
    at = prefix
    while at:
        if at[0] == " ":
            if rest and rest[0] != " ":
                raise _mismatch(layout, text, prefix, rest)
            at, rest = at.lstrip(" "), rest.lstrip(" ")
        elif rest[:1] == at[0]:
            at, rest = at[1:], rest[1:]
        else:
            raise _mismatch(layout, text, prefix, rest)
    return rest


def _mismatch(layout: str, text: str, element: str, rest: str) -> FunctionError:
    shown = f"cannot parse {quote(rest)} as {quote(element)}"
    return FunctionError(f"parsing time {quote(text)} as {quote(layout)}: {shown}")


def _read(element: str, rest: str, found: _Found, *, fraction_follows: bool) -> tuple[_Found, str]:
    """What one element of the layout finds, and what stands behind it. Raises _Bad."""
    parts = found.parts
    if element in _NAMES:
        names = _NAMES[element]
        index = next((index for index, name in enumerate(names) if rest[: len(name)].lower() == name.lower()), -1)
        if index < 0:
            raise _Bad
        if len(names) == len(MONTHS):
            parts["month"] = index + 1
        return found, rest[len(names[index]) :]
    if element in _NUMBERS:
        return found, _read_number(element, rest, parts, fraction_follows=fraction_follows)
    if element in ("2006", "06"):
        return found, _read_year(element, rest, parts)
    if element in ("PM", "pm"):
        half = rest[:2]
        if (half not in ((element[0] + "M"), "AM") and half not in ("pm", "am")) or half.isupper() != element.isupper():
            raise _Bad
        parts["half"] = 12 if half[0] in "Pp" else 0
        return found, rest[2:]
    if element[0] in ".,":
        return found, _read_fraction(element, rest, parts)
    return _read_zone(element, rest, found)


def _read_number(element: str, rest: str, parts: dict[str, int], *, fraction_follows: bool) -> str:
    name, least, most = _NUMBERS[element]
    if element[0] == "_":
        rest = re.sub(rf"\A {{0,{most - 1}}}", "", rest)
    digits = re.match(rf"[0-9]{{{least},{most}}}", rest)
    if digits is None:
        raise _Bad
    parts[name.removesuffix("12")] = number = int(digits[0])
    low, high = _LIMITS.get(name, (0, 999))
    if not low <= number <= high:
        raise _Bad(name.removesuffix("12"))
    rest = rest[digits.end() :]
    fraction = re.match(r"[.,][0-9]+", rest) if name == "second" and not fraction_follows else None
    if fraction:
        parts["nanosecond"] = _nanoseconds(fraction[0])
        rest = rest[fraction.end() :]
    return rest


def _read_year(element: str, rest: str, parts: dict[str, int]) -> str:
    digits = re.match(r"[0-9]{4}" if element == "2006" else r"[0-9]{2}|[+-][0-9]", rest)
    if digits is None:
        raise _Bad
    year = int(digits[0])
    if element == "06":
        year += 1900 if year >= 69 else 2000
    parts["year"] = year
    return rest[digits.end() :]


def _read_fraction(element: str, rest: str, parts: dict[str, int]) -> str:
    if element[1] == "0":
        digits = re.match(rf"[.,][0-9]{{{len(element) - 1}}}", rest)
        if digits is None:
            raise _Bad
    else:
        digits = re.match(r"[.,][0-9]+", rest)
        if digits is None:
            return rest
    parts["nanosecond"] = _nanoseconds(digits[0])
    return rest[digits.end() :]


def _nanoseconds(fraction: str) -> int:
    return int(fraction[1:10].ljust(9, "0"))


def _read_zone(element: str, rest: str, found: _Found) -> tuple[_Found, str]:
    if element == "MST":
        if rest.startswith("UTC"):
            return found._replace(zone=UTC), rest[3:]
        name = _ZONE_NAME.match(rest)
        if name is None:
            raise _Bad
        return found._replace(zone_name=name[0]), rest[name.end() :]
    if element[0] == "Z" and rest.startswith("Z"):
        return found._replace(zone=UTC), rest[1:]
    offset = re.match(_OFFSETS[element[1:]], rest)
    if offset is None:
        raise _Bad
    sign, *digits = offset.groups()
    hours, minutes, seconds = (int(part or 0) for part in digits)
    for number, most, name_of_part in ((hours, 24, "hour"), (minutes, 60, "minute"), (seconds, 60, "second")):
        if number > most:
            raise _Bad(f"time zone offset {name_of_part}")
    found.parts["offset"] = (hours * 3600 + minutes * 60 + seconds) * (-1 if sign == "-" else 1)
    return found, rest[offset.end() :]


def _moment(text: str, found: _Found, local: Zone) -> Time:
    parts = found.parts
    year, hour = parts.get("year", 0), parts.get("hour", 0)
    if "half" in parts:
        hour = hour + 12 if parts["half"] and hour < 12 else 0 if not parts["half"] and hour == 12 else hour
    month, day = _date(text, year, parts)
    days = days_of(year, month, day)
    local_s = days * 86400 + hour * 3600 + parts.get("minute", 0) * 60 + parts.get("second", 0)
    nanosecond = parts.get("nanosecond", 0)
    if found.zone is not None:
        return Time(local_s, nanosecond, found.zone)
    if "offset" in parts:
        offset_s = parts["offset"]
        name, local_offset_s = local.at(local_s - offset_s)
        same = local_offset_s == offset_s and found.zone_name in ("", name)
        return Time(local_s - offset_s, nanosecond, local if same else Zone(found.zone_name, offset_s))
    if found.zone_name:
        name, offset_s = local.at(local_s)
        if name == found.zone_name:
            return Time(local_s - offset_s, nanosecond, local)
        offset_s = int(found.zone_name[3:]) * 3600 if re.match("GMT.", found.zone_name) else 0
        return Time(local_s, nanosecond, Zone(found.zone_name, offset_s))  # Go does not take the offset off either
    return in_zone(local_s, nanosecond, local)


def _date(text: str, year: int, parts: dict[str, int]) -> tuple[int, int]:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if "yearday" not in parts:
        month, day = parts.get("month", 1), parts.get("day", 1)
        if not 1 <= day <= _DAYS[month - 1] + (month == 2 and leap):
            raise FunctionError(f"parsing time {quote(text)}: day out of range")
        return month, day
    yearday = parts["yearday"]
    if not 1 <= yearday <= 365 + leap:
        raise FunctionError(f"parsing time {quote(text)}: day-of-year out of range")
    month, day = 1, yearday
    while day > _DAYS[month - 1] + (month == 2 and leap):
        day -= _DAYS[month - 1] + (month == 2 and leap)
        month += 1
    for name, number in (("month", month), ("day", day)):
        if parts.get(name, number) != number:
            raise FunctionError(f"parsing time {quote(text)}: day-of-year does not match {name}")
    return month, day


def quote(text: str) -> str:
    """The text in double quotes, every byte that is not printable ASCII escaped."""
    quoted = []
    for character in text:
        if " " <= character < "\x7f":
            quoted.append(f"\\{character}" if character in '"\\' else character)
        else:
            quoted.extend(f"\\x{byte:02x}" for byte in raw(character))
    return f'"{"".join(quoted)}"'
