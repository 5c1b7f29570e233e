"""Writing a file as a whole: who reads it sees the old one or the new one. Imports next to nothing."""

from __future__ import annotations

import fcntl
import os
import stat
from sys import audit as trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


def replace_file(path: str, data: bytes) -> None:
    """Have `data` in a file, mode 0644, by one rename; missing directories are made, a link stays and leads to the new file.

    `OSError` leaves the file as it was. A pipe or a device is written to.
    """
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        with open(path, "wb") as there:
            there.write(data)
        return
    target, unfinished = os.path.realpath(path), unfinished_path(path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with _open_alone(unfinished) as file:
        try:
            file.write(data)
            file.truncate()
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            trace("file.before-rename")
            os.replace(unfinished, target)
            trace("file.after-rename")
        except BaseException:
            if os.path.exists(unfinished):
                os.unlink(unfinished)
            raise


def unfinished_path(path: str) -> str:
    """Where a file is written before it gets its name: one place, so what a killed run left there is used again."""
    directory, name = os.path.split(os.path.realpath(path))
    return os.path.join(directory, f".{name[:200]}.tmp")


def _open_alone(path: str) -> BinaryIO:
    """A file that is ours until it is closed, others wait; made where it is not there."""
    while True:
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")
        except PermissionError:
            os.unlink(path)  # another user's, who was killed
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            return file  # a file system without locks
        try:
            if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                return file
        except FileNotFoundError:
            pass
        file.close()  # it has got its name meanwhile
