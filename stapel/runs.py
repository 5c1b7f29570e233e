"""A run: an id that everything it starts carries, and a file lock that tells others that it is alive.

The lock is the kernel's (flock): it is free the moment the process is gone, however it went. What carries the id of a run
whose lock is free was left behind, and is removed by the next run on this machine.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from sys import audit as trace

from msgspec import Struct

_ID_DIGITS = 12


class Run(Struct, frozen=True):
    """This run's id: 12 hexadecimal digits."""

    id: str


@contextmanager
def open_run(home_dir: Path) -> Iterator[Run]:
    """A new run, alive until the context ends. `OSError` where the home cannot be written to."""
    directory = _directory(home_dir)
    directory.mkdir(parents=True, exist_ok=True)
    _remove_dead(directory)
    run, path, handle = _begin(directory)
    try:
        trace("run.after-lock")
        yield run
    finally:
        trace("run.before-unlock")
        path.unlink(missing_ok=True)
        os.close(handle)
        trace("run.after-unlock")


@contextmanager
def open_run_directory(home_dir: Path, run: Run, parent: Path) -> Iterator[Path]:
    """A directory below `parent` that goes with a run; those that killed runs of this home left go first."""
    prefix = f"conveyor-{home_label(home_dir)}-"
    # Sockets, whose names must be short, are elsewhere where `parent` has a long one.
    for place in {parent, find_temporary(), Path("/tmp")}:  # noqa: S108 -- nothing is made there
        for name in os.listdir(place) if place.is_dir() else ():
            run_id = name[len(prefix) : len(prefix) + _ID_DIGITS]
            if name.startswith(prefix) and not is_alive(home_dir, run_id):
                _remove(place / name)
    directory = parent / f"{prefix}{run.id}-{os.urandom(4).hex()}"
    directory.mkdir(mode=0o700)
    try:
        trace("run-directory.after-make")
        yield directory
        trace("run-directory.before-remove")
    finally:
        _remove(directory)


def find_temporary() -> Path:
    """The place of temporary files, as `tempfile` finds it, whose import takes longer than the rest of a run's beginning."""
    named = next((value for name in ("TMPDIR", "TEMP", "TMP") if (value := os.environ.get(name))), "/tmp")  # noqa: S108
    place = Path(named).absolute()
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        return place
    import tempfile

    return Path(tempfile.gettempdir())


def _remove(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:  # something is in it
        from shutil import rmtree

        rmtree(directory, ignore_errors=True)


def _begin(directory: Path) -> tuple[Run, Path, int]:
    """A run and its lock, held. A lock file that somebody took for a dead run's before it was held is made anew."""
    while True:
        trace("run.before-lock")
        run = Run(os.urandom(_ID_DIGITS // 2).hex())
        path = directory / f"{run.id}.lock"
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return run, path, handle
        os.close(handle)


def _remove_dead(directory: Path) -> None:
    """Remove the lock files of killed runs."""
    for path in directory.glob("*.lock"):
        with suppress(OSError):
            handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(handle)


def is_alive(home_dir: Path, run_id: str) -> bool:
    """Whether a run of this home still lives; compare `home_label` first, for runs of other homes are not known here."""
    return is_locked(_directory(home_dir) / f"{run_id}.lock")


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file; False too where the file is not there or may not be opened."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def living_runs(home_dir: Path, but: str) -> list[str]:
    """The other runs of this home that live."""
    names = [path.name.removesuffix(".lock") for path in _directory(home_dir).glob("*.lock")]
    return sorted(name for name in names if name != but and is_alive(home_dir, name))


def home_label(home_dir: Path) -> str:
    """What tells the runs of this home from those of another one: a name of the directory on this machine."""
    import hashlib

    return hashlib.sha256(f"{os.uname().nodename}:{home_dir.resolve()}".encode()).hexdigest()[:16]


def _directory(home_dir: Path) -> Path:
    return home_dir / "runs"
