"""Where a file system puts new directories."""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress

_GET_FLAGS, _SET_FLAGS = 0x80086601, 0x40086602
_TOP_DIRECTORY = 0x00020000
_FLAGS = struct.Struct("l")


def scatter(directory: str) -> None:
    """Let directories that will be made in this one stand apart from it and from one another, where that can be said.

    (`chattr +T`.) ext4 puts a new directory and its files beside its parent, and there it passes over the place of each file
    that was removed within the last minutes, one by one. Where much is made and removed, that is most of what making takes.
    """
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # another file system
            (flags,) = _FLAGS.unpack(fcntl.ioctl(place, _GET_FLAGS, bytes(_FLAGS.size)))
            fcntl.ioctl(place, _SET_FLAGS, _FLAGS.pack(flags | _TOP_DIRECTORY))
    finally:
        os.close(place)
