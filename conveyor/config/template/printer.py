"""One value after another to a text, by Go's verbs and flags."""

from __future__ import annotations

from typing import Final

from .functions import MAX_ELEMENTS, MAX_TEXT_BYTES, FunctionError
from .quoting import back_quoted, quoted
from .values import AnyMap, Object, TypedList, Value, go_type, is_map, joined, raw, sorted_items

_MAX_DEPTH: Final = 100
_LARGEST_RUNE: Final = 0x10FFFF
_DIGITS: Final = {"b": "b", "o": "o", "O": "o", "d": "d", "v": "d", "x": "x", "X": "X"}
_PREFIXES: Final = {"b": "0b", "x": "0x", "X": "0X"}


class Printer:
    """Prints values by a verb and the flags before it. A text that grows too long stops it, wherever it is."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._elements = 0
        self.clear()

    def clear(self) -> None:
        """Forget the flags of a verb."""
        self.sharp = self.zero = self.plus = self.minus = self.space = False
        self.sharp_v = self.plus_v = False
        self.width: int | None = None
        self.precision: int | None = None

    def result(self) -> str:
        """The whole text."""
        return joined("".join(self._parts))

    def add(self, text: str) -> None:
        """Add a text as it is."""
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
        """Add an argument of a format by its verb, or the mark of a mistake."""
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
            self.print(argument, verb, 0)

    def print(self, value: Value, verb: str, depth: int) -> None:
        """Add a value that is no nil argument; `depth`: how many values it is in."""
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise FunctionError(f"a value with more than {MAX_ELEMENTS} elements cannot be printed")
        if depth > _MAX_DEPTH:
            raise FunctionError(f"a value that is nested more than {_MAX_DEPTH} deep, or holds itself, cannot be printed")
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
        self.print(value, "v", 0)
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
        from .number_text import binary_float, format_float, with_point

        lower = verb.lower()
        precision = self.precision if self.precision is not None else 6 if lower in "fe" else -1
        if value - value != 0:
            return format_float(value)
        if lower in "xb":
            text = binary_float(value, lower, precision)
        else:
            text = format_float(value, "g" if lower == "v" else lower, precision)
        if self.sharp and verb != "b":
            text = with_point(text, 0 if verb not in "vgGx" else 6 if precision < 0 else precision)
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
            self.print(field, verb, depth + 1)
        self.add("}")

    def _map(self, value: dict[Value, Value] | AnyMap, verb: str, depth: int) -> None:
        self.add(go_type(value) + "{" if self.sharp_v else "map[")
        for index, (key, entry) in enumerate(sorted_items(value)):
            if index:
                self.add(", " if self.sharp_v else " ")
            self.print(key, verb, depth + 1)
            self.add(":")
            self.print(entry, verb, depth + 1)
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
            self.print(entry, verb, depth + 1)
        self.add("}" if self.sharp_v else "]")


def _rune(value: int) -> str:
    code = int(value)
    return chr(code) if 0 <= code <= _LARGEST_RUNE and not 0xD800 <= code < 0xE000 else "\ufffd"
