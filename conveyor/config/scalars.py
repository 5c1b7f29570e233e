"""What a plain scalar means in untyped places: YAML 1.1 as real files use it.

Booleans with y, n, on, off; integers with 0x, 0o, 0b, leading zero and `_`; floats; null. No base 60, no dates.
"""

from __future__ import annotations

import re
from typing import Literal

from conveyor.config.nodes import Node

_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"})
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)

ScalarType = Literal["text", "boolean", "integer", "float", "null"]


def scalar_type(node: Node) -> ScalarType:
    """What a scalar is where nothing says what it should be."""
    text = node.text
    if not node.plain:
        return "text"
    if node.is_null:
        return "null"
    if text in _TRUE or text in _FALSE:
        return "boolean"
    if text[0] not in "+-.0123456789":
        return "text"
    if _INTEGER.fullmatch(text):
        return "integer"
    return "float" if _FLOAT.fullmatch(text) else "text"


def boolean(node: Node) -> bool | None:
    """True or false; None where it is neither."""
    if not node.plain:
        return None
    return True if node.text in _TRUE else False if node.text in _FALSE else None


def integer(node: Node) -> int | None:
    """The whole number that a scalar means (`1.0` is one, too); None where it means none."""
    kind = scalar_type(node)
    text = node.text.replace("_", "")
    try:
        if kind == "integer":
            digits = text.lstrip("+-")
            value = int(digits, 8) if re.fullmatch("0[0-7]+", digits) else int(digits, 0)
            return -value if text.startswith("-") else value
        if kind == "float":
            number = float(text)
            return int(number) if number.is_integer() else None
    except ValueError:  # `.inf`, `0x_`, thousands of digits
        return None
    return None
