"""Where views write: a stream that may be closed, full or of another encoding, and must never stop a build."""

from __future__ import annotations

import contextlib
import os
from typing import TextIO


class Output:
    """Writes text at once, or not at all any more once its reader is gone. Never raises."""

    __slots__ = ("_encoding", "_fd", "_lost", "_stream")

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._lost = False
        self._fd = -1
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._fd = stream.fileno()

    @property
    def fd(self) -> int:
        """The descriptor; -1 where the stream has none."""
        return self._fd

    def write(self, text: str) -> None:
        """Write all of it; characters that the stream's encoding does not have become `?`."""
        if self._lost:
            return
        data = text.encode(self._encoding, "replace")
        try:
            if self._fd < 0:
                self._stream.write(data.decode(self._encoding))
                self._stream.flush()
                return
            self._stream.flush()  # what others wrote comes first
            self._write_all(data)
        except (OSError, ValueError):
            self._lose()

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:  # somebody made the shared descriptor non-blocking
                import select

                select.select([], [self._fd], [])

    def _lose(self) -> None:
        self._lost = True
        # Python flushes its streams at exit and changes the exit status when that fails: give it a place to flush to.
        with contextlib.suppress(OSError, ValueError):
            if self._fd in (1, 2):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._fd)
                os.close(null)
