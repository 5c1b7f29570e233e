"""Functions of sprig that choose between values, and those that look at their types."""

from __future__ import annotations

from conveyor.config.template.functions import declare, fail
from conveyor.config.template.sprig.casts import is_empty
from conveyor.config.template.values import Value, deep_equal, go_type, kind_of


def default(fallback: Value, *given: Value) -> Value:
    """What is given; `fallback` where that is empty."""
    return fallback if not given or is_empty(given[0]) else given[0]


def coalesce(*values: Value) -> Value:
    """The first value that is not empty; nil where all are."""
    return next((value for value in values if not is_empty(value)), None)


def all_given(*values: Value) -> bool:
    """Whether none is empty."""
    return not any(map(is_empty, values))


def any_given(*values: Value) -> bool:
    """Whether one is not empty."""
    return not all(map(is_empty, values))


def ternary(if_true: Value, if_false: Value, condition: bool) -> Value:
    """The first value where the condition holds, else the second."""
    return if_true if condition else if_false


def type_is(name: str, value: Value) -> bool:
    """Whether the value's Go type is called so."""
    return go_type(value) == name


def type_is_like(name: str, value: Value) -> bool:
    """Whether the value's Go type is called so, or is a pointer to it."""
    return go_type(value) in (name, "*" + name)


def kind_is(name: str, value: Value) -> bool:
    """Whether the kind of the value's type is called so."""
    return kind_of(value) == name


FUNCTIONS = dict(
    (
        declare("default", "any any...", default),
        declare("empty", "any", is_empty),
        declare("coalesce", "any...", coalesce),
        declare("all", "any...", all_given),
        declare("any", "any...", any_given),
        declare("ternary", "any any bool", ternary),
        declare("fail", "string", fail),
        declare("typeOf", "any", go_type),
        declare("typeIs", "string any", type_is),
        declare("typeIsLike", "string any", type_is_like),
        declare("kindOf", "any", kind_of),
        declare("kindIs", "string any", kind_is),
        declare("deepEqual", "any any", deep_equal, walks=4),
    )
)
