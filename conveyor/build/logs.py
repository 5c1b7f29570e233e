"""What the commands of stages said, kept beside the stages: it can be read for a stage that is used years later.

    HOME/logs/<digest>-<8 hex>           of a stage that was built here: its name without the timestamp
    HOME/logs/<digest>-failed            of the last build of a stage that failed
    HOME/logs/running/<digest>-<8 hex>   of a stage that is being built; who builds it holds the file's lock

A log stands under the name of its stage before the stage does, so there is no moment at which a stage is found without it.
A disk that takes no more costs the log, never the build.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from conveyor.storage.names import StageName, stage_name

_FAILED, _RUNNING = "failed", "running"

_looked_through: set[Path] = set()  # by this process: where killed builds may have left logs


class StepLog:
    """The log of one stage while it is built, locked. Used by one thread at a time."""

    def __init__(self, directory: Path, digest: str) -> None:
        self._directory = directory
        self._digest = digest
        self._file = -1
        self._path: Path | None = None

    def open(self) -> None:
        """Have the file, for a step that may say nothing."""
        if self._path is not None:
            return
        running = self._directory / _RUNNING
        try:
            running.mkdir(parents=True, exist_ok=True)
            self._path = running / f"{self._digest}-{os.urandom(4).hex()}"
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
        except OSError:
            return
        if running not in _looked_through:
            _looked_through.add(running)
            _remove_left(running)

    def write(self, data: bytes) -> None:
        """Take a piece of output."""
        self.open()
        with suppress(OSError):
            while data and self._file >= 0:
                data = data[os.write(self._file, data) :]

    def keep(self, image_digest: str) -> None:
        """The stage is an image of this digest from now on."""
        self._move(log_name(stage_name(self._digest, 0, image_digest)))

    def keep_failed(self) -> None:
        """The stage has failed."""
        self._move(f"{self._digest}-{_FAILED}")

    def discard(self) -> None:
        """Nobody will ask for it."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._close()

    def _move(self, name: str) -> None:
        if self._path is None:
            return
        with suppress(OSError):
            self._path.rename(self._directory / name)
            self._path = self._directory / name
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def begin_log(home_dir: Path, digest: str) -> StepLog:
    """The log of a stage that is to be built; its file is there from the first output on."""
    return StepLog(logs_dir(home_dir), digest)


def logs_dir(home_dir: Path) -> Path:
    """Where the logs of a home are."""
    return home_dir / "logs"


def find_log(home_dir: Path, stage: StageName) -> Path | None:
    """The log of a stored stage; None where it was not built here, or its log was removed."""
    path = logs_dir(home_dir) / log_name(stage)
    return path if path.is_file() else None


def find_failed_log(home_dir: Path, digest: str) -> Path | None:
    """The log of the last build that failed, of a stage that is not stored."""
    path = logs_dir(home_dir) / f"{digest}-{_FAILED}"
    return path if path.is_file() else None


def find_running_log(home_dir: Path, digest: str) -> Path | None:
    """The log of a stage that is being built at this moment."""
    found = [path for path in _files(logs_dir(home_dir) / _RUNNING) if path.name.startswith(f"{digest}-") and _is_held(path)]
    return found[0] if found else None


def log_name(stage: StageName) -> str:
    """The file of a stage's log."""
    return f"{stage.digest}-{stage.suffix}"


def _files(directory: Path) -> Iterator[Path]:
    return iter(sorted(directory.iterdir())) if directory.is_dir() else iter(())


def _is_held(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _remove_left(running: Path) -> None:
    """Remove what killed builds have left."""
    for path in _files(running):
        if not _is_held(path):
            path.unlink(missing_ok=True)
