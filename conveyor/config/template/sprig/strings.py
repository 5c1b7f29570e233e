"""Functions of sprig over whole texts."""

from __future__ import annotations

from conveyor.config.template.functions import FunctionError, check_elements, check_text, declare
from conveyor.config.template.sprig.casts import to_text
from conveyor.config.template.sprig.letters import SPACES
from conveyor.config.template.values import TypedList, TypedMap, Value, byte_length, joined, raw
from conveyor.config.template.values import text as as_text


def trim(text: str) -> str:
    """Without white space at both ends."""
    return text.strip(SPACES)


def trim_all(characters: str, text: str) -> str:
    """Without any of `characters` at both ends."""
    return text.strip(characters) if characters else text


def trim_suffix(suffix: str, text: str) -> str:
    """Without `suffix` at its end."""
    return text.removesuffix(suffix)


def trim_prefix(prefix: str, text: str) -> str:
    """Without `prefix` at its beginning."""
    return text.removeprefix(prefix)


def contains(part: str, text: str) -> bool:
    """Whether `part` stands anywhere in it."""
    return part in text


def has_prefix(prefix: str, text: str) -> bool:
    """Whether it begins so."""
    return text.startswith(prefix)


def has_suffix(suffix: str, text: str) -> bool:
    """Whether it ends so."""
    return text.endswith(suffix)


def trunc(count: int, text: str) -> str:
    """The first `count` bytes; the last ones where `count` is negative."""
    octets = raw(text)
    if count >= 0:
        return as_text(octets[:count]) if len(octets) > count else text
    return as_text(octets[count:]) if len(octets) + count > 0 else text


def substr(start: int, end: int, text: str) -> str:
    """Bytes `start` to `end`: from the first where `start` is negative, to the last where `end` is negative or too large."""
    octets = raw(text)
    size = len(octets)
    if start < 0:
        if end < 0:
            raise FunctionError(f"runtime error: slice bounds out of range [:{end}]")
        if end > size:
            raise FunctionError(f"runtime error: slice bounds out of range [:{end}] with length {size}")
        return as_text(octets[:end])
    end = size if end < 0 or end > size else end
    if start > end:
        raise FunctionError(f"runtime error: slice bounds out of range [{start}:{end}]")
    return as_text(octets[start:end])


def repeat(count: int, text: str) -> str:
    """`count` times."""
    if count < 0:
        raise FunctionError("strings: negative Repeat count")
    check_text(count * byte_length(text))
    return text * count


def replace(old: str, new: str, text: str) -> str:
    """Every `old` as `new`; "" stands before every character and at the end."""
    found = text.count(old)
    check_text(byte_length(text) + found * (byte_length(new) - byte_length(old)))
    return joined(text.replace(old, new))


def indent(spaces: int, text: str) -> str:
    """Every line behind so many spaces."""
    if spaces < 0:
        raise FunctionError("strings: negative Repeat count")
    check_text(spaces)
    check_text(byte_length(text) + spaces * (text.count("\n") + 1))
    pad = " " * spaces
    return pad + text.replace("\n", "\n" + pad)


def nindent(spaces: int, text: str) -> str:
    """As `indent`, behind a line break."""
    return "\n" + indent(spaces, text)


def plural(one: str, many: str, count: int) -> str:
    """`one` where there is one."""
    return one if count == 1 else many


def quote(*values: Value) -> str:
    """Texts in double quotes with Go's escapes, nil left out."""
    from conveyor.config.template.quoting import quoted

    return _join(" ", [quoted(to_text(value)) for value in values if value is not None])


def squote(*values: Value) -> str:
    """Texts in single quotes, nothing escaped, nil left out."""
    return _join(" ", [f"'{to_text(value)}'" for value in values if value is not None])


def cat(*values: Value) -> str:
    """Texts with blanks between them, nil left out."""
    return _join(" ", [to_text(value) for value in values if value is not None])


def split(separator: str, text: str) -> TypedMap:
    """The pieces between separators as a map: `_0`, `_1` and so on."""
    return _numbered(_pieces(separator, text))


def splitn(separator: str, count: int, text: str) -> TypedMap:
    """As `split`, at most `count` pieces; the last one holds the rest."""
    if count == 0:
        return _numbered([])
    if count < 0:
        return split(separator, text)
    return _numbered(_pieces(separator, text, count))


def split_list(separator: str, text: str) -> TypedList:
    """The pieces between separators; its characters where the separator is ""."""
    return TypedList(_pieces(separator, text))


def _pieces(separator: str, text: str, count: int = 0) -> list[str]:
    if separator:
        check_elements(text.count(separator) + 1)
        return text.split(separator, count - 1)
    check_elements(len(text))
    if 0 < count < len(text):
        return [*text[: count - 1], text[count - 1 :]]
    return list(text)


def _numbered(pieces: list[str]) -> TypedMap:
    return TypedMap({f"_{index}": piece for index, piece in enumerate(pieces)})


def _join(separator: str, texts: list[str]) -> str:
    check_text(sum(map(len, texts)))
    return joined(separator.join(texts))


def hello() -> str:
    """A greeting; sprig has it."""
    return "Hello!"


FUNCTIONS = dict(
    (
        declare("trim", "string", trim),
        declare("trimAll", "string string", trim_all, walks=1, each=10),
        declare("trimall", "string string", trim_all, walks=1, each=10),
        declare("trimSuffix", "string string", trim_suffix),
        declare("trimPrefix", "string string", trim_prefix),
        declare("contains", "string string", contains),
        declare("hasPrefix", "string string", has_prefix),
        declare("hasSuffix", "string string", has_suffix),
        declare("trunc", "int string", trunc),
        declare("substr", "int int string", substr),
        declare("repeat", "int string", repeat),
        declare("replace", "string string string", replace),
        declare("indent", "int string", indent),
        declare("nindent", "int string", nindent),
        declare("plural", "string string int", plural),
        declare("quote", "any...", quote, each=25, prints=True, walks=2),
        declare("squote", "any...", squote, each=25, prints=True, walks=1),
        declare("cat", "any...", cat, each=25, prints=True, walks=1),
        declare("split", "string string", split),
        declare("splitn", "string int string", splitn),
        declare("splitList", "string string", split_list),
        declare("toString", "any", to_text, walks=1, prints=True),
        declare("hello", "", hello),
    )
)
