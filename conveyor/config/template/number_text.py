"""Numbers as Go writes and reads them: `strconv`'s FormatFloat, ParseFloat and ParseInt, in Python's floats and integers."""

from __future__ import annotations

import math
import re

INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
_UINT64 = 1 << 64
_MOST_DIGITS = 1100  # a float has no more of them; what is asked for beyond is zeros
_SHORTEST_G = 6  # the exponent from which `g` without a precision turns to exponents

_DECIMAL = re.compile(r"[+-]?(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?", re.ASCII)
_HEX_FLOAT = re.compile(r"[+-]?0[xX]_?[0-9a-fA-F_]*\.?[0-9a-fA-F_]*[pP][+-]?\d[\d_]*", re.ASCII)
_NAMED = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}
_DIGITS = {2: re.compile("[01]+"), 8: re.compile("[0-7]+"), 10: re.compile("[0-9]+"), 16: re.compile("[0-9a-fA-F]+")}
_PREFIXED = re.compile(r"0[xX]|0[bB]|0[oO]|0")
_SEPARATED = re.compile(r"[+-]?(?:0[xXbBoO]_?)?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*")


def format_float(value: float, verb: str = "g", precision: int = -1) -> str:
    """`value` by the verb `e`, `f` or `g`; the fewest digits that read back as that float where `precision` is negative."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    digits, point = _decimal_digits(abs(value), verb, precision)
    if verb == "e":
        return sign + _with_exponent(digits, point, len(digits) - 1 if precision < 0 else precision)
    if verb == "f":
        return sign + _without_exponent(digits, point, max(len(digits) - point, 0) if precision < 0 else precision)
    limit = _SHORTEST_G if precision < 0 else max(precision, 1)
    if limit > len(digits) >= point and precision >= 0:
        limit = len(digits)
    if not -4 <= point - 1 < limit and digits:
        return sign + _with_exponent(digits, point, len(digits) - 1)
    return sign + _without_exponent(digits, point, max(len(digits) - point, 0))


def parse_float(text: str) -> float | None:
    """The float that `text` means in Go; None where it means none or is out of range."""
    sign, name = text[:1], text.lstrip("+-").lower()
    if name in _NAMED and len(text) - len(name) <= 1:
        return -_NAMED[name] if sign == "-" else _NAMED[name]
    hexadecimal = _HEX_FLOAT.fullmatch(text)
    if not hexadecimal and not _DECIMAL.fullmatch(text):
        return None
    if "_" in text and not _underscores_separate(text):
        return None
    plain = text.replace("_", "")
    try:
        value = float.fromhex(plain) if hexadecimal else float(plain)
    except (ValueError, OverflowError):
        return None
    return None if math.isinf(value) else value


def parse_int(text: str, base: int = 0, *, unsigned: bool = False, saturate: bool = False) -> int | None:
    """The 64-bit integer that `text` means in Go; None where it means none or is out of range.

    Base 0 takes prefixes (`0x`, `0b`, `0o`, `0`) and underscores between digits; another base takes neither.
    `saturate`: what is out of range is the nearest integer.
    """
    digits = text if unsigned else text[1:] if text[:1] in ("+", "-") else text
    if base == 0:
        if "_" in digits and not _SEPARATED.fullmatch(digits):
            return None
        prefix = _PREFIXED.match(digits)
        base = 10
        if prefix and len(digits) > 1:
            base = {"x": 16, "b": 2}.get(prefix[0][1:].lower(), 8)
            digits = digits[prefix.end() :]
        digits = digits.replace("_", "")
    if not _DIGITS[base].fullmatch(digits):
        return None
    significant = digits.lstrip("0")
    value = int(significant or "0", base) if len(significant) <= 64 else _UINT64  # Python refuses thousands of digits
    low, high = (0, _UINT64 - 1) if unsigned else (INT64_MIN, INT64_MAX)
    value = -value if text.startswith("-") else value
    if not low <= value <= high:
        return min(max(value, low), high) if saturate else None
    return value


def wrap_int64(value: int) -> int:
    """What 64 bits keep of a result: Go's integers overflow silently."""
    return (value + (1 << 63)) % _UINT64 - (1 << 63)


def truncate_to_int64(value: float) -> int:
    """Go's conversion of a float on the machines that werf runs on: what does not fit is the least integer."""
    if math.isnan(value) or not -(2.0**63) <= value < 2.0**63:
        return INT64_MIN
    return int(value)


def _decimal_digits(value: float, verb: str, precision: int) -> tuple[str, int]:
    """Significant digits without zeros at either end, and where the point stands in them."""
    precision = min(precision, _MOST_DIGITS)
    if precision < 0:
        mantissa, _, exponent = repr(value).partition("e")
    elif verb == "f":
        mantissa, exponent = f"{value:.{precision}f}", "0"
    else:
        significant = max(precision, 1) - 1 if verb == "g" else precision
        mantissa, _, exponent = f"{value:.{significant}e}".partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) - (len(whole + fraction) - len(digits)) + int(exponent or 0)
    digits = digits.rstrip("0")
    return (digits, point) if digits else ("", 0)


def _with_exponent(digits: str, point: int, precision: int) -> str:
    digits, exponent = (digits, point - 1) if digits else ("0", 0)
    fraction = digits[1:].ljust(precision, "0")
    return f"{digits[0]}{'.' if fraction else ''}{fraction}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"


def _without_exponent(digits: str, point: int, precision: int) -> str:
    whole = digits[: max(point, 0)].ljust(point, "0") or "0"
    fraction = ("0" * -point + digits[max(point, 0) :]).ljust(precision, "0") if precision else ""
    return f"{whole}.{fraction}" if fraction else whole


def _underscores_separate(text: str) -> bool:
    mantissa = re.split("[pP]" if text.lstrip("+-")[:2] in ("0x", "0X") else "[eE]", text)
    return all(not re.search(r"__|_$|_\.|\._|^[+-]?_", part) for part in mantissa)


def binary_float(value: float, verb: str, precision: int) -> str:
    """`%x` and `%b` of a finite float."""
    sign = "-" if math.copysign(1, value) < 0 else ""
    fraction, exponent = math.frexp(abs(value))
    if verb == "b":
        scale = max(exponent - 53, -1074) if value else -1074
        return f"{sign}{int(fraction * 2**53) >> max(53 - exponent + scale, 0)}p{scale:+d}"
    mantissa = int(fraction * 2**53)  # the leading 1 and 52 bits, in thirteen digits
    if 0 <= precision < 13:
        unit = 1 << 4 * (13 - precision)
        rest = mantissa % unit
        up = rest * 2 > unit or (rest * 2 == unit and mantissa // unit % 2)
        mantissa += (unit if up else 0) - rest
        if mantissa >> 53:
            mantissa, exponent = mantissa >> 1, exponent + 1
    digits = f"{mantissa % 2**52:013x}"
    digits = digits.rstrip("0") if precision < 0 else digits[:precision].ljust(precision, "0")
    power = exponent - 1 if value else 0
    return f"{sign}0x{mantissa >> 52}{'.' if digits else ''}{digits}p{power:+03d}"


def with_point(text: str, digits: int) -> str:
    """The sharp flag: always a decimal point, and as many significant digits as the precision asks for."""
    mark = "p" if "x" in text else "e"
    number, _, exponent = text.partition(mark)
    shown = len(number.lstrip("+-").replace(".", "").lstrip("0"))
    if "." not in number:
        shown += number.lstrip("+-") == "0"
        number += "."
    return number + "0" * max(digits - shown, 0) + (mark + exponent if exponent else "")
