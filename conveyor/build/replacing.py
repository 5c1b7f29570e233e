"""Writing a file as a whole: who reads it sees the old one or the new one. Imports next to nothing."""

from __future__ import annotations

import fcntl
import os
import stat
from sys import audit as trace


def replace_file(path: str, data: bytes) -> None:
    """Have `data` in a file, mode 0644, by one rename; missing directories are made, a link stays and leads to the new file.

    `OSError` leaves the file as it was. A pipe or a device is written to. Who writes a file that is being written waits.
    """
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        with open(path, "wb") as there:
            there.write(data)
        return
    unfinished = unfinished_path(path)
    os.makedirs(os.path.dirname(unfinished), exist_ok=True)
    handle = _open_alone(unfinished)
    try:
        with open(handle, "wb", closefd=False) as file:
            file.write(data)
        os.ftruncate(handle, len(data))
        os.fchmod(handle, 0o644)
        trace("replace.before-rename")
        os.replace(unfinished, os.path.realpath(path))
        trace("replace.after-rename")
    except BaseException:
        os.unlink(unfinished)
        raise
    finally:
        os.close(handle)


def unfinished_path(path: str) -> str:
    """Where a file is written before it gets its name: one place, so what a killed run left there is used again."""
    directory, name = os.path.split(os.path.realpath(path))
    return os.path.join(directory, f".{name[:200]}.tmp")


def _open_alone(path: str) -> int:
    """A file that is ours until it is closed, others wait; made where it is not there."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except PermissionError:
            os.unlink(path)  # another user's, who was killed
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            return handle  # a file system without locks
        try:
            if os.path.samestat(os.stat(path), os.fstat(handle)):
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)  # it has become somebody's file meanwhile
