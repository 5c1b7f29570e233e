"""The last lines of a log, for the failure that ends it."""

from __future__ import annotations

from collections import deque

from conveyor.events.lines import LineBuffer, strip_control

LINE_LIMIT = 4096
LINES = 20


class Tail:
    """Takes the bytes of a log and keeps its last `lines` lines, each cut at 4 KiB: memory is bounded whatever comes.

    Not thread-safe: one for a log.
    """

    __slots__ = ("_buffer", "_lines")

    def __init__(self, lines: int = LINES) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self._buffer = LineBuffer(LINE_LIMIT, "cut")

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        end = len(data)
        for _ in range((self._lines.maxlen or 0) + 1):
            end = data.rfind(b"\n", 0, end)
            if end < 0:
                break
        else:  # what stands before is no longer among the last lines
            self._buffer.flush()
            data = data[end + 1 :]
        self._lines.extend(self._buffer.feed(data))

    def lines(self) -> tuple[str, ...]:
        """The last lines, oldest first, without control sequences; the unfinished one is among them."""
        partial = self._buffer.partial()
        kept = [*self._lines, partial] if partial else list(self._lines)
        return tuple(strip_control(line) for line in kept[-(self._lines.maxlen or 0) :])
