"""Programs of this machine. (`shutil.which`, without the archives that `shutil` imports, which take longer than looking.)"""

from __future__ import annotations

import os


def find_program(name: str, elsewhere: str = "") -> str | None:
    """The path of a program: in `PATH`, else in these directories (as `PATH` has them); None where it is in none."""
    for directory in [*os.environ.get("PATH", "").split(os.pathsep), *elsewhere.split(os.pathsep)]:
        path = f"{directory}/{name}"
        if directory and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None
