"""The snapshots that runs use: a file a run, a line each. Who pins shares the lock of the store, who removes does not."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from stapel.runs import is_alive


class Pins:
    """The pins in the store of a home, those of one run among them. Thread-safe."""

    def __init__(self, home_dir: Path, store_dir: Path, run_id: str) -> None:
        self._home_dir = home_dir
        self._dir = store_dir / "pins"
        self._lock_path, self._own_path = f"{store_dir}/lock", f"{store_dir}/pins/{run_id}"
        self._run_id = run_id
        self._adding = threading.Lock()
        self._held: set[str] = set()

    def missing(self, snapshots: Iterable[str]) -> list[str]:
        """Those of these that this run has not pinned."""
        return [snapshot for snapshot in snapshots if snapshot not in self._held]

    def add(self, snapshots: Collection[str]) -> None:
        """Keep snapshots from being removed while this run lives."""
        with self._adding, self._locked(fcntl.LOCK_SH):
            with open(self._own_path, "ab", 0) as file:
                file.write("".join(f"{snapshot}\n" for snapshot in snapshots).encode())
            self._held.update(snapshots)

    def forget(self, snapshots: Collection[str]) -> None:
        """They are gone."""
        # Without the lock of who adds, which is taken before that of the store.
        self._held.difference_update(snapshots)

    def end(self) -> None:
        """End of this run: nothing is kept for it any more."""
        with suppress(FileNotFoundError):
            os.unlink(self._own_path)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody pin anything meanwhile."""
        with self._locked(fcntl.LOCK_EX):
            yield

    def of_others(self) -> set[str]:
        """The snapshots that other living runs use."""
        files = [path for path in self._dir.iterdir() if path.name != self._run_id and self.lives(path.name)]
        return read_pins(files)

    def left(self) -> list[Path]:
        """The files of runs that are gone."""
        return [path for path in self._dir.iterdir() if not self.lives(path.name)]

    def lives(self, run_id: str) -> bool:
        """Whether a run has not ended."""
        return run_id == self._run_id or is_alive(self._home_dir, run_id)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)


def read_pins(files: Sequence[Path]) -> set[str]:
    """The snapshots that runs use; a run that has ended meanwhile uses none."""
    found: set[str] = set()
    for path in files:
        with suppress(FileNotFoundError):
            found.update(path.read_text().split())
    return found
