"""Pipes between this process and a worker, for layers."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

PIPE_BYTES = 1 << 20


def make_pipe() -> tuple[int, int]:
    """A pipe that holds a piece of a layer: its reader goes on while its writer makes the next one. Both ends are ours."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with suppress(PermissionError):  # this user has many pipes
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reading, writing
