"""Locks of one machine: a file a lock, held by the kernel for a process and freed when it is gone.

The file's name is the sha256 of the lock's name, so no two names share one. Who holds it, and since when, stands in the
file: it is read by those who wait, and nothing depends on it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from sys import audit as trace

from locking.api import LockTimeout, LockUnavailable, Waiting
from locking.owners import describe_owner

_POLL_S = 0.05
_OWNER_BYTES = 1 << 16


class FileLease:
    """A lock file that is ours, open and locked."""

    def __init__(self, name: str, file: int, forget: Callable[[FileLease], None]) -> None:
        self._name = name
        self._file: int | None = file
        self._forget = forget
        self._mutex = threading.Lock()

    @property
    def name(self) -> str:
        """The lock's name."""
        return self._name

    def held(self) -> bool:
        """Whether it was not released: the kernel does not take it away."""
        return self._file is not None

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        with self._mutex:
            file, self._file = self._file, None
        if file is None:
            return
        trace("lock.before-release")
        with suppress(OSError):
            os.ftruncate(file, 0)
        with suppress(OSError):
            os.close(file)
        trace("lock.after-release")
        self._forget(self)


class FileLocks:
    """Locks below a directory, for all processes of this machine that name the same one. Thread-safe."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._leases: set[FileLease] = set()
        self._mutex = threading.Lock()
        self._told = False

    def acquire(self, name: str, *, timeout_s: float, on_wait: Callable[[Waiting], None] | None = None) -> FileLease:
        """Wait for a lock, at most `timeout_s` seconds. `LockTimeout`; `LockUnavailable` where files cannot be locked."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        path = f"{self._directory}/{digest}.lock"
        ends_s = time.monotonic() + timeout_s
        try:
            # Each acquisition has a descriptor of its own, so threads exclude one another too.
            file = self._open(path)
            try:
                if not _try_lock(file):
                    if on_wait is not None:
                        on_wait(Waiting(name, *_read_owner(file)))
                    while not _try_lock(file):
                        left_s = ends_s - time.monotonic()
                        if left_s <= 0:
                            raise LockTimeout(name, _read_owner(file)[0], timeout_s)
                        time.sleep(min(left_s, _POLL_S))
            except BaseException:
                os.close(file)
                raise
        except OSError as error:
            told, self._told = self._told, True
            raise LockUnavailable(f"cannot lock {path}: {error}", told=told) from error
        trace("lock.after-take")
        _write_owner(file)
        lease = FileLease(name, file, self._forget)
        with self._mutex:
            self._leases.add(lease)
        return lease

    def close(self) -> None:
        """Release what is held."""
        with self._mutex:
            leases = list(self._leases)
        for lease in leases:
            lease.release()

    def _open(self, path: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o644)
        except FileNotFoundError:
            self._directory.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o644)

    def _forget(self, lease: FileLease) -> None:
        with self._mutex:
            self._leases.discard(lease)


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_owner(file: int) -> tuple[str, int]:
    try:
        document = json.loads(os.pread(file, _OWNER_BYTES, 0))
        return str(document["owner"]), int(document["sinceMs"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0  # it is being written, or a killed one has left half of it


def _write_owner(file: int) -> None:
    document = {"owner": describe_owner(), "sinceMs": time.time_ns() // 1_000_000}
    with suppress(OSError):  # the owner is told to people only
        os.ftruncate(file, 0)  # what a killed one left
        os.pwrite(file, json.dumps(document).encode(), 0)
