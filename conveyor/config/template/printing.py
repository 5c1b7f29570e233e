"""How Go's `fmt` prints values: `%v` and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

from .functions import MAX_ELEMENTS, MAX_TEXT_BYTES, FunctionError
from .quoting import back_quoted, quoted
from .values import AnyMap, Object, TypedList, Value, go_type, is_map, joined, raw, sorted_items

MAX_DEPTH: Final = 100
_LARGEST_WIDTH: Final = 1_000_000
_LARGEST_RUNE: Final = 0x10FFFF
_DIGITS: Final = {"b": "b", "o": "o", "O": "o", "d": "d", "v": "d", "x": "x", "X": "X"}
_PREFIXES: Final = {"b": "0b", "x": "0x", "X": "0X"}


def print_values(arguments: Sequence[Value]) -> str:
    """As `fmt.Sprint`: blanks between two that are both no strings. Raises FunctionError where it grows too long or deep."""
    printer = _Printer()
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
    printer = _Printer()
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
    printer = _Printer()
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
    return _Format(form, arguments).result()


class _Printer:
    """Prints values by a verb and the flags before it. A text that grows too long stops it, wherever it is."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._elements = 0
        self.clear()

    def clear(self) -> None:
        self.sharp = self.zero = self.plus = self.minus = self.space = False
        self.sharp_v = self.plus_v = False
        self.width: int | None = None
        self.precision: int | None = None

    def result(self) -> str:
        return joined("".join(self._parts))

    def add(self, text: str) -> None:
        self._size += len(text)
        if self._size > MAX_TEXT_BYTES:
            raise FunctionError(f"the text grows longer than {MAX_TEXT_BYTES} bytes")
        self._parts.append(text)

    def pad(self, text: str, *, zero: bool = False) -> None:
        """Add a text, filled to the width."""
        missing = (self.width or 0) - len(text)
        if missing <= 0:
            self.add(text)
        elif self.minus:
            self.add(text + " " * missing)
        else:
            self.add(("0" if zero else " ") * missing + text)

    def print_argument(self, argument: Value, verb: str) -> None:
        if verb == "T":
            self.pad("<nil>" if argument is None else self._cut(go_type(argument)), zero=self.zero)
        elif argument is None:
            if verb == "v":
                self.pad("<nil>", zero=self.zero)
            else:
                self.add(f"%!{verb}(<nil>)")
        elif verb == "w":  # only for errors: no value takes it
            self._bad(argument, verb)
        elif verb == "p" and (is_map(argument) or isinstance(argument, list)):
            raise FunctionError("%p prints an address, which is another one every time")
        else:
            self._print(argument, verb, 0)

    def _print(self, value: Value, verb: str, depth: int) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise FunctionError(f"a value with more than {MAX_ELEMENTS} elements cannot be printed")
        if depth > MAX_DEPTH:
            raise FunctionError(f"a value that is nested more than {MAX_DEPTH} deep, or holds itself, cannot be printed")
        if isinstance(value, str):
            self._string(value, verb)
        elif isinstance(value, bool):
            if verb in "tv":
                self.pad("true" if value else "false", zero=self.zero)
            else:
                self._bad(value, verb)
        elif isinstance(value, int):
            self._integer(value, verb)
        elif isinstance(value, float):
            if verb in "vbgGxXfFeE":
                self._float(value, verb)
            else:
                self._bad(value, verb)
        elif isinstance(value, complex):
            self._complex(value, verb)
        elif value is None:
            self.add("interface {}(nil)" if self.sharp_v else "<nil>")
        elif isinstance(value, Object):
            self._object(value, verb, depth)
        elif is_map(value):
            self._map(value, verb, depth)
        else:
            self._list(value, verb, depth)

    def _bad(self, value: Value, verb: str) -> None:
        self.add(f"%!{verb}({go_type(value)}=")
        self._print(value, "v", 0)
        self.add(")")

    def _string(self, value: str, verb: str) -> None:
        if verb == "v" and self.sharp_v:
            self._quoted(value)
        elif verb in "vs":
            self.pad(self._cut(value), zero=self.zero)
        elif verb == "q":
            self._quoted(value)
        elif verb in "xX":
            self._hexadecimal(raw(value), verb)
        else:
            self._bad(value, verb)

    def _cut(self, value: str) -> str:
        return value if self.precision is None else value[: self.precision]

    def _quoted(self, value: str) -> None:
        value = self._cut(value)
        plain = back_quoted(value) if self.sharp and not self.sharp_v else None
        self.pad(plain if plain is not None else quoted(value, ascii_only=self.plus), zero=self.zero)

    def _hexadecimal(self, data: bytes, verb: str) -> None:
        if self.precision is not None:
            data = data[: self.precision]
        digits = data.hex(" ") if self.space else data.hex()
        if verb == "X":
            digits = digits.upper()
        if self.sharp and digits:
            digits = f"0{verb}" + digits.replace(" ", f" 0{verb}")
        self.pad(digits, zero=self.zero)

    def _integer(self, value: int, verb: str) -> None:
        if verb in _DIGITS:
            sharp = self.sharp
            if verb == "v" and self.sharp_v and go_type(value).startswith("uint"):
                self.sharp, verb = True, "x"
            self._digits(int(value), verb)
            self.sharp = sharp
        elif verb == "c":
            self.pad(_rune(value), zero=self.zero)
        elif verb == "q":
            self.pad(quoted(_rune(value), ascii_only=self.plus, quote="'"), zero=self.zero)
        elif verb == "U":
            text = f"U+{int(value) & 0xFFFFFFFFFFFFFFFF:0{max(self.precision or 0, 4)}X}"
            shown = self.sharp and 0 <= value <= _LARGEST_RUNE and _rune(value).isprintable()
            self.pad(f"{text} '{_rune(value)}'" if shown else text)
        else:
            self._bad(value, verb)

    def _digits(self, value: int, verb: str) -> None:
        if self.precision == 0 and value == 0:
            self.pad("")
            return
        sign = "-" if value < 0 else "+" if self.plus else " " if self.space else ""
        digits = format(abs(value), _DIGITS[verb])
        if self.precision is not None:
            digits = digits.rjust(self.precision, "0")
        elif self.zero and not self.minus and self.width is not None:
            digits = digits.rjust(self.width - len(sign), "0")
        if self.sharp and verb in "oO" and not digits.startswith("0"):
            digits = "0" + digits
        elif self.sharp and verb in _PREFIXES:
            digits = _PREFIXES[verb] + digits
        if verb == "O":
            digits = "0o" + digits
        self.pad(sign + digits)

    def _float(self, value: float, verb: str) -> None:
        text = self._float_text(value, verb)
        if text[0] not in "+-":
            text = "+" + text
        if self.space and text[0] == "+" and not self.plus:
            text = " " + text[1:]
        if text[1] in "IN":
            self.pad(text[1:] if text[1] == "N" and not self.space and not self.plus else text)
        elif self.plus or text[0] != "+":
            if self.zero and not self.minus and self.width is not None and self.width > len(text):
                self.add(text[0] + text[1:].rjust(self.width - 1, "0"))
            else:
                self.pad(text)
        else:
            self.pad(text[1:], zero=self.zero)

    def _float_text(self, value: float, verb: str) -> str:
        from .number_text import format_float

        lower = verb.lower()
        precision = self.precision if self.precision is not None else 6 if lower in "fe" else -1
        if value - value != 0:
            return format_float(value)
        if lower in "xb":
            text = _binary_float(value, lower, precision)
        else:
            text = format_float(value, "g" if lower == "v" else lower, precision)
        if self.sharp and verb != "b":
            text = _with_point(text, 0 if verb not in "vgGx" else 6 if precision < 0 else precision)
        return text.upper() if verb in "GEX" else text

    def _complex(self, value: complex, verb: str) -> None:
        if verb not in "vbgGxXfFeE":
            self._bad(value, verb)
            return
        self.add("(")
        self._float(value.real, verb)
        plus, self.plus = self.plus, True
        self._float(value.imag, verb)
        self.plus = plus
        self.add("i)")

    def _object(self, value: Object, verb: str, depth: int) -> None:
        text = value.text()
        if text is not None and verb in "vsxXq" and not self.sharp_v:
            self._string(text, verb)
            return
        if value.kind == "ptr":
            self.add(("(" + value.go_type + ")(...)" if self.sharp_v else "&") if depth == 0 else "")
        if self.sharp_v:
            self.add(value.go_type)
        self.add("{")
        for index, (name, field) in enumerate(value.fields().items()):
            if index:
                self.add(", " if self.sharp_v else " ")
            if self.plus_v or self.sharp_v:
                self.add(name + ":")
            self._print(field, verb, depth + 1)
        self.add("}")

    def _map(self, value: dict[Value, Value] | AnyMap, verb: str, depth: int) -> None:
        self.add(go_type(value) + "{" if self.sharp_v else "map[")
        for index, (key, entry) in enumerate(sorted_items(value)):
            if index:
                self.add(", " if self.sharp_v else " ")
            self._print(key, verb, depth + 1)
            self.add(":")
            self._print(entry, verb, depth + 1)
        self.add("}" if self.sharp_v else "]")

    def _list(self, value: list[Value], verb: str, depth: int) -> None:
        if isinstance(value, TypedList) and value.elem == "uint8" and verb in "sqxX":
            self._string(bytes(value).decode("utf-8", "surrogateescape"), verb)
            return
        if self.sharp_v:
            self.add(go_type(value))
            if isinstance(value, TypedList) and value.is_nil:
                self.add("(nil)")
                return
        self.add("{" if self.sharp_v else "[")
        for index, entry in enumerate(value):
            if index:
                self.add(", " if self.sharp_v else " ")
            self._print(entry, verb, depth + 1)
        self.add("}" if self.sharp_v else "]")


