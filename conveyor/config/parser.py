"""PyYAML's parser: events of one document. libyaml's where it is there, else the Python one taught libyaml's tabs."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml

_BLOCK_HEADER = re.compile(r"[|>][-+0-9]*([ \t]*\t[ \t]*)")


def open_parser(text: str) -> Any:  # noqa: ANN401 - the two parsers share no type, only `get_event` and `dispose`
    """A parser of `text` with `get_event() -> yaml.Event` (raises `yaml.YAMLError`) and `dispose()`."""
    if yaml.__with_libyaml__:
        from yaml._yaml import CParser

        return CParser(text)
    return python_parser()(text)


@cache
def python_parser() -> type[Any]:
    """The Python parser, with tabs read as libyaml reads them.

    PyYAML's own scanner takes only spaces for white space inside a line: it refuses a tab between a value and a comment.
    The scanner is the one place that knows whether a tab stands in quotes or a block, so it is mended there.
    """
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class TabScanner(Scanner):
        def scan_to_next_token(self) -> None:
            scanner: Any = self  # the reader's methods come from the class that mixes both
            super().scan_to_next_token()
            while scanner.peek() == "\t" and (scanner.flow_level or not scanner.allow_simple_key):
                while scanner.peek() in " \t":
                    scanner.forward()
                super().scan_to_next_token()

        def scan_plain_spaces(self, indent: Any, start_mark: Any) -> Any:  # noqa: ANN401 - the signature of PyYAML
            scanner: Any = self
            length = 0
            while scanner.peek(length) in " \t":
                length += 1
            if scanner.peek(length) in "\0\r\n\x85\u2028\u2029":
                scanner.forward(length)
                return super().scan_plain_spaces(indent, start_mark)
            blanks = scanner.prefix(length)
            scanner.forward(length)
            return [blanks] if blanks else []

        def scan_block_scalar(self, style: Any) -> Any:  # noqa: ANN401 - the signature of PyYAML
            reader: Any = self
            header = _BLOCK_HEADER.match(reader.buffer, reader.pointer)
            if header:
                start, end = header.span(1)
                reader.buffer = reader.buffer[:start] + " " * (end - start) + reader.buffer[end:]
            return super().scan_block_scalar(style)

    class TabParser(Reader, TabScanner, Parser):
        def __init__(self, text: str) -> None:
            Reader.__init__(self, text)
            TabScanner.__init__(self)
            Parser.__init__(self)

    return TabParser
