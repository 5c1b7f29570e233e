"""JSON as Go's `encoding/json` writes and reads it."""

from __future__ import annotations

import math
import re
from functools import cache
from typing import Any

from conveyor.config.template.functions import FunctionError, check_text
from conveyor.config.template.number_text import format_float
from conveyor.config.template.values import Object, TypedList, Value, go_type, raw

_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_SPECIAL = re.compile('["\\\\\x00-\x1f]')
_SPECIAL_HTML = re.compile('["\\\\<>&\x00-\x1f]')
_NUMBER = re.compile(
    rb"-?(?P<digits>0|[1-9][0-9]*)(?:(?P<point>\.)(?P<fraction>[0-9]+)?)?(?:(?P<exponent>[eE][+-]?)(?P<power>[0-9]+)?)?"
)
_SPACE = re.compile(rb"[ \t\r\n]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_ESCAPE = re.compile(rb'\\(?:["\\/bfnrt]|u(?P<digits>[0-9a-fA-F]{0,4}))?')
_DEEPEST = 10_000


class Marshaled(Object):
    """An object that JSON holds as a string, and YAML as a string or, `plain_in_yaml`, without quotes."""

    __slots__ = ()
    plain_in_yaml = False

    def marshal_text(self) -> str:
        """That string."""
        raise NotImplementedError


class Unsupported(FunctionError):
    """There is no text in this language for the value."""


def encode_json(value: Value, *, indent: str = "", escape_html: bool = True) -> str:
    """The JSON text of a value, on one line without `indent`.

    Raises Unsupported for what JSON has not (maps with keys of any type, infinity, NaN, what holds itself), FunctionError
    for a text that is too long.
    """
    encoder = _Encoder(_SPECIAL_HTML if escape_html else _SPECIAL, indent)
    try:
        encoder.encode(value, "\n" if indent else "")
    except RecursionError:
        raise Unsupported(f"json: unsupported value: encountered a cycle via {go_type(value)}") from None
    return "".join(encoder.pieces)


