"""YAML as Go's `yaml.v2` writes it: which texts are quoted and how, where long ones are folded, the order of keys."""

from __future__ import annotations

import base64
import re
from functools import cache, cmp_to_key
from typing import NamedTuple

from conveyor.config.template.functions import check_text
from conveyor.config.template.json_text import Marshaled, Unsupported
from conveyor.config.template.number_text import format_float
from conveyor.config.template.values import AnyMap, Object, Value, go_type, joined, kind_of, raw, wrapped
from conveyor.config.template.yaml_scalars import resolve

_WIDTH = 80
_INDENT = 2
_LONGEST_SIMPLE_KEY = 128
_LONGEST_BASE64 = 70
_BREAKS = "\r\n\x85\u2028\u2029"
_BASE60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_TIGHT = re.compile(r"(?s)[#,\[\]{}&*!|>'\"%@`]|[?:-](?:[ \t]|\Z)|---|\.\.\.")
_TIGHT_INSIDE = re.compile(r":(?:[ \t]|\Z)|[ \t\r\n\x00]#")  # behind the other breaks quotes are needed anyway
_ESCAPES = {
    "\0": "0", "\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r", "\x1b": "e",
    '"': '"', "\\": "\\", "\x85": "N", "\xa0": "_", "\u2028": "L", "\u2029": "P",
}  # fmt: skip
_KINDS = {"bool": 1, "int": 2, "int32": 5, "int64": 6, "uint8": 8, "uint32": 10, "uint64": 11, "float64": 14}
_OTHER_KINDS = {"invalid": 20, "map": 21, "ptr": 22, "slice": 23, "string": 24, "struct": 25}


class _Patterns(NamedTuple):
    """What texts are searched with and cut by."""

    unprintable: re.Pattern[str]
    no_text: re.Pattern[str]
    space_before_break: re.Pattern[str]
    space_after_break: re.Pattern[str]
    runs: re.Pattern[str]
    runs_to_escape: re.Pattern[str]
    lines: re.Pattern[str]


@cache
def _patterns(*, ascii_only: bool) -> _Patterns:
    """Those for all texts take ten times as long to compile as those for texts of ASCII, and few texts need them."""
    breaks = _BREAKS[:2] if ascii_only else _BREAKS
    beyond = "" if ascii_only else "\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd"
    unprintable = "[^\n -~]" if ascii_only else "[^\n -~\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]"
    return _Patterns(
        unprintable=re.compile(unprintable),
        no_text=re.compile("(?!)" if ascii_only else "[\ud800-\udfff]"),
        space_before_break=re.compile(f" [{breaks}]"),
        space_after_break=re.compile(f"[{breaks}] "),
        runs=re.compile(f" +|[{breaks}]|[^ {breaks}]+"),
        runs_to_escape=re.compile(rf' +|["\\{breaks}]|{unprintable}|[!#-\[\]-~{beyond}]+'),
        lines=re.compile(f"[{breaks}]|[^{breaks}]+"),
    )


def encode_yaml(value: Value) -> str:
    """The YAML text of a value, with a line break at its end.

    Raises Unsupported for complex numbers, FunctionError for a text that is too long.
    """
    emitter = _Emitter()
    emitter.node(value)
    emitter.write_indent()
    return joined("".join(emitter.pieces))