class _Format(_Printer):
    """Goes through a format with its arguments."""

    def __init__(self, form: str, arguments: Sequence[Value]) -> None:
        super().__init__()
        self._form = form
        self._arguments = arguments
        self._at = 0
        self._argument = 0
        self._reordered = False
        self._good = True
        while self._at < len(form):
            percent = form.find("%", self._at)
            if percent < 0:
                self.add(form[self._at :])
                break
            self.add(form[self._at : percent])
            self._at = percent + 1
            self._verb()
        if not self._reordered and self._argument < len(arguments):
            self._extra()

    def _verb(self) -> None:
        """One verb with its flags, width and precision."""
        self.clear()
        self._good = True
        self._flags()
        indexed = self._index()
        if self._char() == "*":
            self._at += 1
            self.width = self._number_argument("WIDTH")
            if self.width is not None and self.width < 0:
                self.width = -self.width
                self.minus = True
                self.zero = False
            indexed = False
        else:
            self.width = self._number()
            if indexed and self.width is not None:
                self._good = False
        if self._char() == "." and self._at + 1 < len(self._form):
            self._at += 1
            if indexed:
                self._good = False
            indexed = self._index()
            if self._char() == "*":
                self._at += 1
                self.precision = self._number_argument("PREC")
                if self.precision is not None and self.precision < 0:
                    self.precision = None
                    self.add("%!(BADPREC)")
                indexed = False
            else:
                self.precision = self._number() or 0
        if not indexed:
            self._index()
        verb = self._char()
        if not verb:
            self.add("%!(NOVERB)")
            return
        self._at += 1
        if verb == "%":
            self.add("%")
        elif not self._good:
            self.add(f"%!{verb}(BADINDEX)")
        elif self._argument >= len(self._arguments):
            self.add(f"%!{verb}(MISSING)")
        else:
            if verb in "vw":
                self.sharp_v, self.sharp = self.sharp, False
                self.plus_v, self.plus = self.plus, False
            self._argument += 1
            self.print_argument(self._arguments[self._argument - 1], verb)

    def _char(self) -> str:
        return self._form[self._at : self._at + 1]

    def _flags(self) -> None:
        while True:
            match self._char():
                case "#":
                    self.sharp = True
                case "0":
                    self.zero = True
                case "+":
                    self.plus = True
                case "-":
                    self.minus = True
                case " ":
                    self.space = True
                case _:
                    return
            self._at += 1

    def _number(self) -> int | None:
        start = self._at
        while self._char() and self._char() in "0123456789":
            self._at += 1
            if self._at - start > 7 or int(self._form[start : self._at]) > _LARGEST_WIDTH:
                self._at = len(self._form)
                return None
        return int(self._form[start : self._at]) if self._at > start else None

    def _number_argument(self, name: str) -> int | None:
        number: Value = None
        if self._argument < len(self._arguments):
            number = self._arguments[self._argument]
            self._argument += 1
        if not isinstance(number, int) or isinstance(number, bool) or abs(number) > _LARGEST_WIDTH:
            self.add(f"%!(BAD{name})")
            return None
        return int(number)

    def _index(self) -> bool:
        """An explicit index, `[2]`: whether there was one."""
        if self._char() != "[":
            return False
        self._reordered = True
        close = self._form.find("]", self._at)
        if close < 0 or self._at + 3 > len(self._form):
            self._good = False
            self._at += 1
            return False
        inner = self._form[self._at + 1 : close]
        self._at = close + 1
        well_formed = inner.isascii() and inner.isdigit() and len(inner) < 8
        if well_formed and 1 <= int(inner) <= len(self._arguments):
            self._argument = int(inner) - 1
            return True
        self._good = False
        return well_formed

    def _extra(self) -> None:
        self.clear()
        self.add("%!(EXTRA ")
        for index, argument in enumerate(self._arguments[self._argument :]):
            if index:
                self.add(", ")
            if argument is None:
                self.add("<nil>")
            else:
                self.add(go_type(argument) + "=")
                self._print(argument, "v", 0)
        self.add(")")


def _rune(value: int) -> str:
    code = int(value)
    return chr(code) if 0 <= code <= _LARGEST_RUNE and not 0xD800 <= code < 0xE000 else "\ufffd"


def _binary_float(value: float, verb: str, precision: int) -> str:
    """`%x` and `%b` of a finite float."""
    from math import copysign, frexp

    sign = "-" if copysign(1, value) < 0 else ""
    fraction, exponent = frexp(abs(value))
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


def _with_point(text: str, digits: int) -> str:
    """The sharp flag: always a decimal point, and as many significant digits as the precision asks for."""
    mark = "p" if "x" in text else "e"
    number, _, exponent = text.partition(mark)
    shown = len(number.lstrip("+-").replace(".", "").lstrip("0"))
    if "." not in number:
        shown += number.lstrip("+-") == "0"
        number += "."
    return number + "0" * max(digits - shown, 0) + (mark + exponent if exponent else "")
