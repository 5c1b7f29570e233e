"""The text of a configuration: bytes -> characters, and where each of them stands."""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import accumulate

from msgspec import Struct

from conveyor.errors import ConfigError, Place, Problem

_FORBIDDEN = r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_FORBIDDEN_IN_ASCII = r"[^\t\n\r\x20-\x7e]"
MAX_LINES = 1_000_000
MAX_DOCUMENTS = 20_000
_MINIMAL = "a configuration starts with a document that holds `configVersion: 1` and `project: NAME`"


class Source(Struct, frozen=True):
    """A configuration as text. `line_starts` holds the offset (in characters) of every line."""

    file: str
    text: str
    line_starts: tuple[int, ...]

    def place(self, offset: int) -> Place:
        """The place of a character; offsets count from 0, over all documents."""
        line = bisect_right(self.line_starts, offset)
        return Place(self.file, line, offset - self.line_starts[line - 1] + 1)


def read_source(content: bytes, file: str, *, minimal: str = _MINIMAL) -> Source:
    """The text of `content`, a leading byte order mark removed. `minimal` says what the least is that it must hold.

    `ConfigError` where it is not UTF-8 or holds characters that YAML forbids, and where it is empty.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _error(Place(file), "the file is UTF-16", "save it as UTF-8")
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        good = content[: error.start].decode()
        message = f"the file is not UTF-8: byte 0x{content[error.start]:02x} cannot stand here"
        raise _error(_source(file, good).place(len(good)), message, "save it as UTF-8") from None
    for what, most in (("lines", MAX_LINES), ("documents", MAX_DOCUMENTS)):
        count = text.count("\n" if what == "lines" else "\n---")
        if count > most:
            raise _error(Place(file), f"the file has {count} {what}, and at most {most} are read", "split it")
    source = _source(file, text)
    # The longer one takes milliseconds to be compiled, and most texts need it not.
    forbidden = re.search(_FORBIDDEN_IN_ASCII if text.isascii() else _FORBIDDEN, text)
    if forbidden:
        message = f"the character U+{ord(forbidden[0]):04X} is not allowed in YAML"
        raise _error(source.place(forbidden.start()), message, "remove it, or write it as an escape in double quotes")
    if not text or text.isspace():
        raise _error(Place(file), "the file is empty", minimal)
    return source


def _source(file: str, text: str) -> Source:
    starts = accumulate((len(line) + 1 for line in text.split("\n")), initial=0)
    return Source(file, text, tuple(starts)[:-1])


def _error(place: Place, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(place, message, hint)])
