"""Names of stages that a home has seen, noted line by line in files to which any number of processes append.

A line is written by one call, so it is whole or not there; what cannot be written is not noted, and costs the next run a
question or a reason that it tells less well. (A file a stage, instead, would be three of the ten that storing it makes.)
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from conveyor.keys.key import hash_value
from conveyor.storage.names import StageName, parse_stage_name

KEPT = 16
_MOST_BYTES = 64 * 128  # then the file is written anew, with the last ones


class Predecessors:
    """The latest stored stages of each stage of an image, a file each: with them one that has to be built is compared.

    To read the labels of all stages of a store for that would cost more than all else that a build of one stage costs.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self, project: str, image: str, stage: str) -> list[StageName]:
        """The stages that were noted last, newest first. They may be gone by now."""
        return _latest(_read(self._of(project, image, stage)))

    def note(self, project: str, image: str, stage: str, name: StageName) -> None:
        """Note a stage, and forget those that have become too many."""
        path = self._of(project, image, stage)
        if _append(path, str(name)) <= _MOST_BYTES:
            return
        aside = f"{path}.{os.getpid()}"
        with suppress(OSError):
            with open(aside, "w") as file:
                file.write("".join(f"{kept}\n" for kept in reversed(_latest(_read(path)))))
            os.replace(aside, path)

    def _of(self, project: str, image: str, stage: str) -> str:
        return f"{self._directory}/{hash_value([project, image, stage])[:16]}"


class Seen:
    """All stages of a store that were named or read from here."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def note(self, name: StageName) -> None:
        """Note a stage."""
        _append(f"{self._directory}/{name.digest[:2]}", str(name))

    def has(self, digest: str) -> bool:
        """Whether a stage of a digest was noted."""
        return any(line.startswith(f"{digest}-") for line in _read(f"{self._directory}/{digest[:2]}"))


def _latest(lines: list[str]) -> list[StageName]:
    return sorted(set(filter(None, map(parse_stage_name, lines))), reverse=True)[:KEPT]


def _read(path: str) -> list[str]:
    try:
        with open(path, errors="replace") as file:
            return file.read().split("\n")
    except OSError:
        return []


def _append(path: str, line: str) -> int:
    """Append a line; how long the file is now, 0 where it cannot be written."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            file = os.open(path, flags, 0o644)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            file = os.open(path, flags, 0o644)
        try:
            os.write(file, f"{line}\n".encode())
            return os.lseek(file, 0, os.SEEK_END)
        finally:
            os.close(file)
    except OSError:
        return 0