def decode_json(text: str) -> tuple[Value, str]:
    """The value of a JSON text, and why it is none.

    Numbers are floats. A text that is no JSON gives nil; of one whose numbers are too large the rest is there.
    """
    import json

    refused: list[str] = []

    def number(digits: str) -> float | None:
        value = float(digits)
        if math.isinf(value):
            refused.append(digits)
            return None
        return value

    try:
        readable = text if text.isascii() else _surrogates().sub("\ufffd", text)
        value = json.loads(readable, parse_int=number, parse_float=number, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if isinstance(error, RecursionError):
            return None, "exceeded max depth"
        return None, _syntax_error(raw(text))
    if "\\u" in text:
        value = _without_surrogates(value)
    return value, f"json: cannot unmarshal number {refused[0]} into Go value of type float64" if refused else ""


class _Encoder:
    """Writes values one after the other."""

    __slots__ = ("indent", "pieces", "size", "special")

    def __init__(self, special: re.Pattern[str], indent: str) -> None:
        self.special = special
        self.indent = indent
        self.pieces: list[str] = []
        self.size = 0

    def put(self, piece: str) -> None:
        """Write this."""
        self.pieces.append(piece)
        self.size += len(piece)
        check_text(self.size)

    def encode(self, value: Value, newline: str) -> None:
        """Write a value; `newline` begins a line of its level."""
        if isinstance(value, str):
            self.put(self.quoted(value))
        elif value is None or (isinstance(value, TypedList) and value.is_nil):
            self.put("null")
        elif isinstance(value, bool):
            self.put("true" if value else "false")
        elif isinstance(value, int):
            self.put(str(int(value)))
        elif isinstance(value, float):
            self.put(_float(value))
        elif isinstance(value, list):
            self.array(value, newline)
        elif isinstance(value, Marshaled):
            self.put(self.quoted(value.marshal_text()))
        elif isinstance(value, Object):
            self.mapping(list(value.fields().items()), newline)
        elif isinstance(value, dict):
            self.mapping(sorted(value.items(), key=_raw_key), newline)
        else:
            raise Unsupported(f"json: unsupported type: {go_type(value)}")

    def array(self, items: list[Value], newline: str) -> None:
        """Write an array."""
        inner = newline + self.indent
        self.put("[")
        for index, item in enumerate(items):
            self.put("," + inner if index else inner)
            self.encode(item, inner)
        self.put(newline + "]" if items else "]")

    def mapping(self, entries: list[tuple[str, Value]], newline: str) -> None:
        """Write an object."""
        inner = newline + self.indent
        self.put("{")
        for index, (key, item) in enumerate(entries):
            self.put("," + inner if index else inner)
            self.put(self.quoted(key) + (": " if self.indent else ":"))
            self.encode(item, inner)
        self.put(newline + "}" if entries else "}")

    def quoted(self, text: str) -> str:
        """The text as a string of JSON."""
        text = self.special.sub(_escape, text)
        if not text.isascii():
            text = _surrogates().sub(r"\\ufffd", text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
        return f'"{text}"'


def _raw_key(entry: tuple[str, Value]) -> bytes:
    return raw(entry[0])


@cache
def _surrogates() -> re.Pattern[str]:
    """Bytes that are no UTF-8. A class of characters beyond ASCII takes a millisecond to compile: few texts need it."""
    return re.compile("[\ud800-\udfff]")


def _escape(match: re.Match[str]) -> str:
    return _SHORT_ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}"


def _float(value: float) -> str:
    if math.isnan(value) or math.isinf(value):
        raise Unsupported(f"json: unsupported value: {format_float(value)}")
    if value != 0 and not 1e-6 <= abs(value) < 1e21:
        return re.sub(r"e-0(\d)\Z", r"e-\1", format_float(value, "e"))
    return format_float(value, "f")


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _without_surrogates(value: Any) -> Value:  # noqa: ANN401 - any value of JSON
    if isinstance(value, str):
        return _surrogates().sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
    return value


def _syntax_error(data: bytes) -> str:
    """Go's words for the first place where `data` is no JSON."""
    at = 0
    closing: list[bytes] = []
    want = "value"
    while True:
        space = _SPACE.match(data, at)
        at = space.end() if space else at
        if at == len(data):
            return "unexpected end of JSON input"
        here = data[at : at + 1]
        if want.endswith("or end") and here == closing[-1]:
            closing.pop()
            at, want = at + 1, "end"
        elif want == "end":
            if not closing:
                return _invalid(data, at, "after top-level value")
            if here == closing[-1]:
                closing.pop()
                at += 1
            elif here == b",":
                at, want = at + 1, "key" if closing[-1] == b"}" else "value"
            else:
                return _invalid(data, at, "after object key:value pair" if closing[-1] == b"}" else "after array element")
        elif want == "colon":
            if here != b":":
                return _invalid(data, at, "after object key")
            at, want = at + 1, "value"
        elif want.startswith("key"):
            if here != b'"':
                return _invalid(data, at, "looking for beginning of object key string")
            at, problem = _skip_string(data, at)
            if problem:
                return problem
            want = "colon"
        elif here in (b"{", b"["):
            closing.append(b"}" if here == b"{" else b"]")
            if len(closing) > _DEEPEST:
                return "exceeded max depth"
            at, want = at + 1, "key or end" if here == b"{" else "value or end"
        else:
            at, problem = _skip_scalar(data, at)
            if problem:
                return problem
            want = "end"


def _skip_scalar(data: bytes, at: int) -> tuple[int, str]:
    here = data[at : at + 1]
    if here == b'"':
        return _skip_string(data, at)
    for word in (b"true", b"false", b"null"):
        if here == word[:1]:
            for offset in range(1, len(word)):
                if data[at + offset : at + offset + 1] != word[offset : offset + 1]:
                    expected = f"in literal {word.decode()} (expecting '{chr(word[offset])}')"
                    return at, _invalid(data, at + offset, expected)
            return at + len(word), ""
    if here != b"-" and not here.isdigit():
        return at, _invalid(data, at, "looking for beginning of value")
    number = _NUMBER.match(data, at)
    if number is None:
        return at, _invalid(data, at + 1, "in numeric literal")
    if number["point"] and number["fraction"] is None:
        return at, _invalid(data, number.end("point"), "after decimal point in numeric literal")
    if number["exponent"] and number["power"] is None:
        return at, _invalid(data, number.end(), "in exponent of numeric literal")
    return number.end(), ""


def _skip_string(data: bytes, at: int) -> tuple[int, str]:
    at += 1
    while True:
        plain = _PLAIN.match(data, at)
        at = plain.end() if plain else at
        if at == len(data):
            return at, "unexpected end of JSON input"
        if data[at] == 0x22:
            return at + 1, ""
        escape = _ESCAPE.match(data, at)
        if escape is None:
            return at, _invalid(data, at, "in string literal")
        if escape.end() == at + 1:
            return at, _invalid(data, at + 1, "in string escape code")
        at = escape.end()
        if escape["digits"] is not None and len(escape["digits"]) < 4:
            return at, _invalid(data, at, "in \\u hexadecimal character escape")


def _invalid(data: bytes, at: int, where: str) -> str:
    from conveyor.config.template.quoting import quoted

    character = chr(data[at]) if at < len(data) else " "
    shown = {"'": "'\\''", '"': "'\"'"}.get(character) or f"'{quoted(character)[1:-1]}'"
    return f"invalid character {shown} {where}"
