"""A multi-document text is cut before YAML is parsed, so that a mistake in one document does not hide the others.

A separator is a line that starts with `---` and has only blanks or a comment after it. Anchors therefore never reach over
a separator. Documents of blank lines and comments alone are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct

_SEPARATOR = re.compile(r"^---[ \t\r]*(?:#[^\n]*)?$\n?", re.MULTILINE)
_CONTENT = re.compile(r"^[ \t\r]*[^ \t\r\n#]", re.MULTILINE)


class Document(Struct, frozen=True):
    """One document: its text without separators, and the offset (in characters) of its first character in the file."""

    text: str
    offset: int


def split_documents(text: str) -> Iterator[Document]:
    """The documents of a text, in order, empty ones left out."""
    start = 0
    for separator in _SEPARATOR.finditer(text):
        yield from _document(text, start, separator.start())
        start = separator.end()
    yield from _document(text, start, len(text))


def _document(text: str, start: int, end: int) -> Iterator[Document]:
    piece = text[start:end]
    if _CONTENT.search(piece):
        yield Document(piece, start)
