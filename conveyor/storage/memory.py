"""Files of what never changes, written by any number of processes: whole or not there; nothing is left of a killed one."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from sys import audit as trace


def write_once(path: Path, data: bytes) -> None:
    """Have a file with these bytes; all who write it write the same. `OSError`.

    The file gets its name when it is complete, and had none before. Where a file system has no such files, it is filled
    under one name for all, and who reads half a file takes it for none.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        handle = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=directory)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            trace("memory.before-name")
            _link(handle, path, directory)
            trace("memory.after-name")
    except OSError:
        _write_aside(path, data)
    finally:
        os.close(directory)


def _link(handle: int, path: Path, directory: int) -> None:
    for _ in range(2):
        with suppress(FileExistsError):
            os.link(f"/proc/self/fd/{handle}", path.name, dst_dir_fd=directory, follow_symlinks=True)
            return
        # Somebody else's, or what a crash of the machine has left of one.
        path.unlink(missing_ok=True)


def _write_aside(path: Path, data: bytes) -> None:
    aside = path.with_name(f".{path.name}")
    aside.write_bytes(data)
    trace("memory.before-rename")
    aside.replace(path)
