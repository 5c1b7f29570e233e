"""What a parameter takes: Go's checks of arguments, with its messages. The kinds are those of `functions`."""

from __future__ import annotations

from typing import Final

from .functions import GO_TYPES
from .nodes import Literal, Overflow
from .values import MISSING, Int32, Int64, Uint8, Uint32, Uint64, Value, go_type

EXACT: Final[dict[str, type]] = {
    "string": str,
    "int": int,
    "bool": bool,
    "float64": float,
    "dict": dict,
    "list": list,
    "int64": Int64,
}
_WHOLE: Final[dict[str, type[int]]] = {
    "int": int,
    "int64": Int64,
    "int32": Int32,
    "uint8": Uint8,
    "uint32": Uint32,
    "uint64": Uint64,
}


class ArgumentError(Exception):
    """A value is not what a parameter takes."""


def constant(literal: Literal) -> Value:
    """The value of a literal where nothing says what it should be. Raises ArgumentError."""
    if type(literal.value) is Overflow:
        raise ArgumentError(f"{literal.text} overflows int")
    return literal.value


def literal_argument(node: Literal, kind: str) -> Value:
    """The value of a literal for a parameter: numbers take its type. Raises ArgumentError."""
    if kind == "any" or kind == "value":
        return constant(node)
    value = node.value
    if kind == "string":
        if type(value) is str:
            return value
        raise ArgumentError(f"expected string; found {node}")
    if kind == "bool":
        if type(value) is bool:
            return value
        raise ArgumentError(f"expected bool; found {node}")
    if kind in _WHOLE:
        if node.whole is not None:
            return _WHOLE[kind](node.whole)
        raise ArgumentError(f"expected {'unsigned ' if kind.startswith('u') else ''}integer; found {node}")
    if kind == "float64":
        if node.real is not None:
            return node.real
        raise ArgumentError(f"expected float; found {node}")
    raise ArgumentError(f"can't handle {node} for arg of type {GO_TYPES.get(kind, kind)}")


def checked_argument(value: Value, kind: str) -> Value:
    """A value, where a parameter of that kind takes it. Raises ArgumentError."""
    if kind == "any":
        return None if value is MISSING else value
    if kind == "value" or type(value) is EXACT.get(kind):
        return value
    wanted = GO_TYPES.get(kind, kind)
    if value is MISSING:
        if can_be_nil(kind):
            return None
        raise ArgumentError(f"invalid value; expected {wanted}")
    if value is None:
        raise ArgumentError(f"wrong type for value; expected {wanted}; got interface {{}}")
    if go_type(value) != wanted:
        raise ArgumentError(f"wrong type for value; expected {wanted}; got {go_type(value)}")
    return value


def can_be_nil(kind: str) -> bool:
    """Whether a parameter of that kind takes nil."""
    return kind in ("any", "value", "dict", "list", "strings") or kind.startswith(("*", "[]", "map["))
