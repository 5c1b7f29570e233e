"""The user's terminal, lent to a shell in a build container."""

from __future__ import annotations

import os
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager


def has_terminal() -> bool:
    """Whether a person sits before our stdin and stdout."""
    return os.isatty(0) and os.isatty(1)


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Every key is passed on as it is; nothing is changed where there is no terminal."""
    if not has_terminal():
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def write_all(stream: int, data: bytes) -> None:
    """Write to a descriptor, however much it takes at once."""
    while data:
        data = data[os.write(stream, data) :]
