"""Functions between values and JSON or YAML, texts and base 64 or 32."""

from __future__ import annotations

import base64
import re

from conveyor.config.template.functions import FunctionError, Runtime, check_text, count_elements, declare
from conveyor.config.template.json_text import Unsupported, decode_json, encode_json
from conveyor.config.template.values import Value, raw
from conveyor.config.template.values import text as as_text

_STEPS_OF_YAML = 400
_STEPS_OF_A_YAML_CHARACTER = 2
_STEPS_OF_A_YAML_NODE = 50
_STEPS_OF_A_COPIED_ELEMENT = 10


def to_json(value: Value) -> str:
    """JSON on one line; "" where JSON has no such value."""
    try:
        return encode_json(value)
    except Unsupported:
        return ""


def must_to_json(value: Value) -> str:
    """JSON on one line."""
    return encode_json(value)


def to_pretty_json(value: Value) -> str:
    """JSON on lines of their own; "" where JSON has no such value."""
    try:
        return must_to_pretty_json(value)
    except Unsupported:
        return ""


def must_to_pretty_json(value: Value) -> str:
    """JSON on lines of their own."""
    return encode_json(value, indent="  ")


def to_raw_json(value: Value) -> str:
    """JSON on one line, with `<`, `>` and `&` as they are."""
    return encode_json(value, escape_html=False)


def from_json(text: str) -> Value:
    """The value of a JSON text; nil where it is none."""
    return decode_json(text)[0]


def must_from_json(text: str) -> Value:
    """The value of a JSON text."""
    value, problem = decode_json(text)
    if problem:
        raise FunctionError(problem)
    return value


def to_yaml(value: Value) -> str:
    """YAML without the line break at its end; "" where YAML has no such value."""
    from conveyor.config.template.yaml_text import encode_yaml

    try:
        return encode_yaml(value).removesuffix("\n")
    except Unsupported:
        return ""


def from_yaml(runtime: Runtime, text: str) -> dict[str, Value]:
    """The mapping of a YAML text. One that is asked for again is copied: templates read one file for each image."""
    from conveyor.config.template.sprig.dicts import deep_copy

    key = "yaml", text
    found = runtime.kept.get(key)
    if found is None:
        from conveyor.config.template.yaml_values import decode_yaml

        runtime.charge(_STEPS_OF_YAML + len(text) * _STEPS_OF_A_YAML_CHARACTER)
        value = decode_yaml(text, lambda count: runtime.charge(count * _STEPS_OF_A_YAML_NODE))
        found = runtime.kept[key] = value, count_elements([value])
    runtime.charge(found[1] * _STEPS_OF_A_COPIED_ELEMENT)
    copied: dict[str, Value] = deep_copy(found[0])
    return copied


def encode_base64(text: str) -> str:
    """Base 64 with padding."""
    check_text(len(text) * 4 // 3)
    return base64.b64encode(raw(text)).decode()


def decode_base64(text: str) -> str:
    """What base 64 holds; the text of the error where it is none."""
    try:
        return as_text(read_base64(text))
    except FunctionError as error:
        return str(error)


def encode_base32(text: str) -> str:
    """Base 32 with padding."""
    check_text(len(text) * 8 // 5)
    return base64.b32encode(raw(text)).decode()


def decode_base32(text: str) -> str:
    """What base 32 holds; the text of the error where it is none."""
    data = re.sub(rb"[\r\n]", b"", raw(text))
    size = len(data)
    decoded = []
    for start in range(0, size, 8):
        group = data[start : start + 8]
        digits = _BASE32.match(group)
        filled = digits.end() if digits else 0
        if filled < 8:
            bad = _bad_base32(size, start, group, filled)
            if bad >= 0:
                return f"illegal base32 data at input byte {bad}"
        decoded.append(base64.b32decode(group[:filled].ljust(8, b"=")))
        if filled < 8:
            break
    return as_text(b"".join(decoded))


def read_base64(text: str) -> bytes:
    """What base 64 holds. Raises FunctionError where it is none."""
    data = raw(text)
    bad = _bad_base64(data)
    if bad >= 0:
        raise FunctionError(f"illegal base64 data at input byte {bad}")
    return base64.b64decode(re.sub(rb"[\r\n]", b"", data))


_BASE32 = re.compile(rb"[A-Z2-7]*")
_BASE64_DIGIT = re.compile(rb"[A-Za-z0-9+/]")
_LINE_BREAKS = re.compile(rb"[\r\n]*")


def _bad_base32(size: int, start: int, group: bytes, filled: int) -> int:
    """Where Go stops reading in the group at `start`, of which so many digits are good; -1 where it is well padded."""
    padding = group[filled:]
    if not padding:
        return start  # the end, and no padding
    after = size - start - filled - 1  # bytes behind the first that is no digit
    if padding[:1] != b"=" or filled < 2 or after >= 8:
        return start + filled
    if after + filled < 7:
        return size
    for offset, byte in enumerate(padding[1:]):
        if byte != 0x3D:
            return start + filled + offset
    return start + filled if filled in (3, 6) else -1


def _bad_base64(data: bytes) -> int:
    """Where Go stops reading; -1 where it reads all."""
    at, size = 0, len(data)
    while True:
        for filled in range(4):
            at = _skip(data, at)
            if at == size:
                return at - filled if filled else -1
            if not _BASE64_DIGIT.match(data, at):
                break
            at += 1
        else:
            continue
        if data[at : at + 1] != b"=" or filled < 2:
            return at
        if filled == 2:
            at = _skip(data, at + 1)
            if at == size:
                return at
            if data[at : at + 1] != b"=":
                return at - 1
        at = _skip(data, at + 1)
        return -1 if at == size else at


def _skip(data: bytes, at: int) -> int:
    found = _LINE_BREAKS.match(data, at)
    return found.end() if found else at


FUNCTIONS = dict(
    (
        declare("toJson", "any", to_json, walks=4, prints=True),
        declare("mustToJson", "any", must_to_json, walks=4, prints=True),
        declare("toPrettyJson", "any", to_pretty_json, walks=4, prints=True),
        declare("mustToPrettyJson", "any", must_to_pretty_json, walks=4, prints=True),
        declare("toRawJson", "any", to_raw_json, walks=4, prints=True),
        declare("mustToRawJson", "any", to_raw_json, walks=4, prints=True),
        declare("fromJson", "string", from_json, walks=4),
        declare("mustFromJson", "string", must_from_json, walks=4),
        declare("toYaml", "any", to_yaml, walks=4, prints=True),
        declare("fromYaml", "string", from_yaml, runtime=True),
        declare("b64enc", "string", encode_base64),
        declare("b64dec", "string", decode_base64, walks=4),
        declare("b32enc", "string", encode_base32, each=20),
        declare("b32dec", "string", decode_base32, walks=4),
    )
)
