"""A shell in a build container of the sandbox, on the user's terminal."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from contextlib import ExitStack, suppress

from stapel.sandbox.cell import Cell
from stapel.terminal import has_terminal, raw_terminal, write_all

_CHUNK = 1 << 16
_LOOK_AT_SIZE_S = 0.5


class ShellTerminal:
    """What a shell has for stdin, stdout and stderr: a terminal of its own where the user has one, else ours as they are."""

    def __init__(self, resources: ExitStack) -> None:
        self._ours: int | None = None
        self._size: os.terminal_size | None = None
        if not has_terminal():
            self.files = (0, 1, 2)
            return
        self._ours, theirs = os.openpty()
        resources.callback(os.close, self._ours)
        self.files = (theirs, theirs, theirs)
        self._theirs = theirs
        self._follow_size()

    @property
    def is_own(self) -> bool:
        """Whether it has a terminal."""
        return self._ours is not None

    def begin(self) -> None:
        """The worker has the files."""
        if self._ours is not None:
            os.close(self._theirs)

    def pass_on(self, cell: Cell) -> None:
        """Pass bytes both ways until the worker answers."""
        if self._ours is None:
            return
        os.set_blocking(self._ours, False)
        typed = b""
        with raw_terminal():
            while True:
                self._follow_size()
                sources = [self._ours, cell.fileno(), *([] if typed else [0])]
                ready, open_to, _ = select.select(sources, [self._ours] if typed else [], [], _LOOK_AT_SIZE_S)
                if self._ours in ready and self._show():
                    continue
                if cell.fileno() in ready:
                    while self._show():
                        pass
                    return
                if open_to:
                    with suppress(BlockingIOError):
                        typed = typed[os.write(self._ours, typed) :]
                if 0 in ready:
                    typed = os.read(0, _CHUNK)

    def _show(self) -> bool:
        """Show what the shell says; False where it says nothing more."""
        assert self._ours is not None
        try:
            data = os.read(self._ours, _CHUNK)
        except OSError:  # nobody has the other end any more
            return False
        write_all(1, data)
        return bool(data)

    def _follow_size(self) -> None:
        """A shell may be open in any thread, where no signal comes."""
        assert self._ours is not None
        size = os.get_terminal_size(1)
        if size != self._size:
            self._size = size
            fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
