"""What a run makes in an engine and has not named yet, noted before: the next run finds it if this one is killed.

Containers, and what is committed from them, carry labels. An image that is loaded cannot, for its configuration is the
stage's, and a tag has none. So these are lines of a file below the home, which goes when all of them are settled. A file
of a run that is not alive says that there is something to remove: after an orderly run the next one asks nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from msgspec import Struct

from stapel.runs import is_alive

Kind: TypeAlias = Literal["image", "tag", "container"]
_KINDS: dict[str, Kind] = {"image": "image", "tag": "tag", "container": "container"}


class Note(Struct, frozen=True):
    """A thing and its name in the engine: an image's id, `repository:tag`, a container's name."""

    kind: Kind
    name: str


class Ledger:
    """The notes of one run about one engine. Thread-safe."""

    def __init__(self, home_dir: Path, run_id: str, endpoint: str) -> None:
        self._path = home_dir / "runs" / f"{run_id}{_suffix(endpoint)}"
        self._lock = threading.Lock()
        self._begun = False
        self._open: dict[Note, None] = {}

    def begin(self) -> None:
        """Have a file from now on: something is made that carries the run's labels. `OSError`."""
        with self._lock:
            if not self._begun:
                self._append("")

    def note(self, kind: Kind, name: str) -> None:
        """Something is about to be made. `OSError`."""
        note = Note(kind, name)
        with self._lock:
            if note not in self._open:
                self._append(f"{kind} {name}\n")
                self._open[note] = None

    def settle(self, kind: Kind, name: str) -> None:
        """It has a name that stays, or is gone."""
        with self._lock:
            self._open.pop(Note(kind, name), None)

    def open_notes(self) -> tuple[Note, ...]:
        """What was noted and is not settled."""
        with self._lock:
            return tuple(self._open)

    def end(self) -> None:
        """All is settled: nothing is left for a later run."""
        with self._lock:
            if self._begun:
                self._path.unlink(missing_ok=True)
                self._begun = False

    def _append(self, line: str) -> None:
        self._begun = True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.write(line)


class Left(Struct, frozen=True):
    """What a killed run has noted. `path` is to be unlinked when it is removed."""

    path: Path
    run_id: str
    notes: tuple[Note, ...]


def find_left(home_dir: Path, endpoint: str) -> Iterator[Left]:
    """The ledgers of runs of this home, about this engine, that are gone."""
    directory, suffix = home_dir / "runs", _suffix(endpoint)
    try:
        names = os.listdir(directory)
    except OSError:
        return
    for name in names:
        run_id = name.removesuffix(suffix)
        if run_id != name and not is_alive(home_dir, run_id):
            path = directory / name
            try:
                lines = path.read_text().split("\n")
            except OSError:
                continue  # somebody else has removed what it tells of
            pairs = [line.partition(" ")[::2] for line in lines[:-1]]
            yield Left(path, run_id, tuple(Note(_KINDS[kind], text) for kind, text in pairs if kind in _KINDS))


def _suffix(endpoint: str) -> str:
    import hashlib

    return f".docker-{hashlib.sha256(endpoint.encode()).hexdigest()[:8]}"
