"""Functions of sprig over numbers: integers of 64 bits that overflow silently, floats by way of exact decimals."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

from conveyor.config.template.functions import FunctionError, check_elements, declare
from conveyor.config.template.number_text import parse_int
from conveyor.config.template.sprig.casts import to_float, to_int, to_text
from conveyor.config.template.values import Int64, TypedList, Value

if TYPE_CHECKING:
    from fractions import Fraction

    Operation = Callable[[Fraction, Fraction], Fraction]

_DIVISION_DIGITS = 16


def add(*numbers: Value) -> Int64:
    """The sum."""
    return Int64(sum(map(to_int, numbers)))


def add1(number: Value) -> Int64:
    """One more."""
    return Int64(to_int(number) + 1)


def sub(one: Value, other: Value) -> Int64:
    """The difference."""
    return Int64(to_int(one) - to_int(other))


def mul(number: Value, *factors: Value) -> Int64:
    """The product."""
    product = Int64(to_int(number))
    for factor in factors:
        product = Int64(product * to_int(factor))
    return product


def div(one: Value, other: Value) -> Int64:
    """The quotient, cut towards zero."""
    return Int64(_quotient(to_int(one), to_int(other)))


def mod(one: Value, other: Value) -> Int64:
    """The remainder, with the sign of the dividend."""
    dividend, divisor = to_int(one), to_int(other)
    return Int64(dividend - divisor * _quotient(dividend, divisor))


def maximum(number: Value, *others: Value) -> Int64:
    """The largest integer."""
    return Int64(max(map(to_int, (number, *others))))


def minimum(number: Value, *others: Value) -> Int64:
    """The least integer."""
    return Int64(min(map(to_int, (number, *others))))


def maxf(number: Value, *others: Value) -> float:
    """The largest float; NaN where one is, unless infinity is among them."""
    result = to_float(number)
    for other in map(to_float, others):
        result = -_least(-result, -other)
    return result


def minf(number: Value, *others: Value) -> float:
    """The least float; NaN where one is, unless minus infinity is among them."""
    result = to_float(number)
    for other in map(to_float, others):
        result = _least(result, other)
    return result


def addf(*numbers: Value) -> float:
    """The sum of floats, taken as the decimals that they are printed as."""
    return _by_decimals(0, numbers, operator.add)


def add1f(number: Value) -> float:
    """One more, as `addf`."""
    return _by_decimals(number, (1,), operator.add)


def subf(number: Value, *others: Value) -> float:
    """The difference, as `addf`."""
    return _by_decimals(number, others, operator.sub)


def mulf(number: Value, *factors: Value) -> float:
    """The product, as `addf`."""
    return _by_decimals(number, factors, operator.mul)


def divf(number: Value, *divisors: Value) -> float:
    """The quotient, as `addf`, of 16 digits behind the point."""
    return _by_decimals(number, divisors, _divide)


def floor(number: Value) -> float:
    """The next whole number below."""
    return _whole(math.floor, to_float(number))


def ceil(number: Value) -> float:
    """The next whole number above."""
    return _whole(math.ceil, to_float(number))


def round_float(number: Value, places: int, *threshold: float) -> float:
    """Of so many digits behind the point; up from `threshold` (0.5) of the last digit on."""
    try:
        power = math.pow(10.0, places)
    except OverflowError:
        power = math.inf
    scaled = power * to_float(number)
    fraction = math.nan if math.isinf(scaled) else math.modf(scaled)[0]
    whole = _whole(math.ceil if fraction >= (threshold[0] if threshold else 0.5) else math.floor, scaled)
    if power == 0:
        return math.nan if whole == 0 or math.isnan(whole) else math.copysign(math.inf, whole)
    return whole / power


def until(count: int) -> TypedList:
    """The integers from 0 to before `count`."""
    return until_step(0, count, -1 if count < 0 else 1)


def until_step(start: int, stop: int, step: int) -> TypedList:
    """The integers from `start` to before `stop`, `step` apart; none where the step leads away."""
    if (stop < start) != (step < 0) or step == 0:
        return TypedList((), "int")
    numbers = range(start, stop, step)
    check_elements(1 + (abs(stop - start) - 1) // abs(step) if start != stop else 0)
    return TypedList(numbers, "int")


def seq(*bounds: int) -> str:
    """Integers as in the shell: `LAST`, `FIRST LAST` or `FIRST STEP LAST`."""
    if len(bounds) not in (1, 2, 3):
        return ""
    first = bounds[0] if len(bounds) > 1 else 1
    last = bounds[-1]
    towards = -1 if last < first else 1
    step = bounds[1] if len(bounds) == 3 else towards
    if last < first and step > 0:
        return ""
    return " ".join(map(str, until_step(first, last + towards, step)))


def to_decimal(number: Value) -> Int64:
    """The integer that octal digits mean; 0 where they are none."""
    return Int64(parse_int("<nil>" if number is None else to_text(number), 8) or 0)


def atoi(text: str) -> int:
    """The integer that decimal digits mean; 0 where they are none, the nearest one where they mean too much."""
    return parse_int(text, 10, saturate=True) or 0


def to_int64(number: Value) -> Int64:
    """As `int64`."""
    return Int64(to_int(number))


def _quotient(dividend: int, divisor: int) -> int:
    if divisor == 0:
        raise FunctionError("runtime error: integer divide by zero")
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def _least(one: float, other: float) -> float:
    if -math.inf in (one, other):
        return -math.inf
    if math.isnan(one) or math.isnan(other):
        return math.nan
    if one == other == 0:
        return one if math.copysign(1, one) < 0 else other
    return min(one, other)


def _whole(rounding: Callable[[float], int], number: float) -> float:
    if math.isnan(number) or math.isinf(number):
        return number
    return math.copysign(float(rounding(number)), number)


def _by_decimals(number: Value, others: tuple[Value, ...], operation: Operation) -> float:
    result = _decimal(to_float(number))
    for other in others:
        result = operation(result, _decimal(to_float(other)))
    try:
        return result.numerator / result.denominator
    except OverflowError:
        return math.inf if result > 0 else -math.inf


def _decimal(number: float) -> Fraction:
    if math.isnan(number) or math.isinf(number):
        name = "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
        raise FunctionError(f"Cannot create a Decimal from {name}")
    from fractions import Fraction

    return Fraction(repr(number))


def _divide(dividend: Fraction, divisor: Fraction) -> Fraction:
    from fractions import Fraction

    if divisor == 0:
        raise FunctionError("decimal division by 0")
    scaled = dividend / divisor * 10**_DIVISION_DIGITS
    nearest = math.floor(abs(scaled) + Fraction(1, 2))
    return Fraction(nearest if scaled > 0 else -nearest, 10**_DIVISION_DIGITS)


FUNCTIONS = dict(
    (
        declare("add", "any...", add, each=10),
        declare("add1", "any", add1),
        declare("sub", "any any", sub),
        declare("mul", "any any...", mul, each=10),
        declare("div", "any any", div),
        declare("mod", "any any", mod),
        declare("max", "any any...", maximum, each=10),
        declare("biggest", "any any...", maximum, each=10),
        declare("min", "any any...", minimum, each=10),
        declare("maxf", "any any...", maxf, each=10),
        declare("minf", "any any...", minf, each=10),
        declare("addf", "any...", addf, walks=2, each=20),
        declare("add1f", "any", add1f, walks=2, each=20),
        declare("subf", "any any...", subf, walks=2, each=20),
        declare("mulf", "any any...", mulf, walks=2, each=20),
        declare("divf", "any any...", divf, walks=2, each=20),
        declare("floor", "any", floor, each=20),
        declare("ceil", "any", ceil, each=20),
        declare("round", "any int float64...", round_float, each=10),
        declare("until", "int", until),
        declare("untilStep", "int int int", until_step),
        declare("seq", "int...", seq, each=10),
        declare("toDecimal", "any", to_decimal, each=20, prints=True),
        declare("atoi", "string", atoi),
        declare("int", "any", to_int),
        declare("int64", "any", to_int64),
        declare("float64", "any", to_float, each=20),
    )
)
