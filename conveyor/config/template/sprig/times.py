"""Go's `time.Time`: seconds since 1970 in a zone, and the text of it in a layout such as `2006-01-02 15:04`."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from conveyor.config.template.functions import Function, FunctionError, declare
from conveyor.config.template.json_text import Marshaled, Unsupported
from conveyor.config.template.values import Int64, Object, Value

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
ELEMENT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|0[1-6]|002|15|1|2006|2|_2(?!006)|__2|3|4|5|PM|pm"
    r"|[-Z]070000|[-Z]07:00:00|[-Z]0700|[-Z]07:00|[-Z]07|[.,]0+(?![0-9])|[.,]9+(?![0-9])"
)
RFC3339_NANO = "2006-01-02T15:04:05.999999999Z07:00"
ZERO_S = -62135596800  # the year 1, where Go's zero time stands
DAY_S = 24 * 3600
_PRINTED = "2006-01-02 15:04:05.999999999 -0700 MST"
_CYCLE_S = 146097 * DAY_S
_YEARS_OF_PYTHON = (-62135596800 + DAY_S, 253402300800 - DAY_S)


class Date(NamedTuple):
    """A moment on the calendar and the clock of a zone."""

    year: int
    month: int
    day: int
    yearday: int
    weekday: int
    hour: int
    minute: int
    second: int


class Zone:
    """Where a moment is looked at from: an offset with a name, the zone of the machine, or one of the time zone database."""

    __slots__ = ("_database", "_name", "_offset_s")

    def __init__(self, name: str, offset_s: int | None, database: ZoneInfo | None = None) -> None:
        self._name = name
        self._offset_s = offset_s
        self._database = database

    def at(self, unix_s: int) -> tuple[str, int]:
        """The zone's name and offset in seconds at that moment."""
        if self._offset_s is not None:
            return self._name, self._offset_s
        first, last = _YEARS_OF_PYTHON
        if unix_s > last:  # the rules of all zones come round every 400 years
            unix_s -= -(-(unix_s - last) // _CYCLE_S) * _CYCLE_S
        unix_s = max(unix_s, first)
        if self._database is None:
            local = time.localtime(unix_s)
            return local.tm_zone, local.tm_gmtoff
        from datetime import datetime

        moment = datetime.fromtimestamp(unix_s, self._database)
        offset = moment.utcoffset()
        return moment.tzname() or "", round(offset.total_seconds()) if offset is not None else 0


UTC = Zone("UTC", 0)
MACHINE = Zone("Local", None)


def zone_of(name: str) -> Zone:
    """The zone of that name in the time zone database; UTC where there is none. Raises FunctionError without a database."""
    if name in ("", "UTC"):
        return UTC
    import zoneinfo

    try:
        return Zone(name, None, zoneinfo.ZoneInfo(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if not zoneinfo.available_timezones():
            raise FunctionError(f"zone {name}: this machine has no time zone database; install tzdata") from None
        return UTC


class Time(Marshaled):
    """`time.Time`."""

    __slots__ = ("nanosecond", "unix_s", "zone")
    go_type = "time.Time"
    plain_in_yaml = True

    def __init__(self, unix_s: int, nanosecond: int = 0, zone: Zone = UTC) -> None:
        self.unix_s = unix_s
        self.nanosecond = nanosecond
        self.zone = zone

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Time) and other._moment() == self._moment() and other.zone is self.zone

    def __hash__(self) -> int:
        return hash(self._moment())

    def date(self) -> Date:
        """The moment in its zone."""
        days, seconds = divmod(self.unix_s + self.zone.at(self.unix_s)[1], DAY_S)
        year, month, day = civil(days)
        yearday = days - days_of(year, 1, 1) + 1
        return Date(year, month, day, yearday, (days + 4) % 7, seconds // 3600, seconds // 60 % 60, seconds % 60)

    def text(self) -> str:
        """The moment to the nanosecond, with offset and name of its zone."""
        return self.format(_PRINTED)

    def marshal_text(self) -> str:
        """RFC 3339. Raises Unsupported beyond the year 9999."""
        if not 0 <= self.date().year <= 9999:
            raise Unsupported(
                "json: error calling MarshalJSON for type time.Time: Time.MarshalJSON: year outside of range [0,9999]"
            )
        return self.format(RFC3339_NANO)

    def format(self, layout: str) -> str:
        """The moment, written as the layout writes the second of January 2006, 15:04:05."""
        return ELEMENT.sub(partial(_written, self, self.date()), layout)

    def added(self, nanoseconds: int) -> Time:
        """That much later."""
        seconds, nanosecond = divmod(self.nanosecond + nanoseconds, 10**9)
        return Time(self.unix_s + seconds, nanosecond, self.zone)

    def methods(self) -> Mapping[str, Function]:
        """What a template may ask a moment."""
        date = self.date
        return dict(
            (
                declare("String", "", self.text),
                declare("Format", "string", self.format),
                declare("UTC", "", lambda: Time(self.unix_s, self.nanosecond)),
                declare("Unix", "", lambda: Int64(self.unix_s)),
                declare("UnixMilli", "", lambda: Int64(self.unix_s * 10**3 + self.nanosecond // 10**6)),
                declare("UnixMicro", "", lambda: Int64(self.unix_s * 10**6 + self.nanosecond // 10**3)),
                declare("UnixNano", "", lambda: Int64(self.unix_s * 10**9 + self.nanosecond)),
                declare("Year", "", lambda: date().year),
                declare("Month", "", lambda: Named("time.Month", MONTHS[date().month - 1])),
                declare("Day", "", lambda: date().day),
                declare("YearDay", "", lambda: date().yearday),
                declare("Weekday", "", lambda: Named("time.Weekday", WEEKDAYS[date().weekday])),
                declare("Hour", "", lambda: date().hour),
                declare("Minute", "", lambda: date().minute),
                declare("Second", "", lambda: date().second),
                declare("Nanosecond", "", lambda: self.nanosecond),
                declare("IsZero", "", lambda: (self.unix_s, self.nanosecond) == (ZERO_S, 0)),
                declare("Before", "time.Time", lambda other: self._moment() < other._moment()),
                declare("After", "time.Time", lambda other: self._moment() > other._moment()),
                declare("Equal", "time.Time", lambda other: self._moment() == other._moment()),
                declare("AddDate", "int int int", self._add_date),
            )
        )

    def _moment(self) -> tuple[int, int]:
        return self.unix_s, self.nanosecond

    def _add_date(self, years: int, months: int, days: int) -> Value:
        date = self.date()
        clock = date.hour * 3600 + date.minute * 60 + date.second
        local = days_of(date.year + years, date.month + months, date.day + days) * DAY_S + clock
        return in_zone(local, self.nanosecond, self.zone)


class Named(Object):
    """A month or a day of the week: a number of Go that is printed as its name."""

    __slots__ = ("_name", "go_type")
    kind = "int"

    def __init__(self, go_type: str, name: str) -> None:
        self.go_type = go_type
        self._name = name

    def text(self) -> str:
        """The name."""
        return self._name


def in_zone(local_s: int, nanosecond: int, zone: Zone) -> Time:
    """The moment at which the clock of a zone shows so many seconds since 1970."""
    unix_s = local_s - zone.at(local_s)[1]
    offset_s = zone.at(unix_s)[1]
    return Time(local_s - offset_s, nanosecond, zone)


def civil(days: int) -> tuple[int, int, int]:
    """Year, month and day of so many days since 1970, on the Gregorian calendar of all times."""
    days += 719468
    era, day_of_era = divmod(days, 146097)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * day_of_year + 2) // 153
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    return year_of_era + 400 * era + (month <= 2), month, day_of_year - (153 * month_from_march + 2) // 5 + 1


def days_of(year: int, month: int, day: int) -> int:
    """Days since 1970 of a date; months and days beyond their ends go on into what follows."""
    years, month = divmod(month - 1, 12)
    year += years
    from_march = year - (month < 2)
    era, year_of_era = divmod(from_march, 400)
    day_of_year = (153 * ((month + 10) % 12) + 2) // 5 + day - 1
    return era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468


def _written(moment: Time, date: Date, element: re.Match[str]) -> str:
    layout = element[0]
    if layout[0] in "-Z" or layout == "MST":
        return _zone_text(layout, *moment.zone.at(moment.unix_s))
    if layout[0] in ".,":
        return _fraction(layout, moment.nanosecond)
    hour12 = date.hour % 12 or 12
    return _ELEMENTS[layout].format(
        date,
        year2=abs(date.year) % 100,
        sign="-" if date.year < 0 else "",
        year=abs(date.year),
        hour12=hour12,
        month=MONTHS[date.month - 1],
        weekday=WEEKDAYS[date.weekday],
        half="PM" if date.hour >= 12 else "AM",
        small="pm" if date.hour >= 12 else "am",
    )


_ELEMENTS = {
    "January": "{month}", "Jan": "{month:.3}", "1": "{0.month}", "01": "{0.month:02}",
    "Monday": "{weekday}", "Mon": "{weekday:.3}",
    "2": "{0.day}", "_2": "{0.day:2}", "02": "{0.day:02}", "__2": "{0.yearday:3}", "002": "{0.yearday:03}",
    "15": "{0.hour:02}", "3": "{hour12}", "03": "{hour12:02}",
    "4": "{0.minute}", "04": "{0.minute:02}", "5": "{0.second}", "05": "{0.second:02}",
    "2006": "{sign}{year:04}", "06": "{year2:02}", "PM": "{half}", "pm": "{small}",
}  # fmt: skip


def _zone_text(layout: str, name: str, offset_s: int) -> str:
    if layout == "MST":
        if name:
            return name
        layout = "-0700"
    if layout[0] == "Z" and offset_s == 0:
        return "Z"
    minutes = int(offset_s / 60)
    sign, hours, minutes = "-" if minutes < 0 else "+", abs(minutes) // 60, abs(minutes) % 60
    colon = ":" if ":" in layout else ""
    text = f"{sign}{hours:02}"
    if len(layout) > 3:
        text += f"{colon}{minutes:02}"
    if len(layout) > 6:
        text += f"{colon}{(abs(offset_s) if minutes or hours else offset_s) % 60:02}"
    return text


def _fraction(layout: str, nanosecond: int) -> str:
    digits = f"{nanosecond:09}"[: len(layout) - 1]
    if layout[1] == "9":
        digits = digits.rstrip("0")
        return layout[0] + digits if digits else ""
    return layout[0] + digits
