"""How Go's `fmt` prints values: `%v` and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from .formats import Format
from .functions import MAX_TEXT_BYTES
from .printer import Printer
from .values import Value, joined


def print_values(arguments: Sequence[Value]) -> str:
    """As `fmt.Sprint`: blanks between two that are both no strings. Raises FunctionError where it grows too long or deep."""
    printer = Printer()
    after_string = True
    for argument in arguments:
        is_string = isinstance(argument, str)
        if not is_string and not after_string:
            printer.add(" ")
        printer.print_argument(argument, "v")
        after_string = is_string
    return printer.result()


def print_line(arguments: Sequence[Value]) -> str:
    """As `fmt.Sprintln`. Raises FunctionError."""
    printer = Printer()
    for index, argument in enumerate(arguments):
        if index:
            printer.add(" ")
        printer.print_argument(argument, "v")
    return printer.result() + "\n"


def print_value(value: Value) -> str:
    """The value as `%v` prints it. Raises FunctionError."""
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    printer = Printer()
    printer.print_argument(value, "v")
    return printer.result()


def print_format(form: str, arguments: Sequence[Value]) -> str:
    """As `fmt.Sprintf`, its marks of mistakes included. Raises FunctionError where it grows too long or deep."""
    parts = form.split("%s")
    if len(parts) == len(arguments) + 1 and "%" not in "".join(parts) and all(type(value) is str for value in arguments):
        # What nearly every format is.
        size = len(form) + sum(map(len, arguments))
        if size <= MAX_TEXT_BYTES:
            return joined("".join(chain.from_iterable(zip(parts, (*arguments, ""), strict=True))))
    return Format(form, arguments).result()
