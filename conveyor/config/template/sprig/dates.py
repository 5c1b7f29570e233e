"""Functions of sprig over moments and durations.

What depends on the time of the run is refused unless giterminism is loose. The local zone is UTC then, and the machine's
where giterminism is loose: a commit means the same everywhere.
"""

from __future__ import annotations

import time

from conveyor.config.template.functions import FunctionError, Runtime, declare, refuse_unrepeatable
from conveyor.config.template.number_text import parse_int
from conveyor.config.template.sprig.durations import format_duration, parse_duration, round_duration
from conveyor.config.template.sprig.time_parsing import parse_time
from conveyor.config.template.sprig.times import MACHINE, UTC, ZERO_S, Time, Zone, zone_of
from conveyor.config.template.values import Int32, Int64, Value

_HTML = "2006-01-02"
_SECOND_NS = 10**9


def now(runtime: Runtime) -> Time:
    """The moment of the run."""
    return _now(runtime, "now", "is the time of the build")


def date(runtime: Runtime, layout: str, moment: Value) -> str:
    """A moment in the local zone."""
    return _moment(runtime, "date", moment, _local(runtime)).format(layout)


def date_in_zone(runtime: Runtime, layout: str, moment: Value, zone: str) -> str:
    """A moment in a zone by its name; UTC where there is no such zone."""
    return _moment(runtime, "dateInZone", moment, _local(runtime) if zone == "Local" else zone_of(zone)).format(layout)


def html_date(runtime: Runtime, moment: Value) -> str:
    """A moment as the date that HTML wants, in the local zone."""
    return _moment(runtime, "htmlDate", moment, _local(runtime)).format(_HTML)


def html_date_in_zone(runtime: Runtime, moment: Value, zone: str) -> str:
    """A moment as the date that HTML wants, in a zone by its name."""
    return date_in_zone(runtime, _HTML, moment, zone)


def date_modify(duration: str, moment: Time) -> Time:
    """A moment moved by a duration; as it is where that is none."""
    try:
        return moment.added(parse_duration(duration))
    except FunctionError:
        return moment


def must_date_modify(duration: str, moment: Time) -> Time:
    """A moment moved by a duration."""
    return moment.added(parse_duration(duration))


def to_date(runtime: Runtime, layout: str, text: str) -> Time:
    """The moment that a text means; Go's zero time where it means none."""
    try:
        return parse_time(layout, text, _local(runtime))
    except FunctionError:
        return Time(ZERO_S)


def must_to_date(runtime: Runtime, layout: str, text: str) -> Time:
    """The moment that a text means."""
    return parse_time(layout, text, _local(runtime))


def unix_epoch(moment: Time) -> str:
    """Seconds since 1970."""
    return str(moment.unix_s)


def ago(runtime: Runtime, moment: Value) -> str:
    """How long ago it was, to the second."""
    since = _now(runtime, "ago", "is the time that has passed until the build")
    then = _moment(runtime, "ago", moment, UTC)
    elapsed = (since.unix_s - then.unix_s) * _SECOND_NS + since.nanosecond - then.nanosecond
    seconds = (abs(elapsed) + _SECOND_NS // 2) // _SECOND_NS
    return format_duration((seconds if elapsed >= 0 else -seconds) * _SECOND_NS)


def duration(seconds: Value) -> str:
    """Seconds, an `int64` or the digits of a text, as a duration."""
    count = 0
    if isinstance(seconds, str):
        count = parse_int(seconds, 10, saturate=True) or 0
    elif type(seconds) is Int64:
        count = int(seconds)
    return format_duration(count * _SECOND_NS)


def duration_round(runtime: Runtime, length: Value) -> str:
    """A duration by the largest unit that it holds: nanoseconds, a text, or the time since a moment."""
    nanoseconds = 0
    if isinstance(length, str):
        try:
            nanoseconds = parse_duration(length)
        except FunctionError:
            nanoseconds = 0
    elif type(length) is Int64:
        nanoseconds = int(length)
    elif isinstance(length, Time):
        since = _now(runtime, "durationRound of a time", "is the time that has passed until the build")
        nanoseconds = (since.unix_s - length.unix_s) * _SECOND_NS + since.nanosecond - length.nanosecond
    return round_duration(nanoseconds)


def _local(runtime: Runtime) -> Zone:
    return MACHINE if runtime.loose else UTC


def _now(runtime: Runtime, name: str, why: str) -> Time:
    refuse_unrepeatable(runtime, name, why)
    unix_s, nanosecond = divmod(time.time_ns(), _SECOND_NS)
    return Time(unix_s, nanosecond, MACHINE)


def _moment(runtime: Runtime, name: str, value: Value, zone: Zone) -> Time:
    """The moment of a time or of seconds since 1970; anything else is the moment of the run."""
    if isinstance(value, Time):
        return Time(value.unix_s, value.nanosecond, zone)
    if type(value) in (int, Int32, Int64):
        return Time(int(value), 0, zone)
    moment = _now(runtime, f"{name} of what is no time", "is the time of the build")
    return Time(moment.unix_s, moment.nanosecond, zone)


FUNCTIONS = dict(
    (
        declare("now", "", now, runtime=True),
        declare("date", "string any", date, runtime=True, walks=20),
        declare("dateInZone", "string any string", date_in_zone, runtime=True, walks=20),
        declare("date_in_zone", "string any string", date_in_zone, runtime=True, walks=20),
        declare("htmlDate", "any", html_date, runtime=True, each=20),
        declare("htmlDateInZone", "any string", html_date_in_zone, runtime=True, each=20),
        declare("dateModify", "string time.Time", date_modify, walks=15),
        declare("date_modify", "string time.Time", date_modify, walks=15),
        declare("mustDateModify", "string time.Time", must_date_modify, walks=15),
        declare("must_date_modify", "string time.Time", must_date_modify, walks=15),
        declare("toDate", "string string", to_date, runtime=True, walks=5),
        declare("mustToDate", "string string", must_to_date, runtime=True, walks=5),
        declare("unixEpoch", "time.Time", unix_epoch),
        declare("ago", "any", ago, runtime=True, each=20),
        declare("duration", "any", duration, walks=15),
        declare("durationRound", "any", duration_round, runtime=True, walks=15),
    )
)
