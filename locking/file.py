"""Locks of one machine: a file a lock, held by the kernel for a process and freed when it is gone.

The file's name is the sha256 of the lock's name, so no two names share one. Who holds it, and since when, stands in a file
beside it: it is read by those who wait, and nothing depends on it.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from sys import audit as trace
from typing import TYPE_CHECKING

from locking.api import LockTimeout, LockUnavailable, Waiting
from locking.owners import describe_owner

if TYPE_CHECKING:
    from filelock import FileLock

_POLL_S = 0.05


class FileLease:
    """A lock file that is ours."""

    def __init__(self, name: str, lock: FileLock, owner: Path, forget: Callable[[FileLease], None]) -> None:
        self._name = name
        self._lock = lock
        self._owner = owner
        self._forget = forget
        self._mutex = threading.Lock()

    @property
    def name(self) -> str:
        """The lock's name."""
        return self._name

    def held(self) -> bool:
        """Whether it was not released: the kernel does not take it away."""
        return self._lock.is_locked

    def release(self) -> None:
        """Give it back; a second time does nothing."""
        with self._mutex:
            if not self._lock.is_locked:
                return
            trace("lock.before-release")
            with suppress(OSError):
                self._owner.unlink()
            self._lock.release(force=True)
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
        base = self._directory / hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()
        owner = base.with_suffix(".owner")
        # A build with nothing to save needs no lock, and the import is a part of its cost that can be seen.
        from filelock import FileLock, Timeout

        # is_singleton is off by default: each acquisition has its own descriptor, so threads exclude one another too.
        lock = FileLock(base.with_suffix(".lock"), thread_local=False)
        started_s = time.monotonic()
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if on_wait is not None:
                    holder, since_ms = _read_owner(owner)
                    on_wait(Waiting(name, holder, since_ms))
                left_s = timeout_s - (time.monotonic() - started_s)
                lock.acquire(timeout=max(left_s, 0), poll_interval=_POLL_S)
        except Timeout:
            raise LockTimeout(name, _read_owner(owner)[0], timeout_s) from None
        except (OSError, NotImplementedError) as error:
            told, self._told = self._told, True
            raise LockUnavailable(f"cannot lock {base}.lock: {error}", told=told) from error
        trace("lock.after-take")
        _write_owner(owner)
        lease = FileLease(name, lock, owner, self._forget)
        with self._mutex:
            self._leases.add(lease)
        return lease

    def close(self) -> None:
        """Release what is held."""
        with self._mutex:
            leases = list(self._leases)
        for lease in leases:
            lease.release()

    def _forget(self, lease: FileLease) -> None:
        with self._mutex:
            self._leases.discard(lease)


def _read_owner(path: Path) -> tuple[str, int]:
    try:
        document = json.loads(path.read_bytes())
        return str(document["owner"]), int(document["sinceMs"])
    except (OSError, ValueError, KeyError, TypeError):
        return "", 0


def _write_owner(path: Path) -> None:
    aside = path.with_suffix(".new")  # one name, for only the holder writes: what a killed one left is written over
    try:
        aside.write_text(json.dumps({"owner": describe_owner(), "sinceMs": time.time_ns() // 1_000_000}))
        aside.replace(path)
    except OSError:
        aside.unlink(missing_ok=True)  # the owner is told to people only
