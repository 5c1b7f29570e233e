"""Steps of commands that several processes want at once: one runs it, the others follow its log and take its result.

A step is a key (what the caller says the step is) on a chain of layers. Who holds its lock runs it; the lock is the
kernel's, so it is free the moment its holder is gone, however it went. Who waits for it reads the log as it grows. With
the lock comes the answer: a result that was not there before, which is taken, or none, and the step is run here.

A result is for those alone who waited for it: whoever comes later may have a reason to run the step again. It is written
into the file of the lock, which everybody has open who waits; where its writer was killed it cannot be read, and is none.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from sys import audit as trace
from typing import Any, Literal

from stapel.api import Cancel, Log
from stapel.errors import CommandFailed
from stapel.sandbox.records import Layer, chain_digest, layer_document, parse_layer
from stapel.sandbox.store import Store

_LOOK_S = 0.05
_PIECE_BYTES = 1 << 16


class Step:
    """A step that is this caller's: to be run, or, with `layer`, done by another."""

    def __init__(self, log: Log, layer: Layer | None = None, lock: int | None = None, log_file: int | None = None) -> None:
        self.layer = layer
        self._log = log
        self._lock = lock
        self._log_file = log_file

    def log(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        """Takes the output: it goes to the step's file first."""
        if self._log_file is not None:
            _write(self._log_file, data)
        self._log(stream, data)

    def done(self, layer: Layer) -> None:
        """The commands have left a layer."""
        self._record({"status": 0, "snapshot": layer.snapshot, "layer": layer_document(layer)})

    def failed(self, status: int) -> None:
        """The commands have failed."""
        self._record({"status": status})

    def _record(self, result: dict[str, Any]) -> None:
        if self._lock is not None:
            trace("step-result.before-write")
            _write(self._lock, json.dumps({"id": os.urandom(8).hex(), **result}).encode())
            trace("step-result.after-write")


class Steps:
    """The steps of one store. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._locks, self._logs = f"{store.dir}/steps", f"{store.dir}/logs"

    @contextmanager
    def take(self, key: str, driver: str, on: Sequence[Layer], log: Log, cancel: Cancel) -> Iterator[Step]:
        """The step of this key on these layers of a driver, kept from others until the context ends.

        Without a key it has no others. `CommandFailed` where it failed while this caller waited, `Cancelled`.
        """
        if not key:
            yield Step(log)
            return
        name = hashlib.sha256(f"{key} {driver} {chain_digest([layer.diff_id for layer in on])}".encode()).hexdigest()[:32]
        log_path = f"{self._logs}/{key}.log"
        with ExitStack() as resources:
            lock = os.open(f"{self._locks}/{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            resources.callback(os.close, lock)
            before = _read_result(lock)
            if not _lock(lock):
                _follow(lock, log_path, log, cancel)
                result = _read_result(lock)
                if result is not None and result != before:
                    if result["status"]:
                        raise CommandFailed(int(result["status"]))
                    layer = parse_layer(result["snapshot"], result["layer"])
                    if self._store.pin([layer]):
                        yield Step(log, layer)
                        return
            os.ftruncate(lock, 0)
            with suppress(FileNotFoundError):
                os.unlink(log_path)  # who reads the old one goes on reading it
            file = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            resources.callback(os.close, file)
            yield Step(log, None, lock, file)


def _follow(lock: int, log_path: str, log: Log, cancel: Cancel) -> None:
    """Wait for a lock, and pass on what is written to a log meanwhile."""
    with ExitStack() as resources:
        file: int | None = None
        while True:
            taken = _lock(lock)
            if file is None:
                with suppress(FileNotFoundError):
                    file = os.open(log_path, os.O_RDONLY | os.O_CLOEXEC)
                    resources.callback(os.close, file)
            while file is not None and (data := os.read(file, _PIECE_BYTES)):
                log("stdout", data)
            if taken:
                return
            cancel.check()
            time.sleep(_LOOK_S)


def _lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_result(lock: int) -> dict[str, Any] | None:
    written = os.pread(lock, _PIECE_BYTES, 0)
    try:
        result: dict[str, Any] = json.loads(written) if written else {}
    except ValueError:
        return None
    return result or None


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]
