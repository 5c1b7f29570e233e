"""Go's quoted strings: read as in its source, written as `%q` writes them."""

from __future__ import annotations

import re
from typing import Final

from .values import text

_ESCAPES: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\"}
_ASCII: Final = {
    **{code: f"\\x{code:02x}" for code in (*range(32), 127)},
    **{ord(value): "\\" + name for name, value in _ESCAPES.items()},
    ord('"'): '\\"',
}
_OTHER: Final = re.compile("[^ !#-&(-~]")  # also the quotes, for a character may be in either
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\\"'])|x(?P<byte>[0-9a-fA-F]{2})|(?P<octal>[0-7]{3})"
    r"|u(?P<short>[0-9a-fA-F]{4})|U(?P<long>[0-9a-fA-F]{8})|(?P<bad>))"
)


def unquoted(literal: str) -> str:
    """The string that a literal in double quotes or back quotes means. Raises ValueError."""
    if literal[0] == "`":
        return literal[1:-1].replace("\r", "")
    inner = literal[1:-1]
    if "\\" not in inner:
        return inner
    parts: list[bytes] = []
    end = 0
    for match in _ESCAPE.finditer(inner):
        parts.append(inner[end : match.start()].encode("utf-8", "surrogateescape"))
        parts.append(_escaped(match, '"'))
        end = match.end()
    parts.append(inner[end:].encode("utf-8", "surrogateescape"))
    return text(b"".join(parts))


def character(literal: str) -> int:
    """The number that a literal in single quotes means. Raises ValueError."""
    inner = literal[1:-1]
    if not inner.startswith("\\"):
        if len(inner) != 1:
            raise ValueError(f"malformed character constant: {literal}" if inner else "invalid syntax")
        return 0xFFFD if "\udc80" <= inner <= "\udcff" else ord(inner)
    match = _ESCAPE.match(inner)
    if match is None:
        raise ValueError("invalid syntax")
    data = _escaped(match, "'")
    if match.end() != len(inner):
        raise ValueError(f"malformed character constant: {literal}")
    return data[0] if match["byte"] or match["octal"] else ord(data.decode())


def _escaped(match: re.Match[str], quote: str) -> bytes:
    if match["plain"] is not None:
        if match["plain"] in "\"'":
            if match["plain"] != quote:
                raise ValueError("invalid syntax")
            return quote.encode()
        return _ESCAPES[match["plain"]].encode()
    if match["byte"] is not None:
        return bytes([int(match["byte"], 16)])
    if match["octal"] is not None and int(match["octal"], 8) < 256:
        return bytes([int(match["octal"], 8)])
    code = match["short"] or match["long"]
    if code is None or 0xD800 <= int(code, 16) < 0xE000 or int(code, 16) > 0x10FFFF:
        raise ValueError("invalid syntax")
    return chr(int(code, 16)).encode()


def quoted(string: str, *, ascii_only: bool = False, quote: str = '"') -> str:
    """The string as `%q` writes it; `ascii_only` as `%+q`."""
    if string.isascii() and string.isprintable() and quote not in string and "\\" not in string:
        return quote + string + quote
    if quote == '"':
        string = string.translate(_ASCII)
        if string.isprintable() and (not ascii_only or string.isascii()):
            return quote + string + quote
    return quote + _OTHER.sub(lambda match: _quoted(match.group(), ascii_only, quote), string) + quote


def _quoted(char: str, ascii_only: bool, quote: str) -> str:
    code = ord(char)
    if code < 0x80:
        return char if quote == '"' else "\\'" if char == "'" else '"' if char == '"' else _ASCII.get(code, char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if char.isprintable() and not ascii_only:
        return char
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def back_quoted(string: str) -> str | None:
    """The string in back quotes, None where they cannot hold it."""
    plain = all(char == "\t" or (char >= " " and char not in "`\x7f\ufeff") for char in string)
    return f"`{string}`" if plain and not any("\ud800" <= char <= "\udfff" for char in string) else None
