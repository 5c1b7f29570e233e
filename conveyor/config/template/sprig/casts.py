"""How sprig's functions take any value for the number or text that they want."""

from __future__ import annotations

import re

from conveyor.config.template.number_text import parse_float, parse_int, truncate_to_int64
from conveyor.config.template.values import Object, Value, is_true, wrapped

_ZERO_DECIMALS = re.compile(r"\.0+\Z")


def to_int(value: Value) -> int:
    """The 64-bit integer that a value means; 0 where it means none. Texts are read as Go's literals (`0x1F`, `1_000`)."""
    if isinstance(value, int):
        return wrapped(int(value))
    if isinstance(value, float):
        return truncate_to_int64(value)
    if isinstance(value, str):
        return parse_int(_ZERO_DECIMALS.sub("", value)) or 0
    return 0


def to_float(value: Value) -> float:
    """The float that a value means; 0 where it means none."""
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str):
        number = parse_float(value)
        return 0.0 if number is None else number
    return 0.0


def to_text(value: Value) -> str:
    """The text of a value: a string is itself, anything else as `print` shows it."""
    if isinstance(value, str):
        return value
    if isinstance(value, Object):
        text = value.text()
        if text is not None:
            return text
    from conveyor.config.template.printing import print_value

    return print_value(value)


def to_texts(value: Value) -> list[str]:
    """The texts of a list's values, nil left out; a value that is no list is a list of one."""
    if isinstance(value, list):
        return [to_text(item) for item in value if item is not None]
    return [] if value is None else [to_text(value)]


def is_empty(value: Value) -> bool:
    """Whether sprig calls it empty: nil, false, zero, and texts, lists and maps that hold nothing."""
    return not is_true(value)
