"""Programs of this machine. (`shutil.which`, without the archives that `shutil` imports, which take longer than looking.)"""

from __future__ import annotations

import os


def find_program(name: str, directories: str) -> str | None:
    """The path of a program in the first of these directories (as `PATH` has them) that has it; None where none has."""
    for directory in directories.split(os.pathsep):
        path = f"{directory}/{name}"
        if directory and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None
