"""Output of commands, cut anywhere, as lines that can be shown: partial lines joined, overwritten text and control gone."""

from __future__ import annotations

import re
from typing import Literal

LINE_LIMIT = 64 * 1024  # bytes of one line that are held

_COLOR = r"\x1b\[[0-9;:]*m"
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC, DCS and kin: titles, links
    r"|\x1b[ -/]*[0-~]?"  # the other escape sequences
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]",
    re.DOTALL,
)


def strip_control(text: str, *, keep_colors: bool = False) -> str:
    """One line of text without control sequences and control characters, tabs excepted.

    With `keep_colors` the sequences that set colours stay, and such a line ends with their reset.
    """
    if text.isprintable() or not _CONTROL.search(text):
        return text
    if not keep_colors:
        return _CONTROL.sub("", text)
    colored = False

    def keep(match: re.Match[str]) -> str:
        nonlocal colored
        if re.fullmatch(_COLOR, match[0]):
            colored = True
            return match[0]
        return ""

    return _CONTROL.sub(keep, text) + ("\x1b[0m" if colored else "")


class LineBuffer:
    """Joins chunks of bytes to lines of text, in bounded memory.

    A line ends with a line feed. Of text that carriage returns overwrite the last is the line. Bytes that are no UTF-8 turn
    into U+FFFD. A line of more than `limit` bytes comes out in pieces (`long`: "split") or as its start and `…` ("cut").
    """

    __slots__ = ("_cutting", "_held", "_limit", "_long")

    def __init__(self, limit: int = LINE_LIMIT, long: Literal["split", "cut"] = "split") -> None:
        self._held = bytearray()
        self._limit = limit
        self._long = long
        self._cutting = False  # the rest of a line that came out is thrown away

    def feed(self, data: bytes) -> list[str]:
        """The lines that `data` completes."""
        lines: list[str] = []
        *complete, rest = data.split(b"\n")
        for part in complete:
            if not self._held and not self._cutting and len(part) <= self._limit:
                lines.append(_text(part))
                continue
            self._add(part, lines)
            if self._cutting:
                self._cutting = False
            else:
                lines.append(_text(bytes(self._held)))
            self._held.clear()
        self._add(rest, lines)
        return lines

    def flush(self) -> list[str]:
        """What is held, as a last line; none where nothing is."""
        lines = [_text(bytes(self._held))] if self._held else []
        self._held.clear()
        self._cutting = False
        return lines

    def partial(self) -> str:
        """The line that is not complete yet, as far as it is known."""
        return _text(bytes(self._held))

    def _add(self, part: bytes, lines: list[str]) -> None:
        if self._cutting:
            # A carriage return starts the line anew; it was shown already, and stays shown.
            return
        self._held += part
        if b"\r" in self._held:
            overwritten = self._held.rstrip(b"\r").rfind(b"\r")
            del self._held[: overwritten + 1]
        if len(self._held) <= self._limit:
            return
        if self._long == "cut":
            lines.append(_text(_whole(self._held[: self._limit])) + "…")
            self._held.clear()
            self._cutting = True
            return
        start = 0
        while len(self._held) - start > self._limit:
            piece = _whole(self._held[start : start + self._limit])
            lines.append(_text(piece))
            start += len(piece)
        del self._held[:start]


def _whole(piece: bytearray) -> bytes:
    """A piece without the character that its end cuts in two."""
    for back in range(1, min(4, len(piece))):
        byte = piece[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return bytes(piece[:-back]) if back < length else bytes(piece)
        if byte < 0x80:
            break
    return bytes(piece)


def _text(line: bytes) -> str:
    if b"\r" in line:
        line = line.rstrip(b"\r").rpartition(b"\r")[2]
    return line.decode("utf-8", "replace")
