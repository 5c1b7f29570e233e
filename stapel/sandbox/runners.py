"""The programs that start commands in a sandbox."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

from stapel.errors import StapelError
from stapel.programs import find_program

RunnerName: TypeAlias = Literal["bubblewrap", "runc", "crun"]

_PROGRAMS: dict[RunnerName, str] = {"bubblewrap": "bwrap", "runc": "runc", "crun": "crun"}

_ELSEWHERE = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"  # users have not all of them in PATH


class Runner(Struct, frozen=True):
    """A runner of this machine."""

    name: RunnerName
    path: str


def find_runner(name: RunnerName) -> Runner:
    """Where a runner is. `StapelError`."""
    program = _PROGRAMS[name]
    found = find_program(program, _ELSEWHERE)
    if found is None:
        raise StapelError(f"{name} is not found (the program {program})", hint=f"install the package {name}")
    return Runner(name, found)