class _Emitter:
    """Writes nodes one after the other; knows where on the line it stands, and whether only indentation stands before it."""

    __slots__ = ("blank", "column", "in_mapping", "indent", "only_indention", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size = self.column = 0
        self.indent = -1
        self.blank = self.only_indention = True
        self.in_mapping = False

    def node(self, value: Value, *, mapping: bool = False, key: bool = False) -> None:
        """Write a value: one of a mapping, a simple key, or neither."""
        self.in_mapping = mapping
        if isinstance(value, str):
            self.text(value, key=key)
        elif value is None:
            self.plain("null", key=key)
        elif isinstance(value, bool):
            self.plain("true" if value else "false", key=key)
        elif isinstance(value, int):
            self.plain(str(int(value)), key=key)
        elif isinstance(value, float):
            number = format_float(value)
            self.plain({"+Inf": ".inf", "-Inf": "-.inf", "NaN": ".nan"}.get(number, number), key=key)
        elif isinstance(value, list):
            self.sequence(value)
        elif isinstance(value, Marshaled):
            if value.plain_in_yaml:
                self.plain(value.marshal_text(), key=key)
            else:
                self.text(value.marshal_text(), key=key)
        elif isinstance(value, Object):
            self.mapping([(name.lower(), field) for name, field in value.fields().items()])
        elif isinstance(value, (dict, AnyMap)):
            self.mapping(sorted(value.items(), key=_KEY_ORDER))
        else:
            raise Unsupported(f"cannot marshal type: {go_type(value)}")

    def sequence(self, items: list[Value]) -> None:
        """Write a list: an entry a line."""
        if not items:
            return self.indicate("[]")
        outer = self.indent
        self.increase_indent(indentless=self.in_mapping and not self.only_indention)
        for item in items:
            self.write_indent()
            self.indicate("-", indention=True)
            self.node(item)
        self.indent = outer
        return None

    def mapping(self, entries: list[tuple[Value, Value]]) -> None:
        """Write a mapping: a key a line; keys that are long or of several lines behind `?`."""
        if not entries:
            return self.indicate("{}")
        outer = self.indent
        self.increase_indent()
        for key, value in entries:
            self.write_indent()
            if _is_simple_key(key):
                self.node(key, mapping=True, key=True)
                self.put(":")
                self.blank = self.only_indention = False
            else:
                self.indicate("?", indention=True)
                self.node(key, mapping=True)
                self.write_indent()
                self.indicate(":", indention=True)
            self.node(value, mapping=True)
        self.indent = outer
        return None

    def text(self, text: str, *, key: bool) -> None:
        """Write a string in the style that keeps it a string."""
        if _patterns(ascii_only=text.isascii()).no_text.search(text):
            self.indicate("!!binary")
            self.styled(_base64_lines(raw(text)), key=key, ambiguous=False)
        else:
            self.styled(text, key=key, ambiguous=resolve(text)[0] != "text" or _BASE60.fullmatch(text) is not None)

    def styled(self, text: str, *, key: bool, ambiguous: bool) -> None:
        """Write a string; `ambiguous`: read without quotes it would be something else."""
        outer = self.indent
        self.increase_indent(scalar=True)
        broken = any(character in text for character in _BREAKS)
        patterns = _patterns(ascii_only=text.isascii())
        spoiled = bool(patterns.unprintable.search(text) or patterns.space_before_break.search(text))
        spaced = patterns.space_after_break.search(text) is not None
        if "\n" in text and not (key and broken) and not spoiled and not text.endswith(" ") and not key:
            self.literal(text)
        elif "\n" in text or ambiguous or (key and broken):
            self.double_quoted(text, fold=not key)
        elif text[:1] == " " or text[-1:] == " " or broken or spoiled or _TIGHT.match(text) or _TIGHT_INSIDE.search(text, 1):
            if spoiled or spaced:
                self.double_quoted(text, fold=not key)
            else:
                self.single_quoted(text, fold=not key)
        else:
            self.folded(text, fold=not key)
        self.indent = outer

    def plain(self, text: str, *, key: bool) -> None:
        """Write what needs no quotes."""
        outer = self.indent
        self.increase_indent(scalar=True)
        self.folded(text, fold=not key)
        self.indent = outer

    def folded(self, text: str, *, fold: bool) -> None:
        """Write a plain scalar, folded at single blanks behind the 80th column."""
        self.separate()
        for run in _patterns(ascii_only=text.isascii()).runs.findall(text):
            if run == " " and fold and self.column > _WIDTH:
                self.write_indent()
            else:
                self.put(run)
        self.blank = self.only_indention = False

    def single_quoted(self, text: str, *, fold: bool) -> None:
        """Write a scalar in single quotes, folded as a plain one."""
        self.indicate("'")
        breaks = False
        at = 0
        for run in _patterns(ascii_only=text.isascii()).runs.findall(text):
            at += len(run)
            if run == " " and fold and self.column > _WIDTH and 1 < at < len(text):
                self.write_indent()
            elif run[0] == " ":
                self.put(run)
            elif run in _BREAKS:
                self.put_break(run)
                self.only_indention = breaks = True
            else:
                if breaks:
                    self.write_indent()
                self.put(run.replace("'", "''"))
                self.only_indention = breaks = False
        self.put("'")
        self.blank = self.only_indention = False

    def double_quoted(self, text: str, *, fold: bool) -> None:
        """Write a scalar in double quotes, everything that is not printable escaped."""
        self.indicate('"')
        octets = len(raw(text))
        at = 0
        escape_all = text.startswith("\ufeff")  # so does Go's library
        patterns = _patterns(ascii_only=text.isascii())
        for run in text if escape_all else patterns.runs_to_escape.findall(text):
            if escape_all or run in _ESCAPES or patterns.unprintable.match(run):
                self.put("\\" + (_ESCAPES.get(run) or _hexadecimal(ord(run))))
            elif run[0] == " " and fold and self.column > _WIDTH and 0 < at < octets - 1:
                self.write_indent()
                self.put("\\" + run[1:] if len(run) > 1 else "")
            else:
                self.put(run)
            at += len(raw(run))
        self.put('"')
        self.blank = self.only_indention = False

    def literal(self, text: str) -> None:
        """Write a block scalar: the lines as they are."""
        self.indicate("|")
        hints = str(_INDENT) if text[0] == " " or text[0] in _BREAKS else ""
        if text[-1] not in _BREAKS:
            hints += "-"
        elif len(text) == 1 or text[-2] in _BREAKS:
            hints += "+"
        self.put(hints)
        self.put_break("\n")
        self.only_indention = self.blank = True
        for run in _patterns(ascii_only=text.isascii()).lines.findall(text):
            if run in _BREAKS:
                self.put_break(run)
                self.only_indention = True
            else:
                self.write_indent()
                self.put(run)
                self.only_indention = False

    def increase_indent(self, *, scalar: bool = False, indentless: bool = False) -> None:
        """One step to the right, if not indentless; the root of a document stands at the left edge."""
        if self.indent < 0:
            self.indent = _INDENT if scalar else 0
        elif not indentless:
            self.indent += _INDENT

    def write_indent(self) -> None:
        """Go to the indentation of this level, on a new line unless nothing stands before it on this one."""
        indent = max(self.indent, 0)
        if not self.only_indention or self.column > indent or (self.column == indent and not self.blank):
            self.put_break("\n")
        if self.column < indent:
            self.put(" " * (indent - self.column))
        self.blank = self.only_indention = True

    def indicate(self, mark: str, *, indention: bool = False) -> None:
        """Write a mark with a blank before it. `indention`: what follows may stand on the same line."""
        self.separate()
        self.put(mark)
        self.blank = False
        self.only_indention = self.only_indention and indention

    def separate(self) -> None:
        """A blank, unless one is there."""
        if not self.blank:
            self.put(" ")

    def put(self, text: str) -> None:
        """Write on this line."""
        self.pieces.append(text)
        self.column += len(text)
        self.size += len(text)
        check_text(self.size)

    def put_break(self, character: str) -> None:
        """End this line."""
        self.put(character)
        self.column = 0


def _is_simple_key(key: Value) -> bool:
    if isinstance(key, str):
        return len(raw(key)) <= _LONGEST_SIMPLE_KEY and not any(character in key for character in _BREAKS)
    return not isinstance(key, (list, dict, AnyMap)) or not key


def _base64_lines(data: bytes) -> str:
    digits = base64.b64encode(data).decode()
    if len(digits) < _LONGEST_BASE64:
        return digits
    return "".join(digits[at : at + _LONGEST_BASE64] + "\n" for at in range(0, len(digits), _LONGEST_BASE64))


def _hexadecimal(code: int) -> str:
    return f"x{code:02X}" if code <= 0xFF else f"u{code:04X}" if code <= 0xFFFF else f"U{code:08X}"


def _compare(one: Value, other: Value) -> int:
    """The order of keys: numbers by size, texts by letters, with digits in them as numbers and signs before letters."""
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        if float(one) != float(other):
            return -1 if float(one) < float(other) else 1
        first, second = _KINDS[kind_of(one)], _KINDS[kind_of(other)]
        return first - second if first != second else (one > other) - (one < other)
    if not isinstance(one, str) or not isinstance(other, str):
        first, second = (_KINDS.get(kind_of(key)) or _OTHER_KINDS[kind_of(key)] for key in (one, other))
        return first - second
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left == right:
            continue
        if left.isalpha() or right.isalpha():
            return ord(left) - ord(right) if left.isalpha() and right.isalpha() else 1 if left.isalpha() else -1
        return _compare_from(one, other, index)
    return len(one) - len(other)


def _compare_from(one: str, other: str, index: int) -> int:
    lead = 0
    if "0" in (one[index], other[index]):
        before = re.search(r"\d*\Z", one[:index])
        lead = 1 if before and before[0].strip("0") else 0
    numbers = []
    for key in (one, other):
        digits = re.match(r"\d*", key[index:])
        length = len(digits[0]) if digits else 0
        numbers.append((wrapped(int(f"{lead}{key[index : index + length]}")) if length else lead, length))
    if numbers[0] != numbers[1]:
        return -1 if numbers[0] < numbers[1] else 1
    return ord(one[index]) - ord(other[index])


def _compare_entries(one: tuple[Value, Value], other: tuple[Value, Value]) -> int:
    return _compare(one[0], other[0])


_KEY_ORDER = cmp_to_key(_compare_entries)
