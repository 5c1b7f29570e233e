"""Commands that are made ready behind those that run: their runner and their mounts are there before somebody wants them.

A worker is told of them while it is busy, and goes on with them when it has answered. What is ready stays with it until it
is asked for that, or for anything else, which ends it (`docs/decisions/0026-made-ready.md`).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from stapel.api import Run
from stapel.errors import StapelError
from stapel.sandbox.cell import Cell
from stapel.sandbox.filling import lowers
from stapel.sandbox.held import SandboxHeld
from stapel.sandbox.records import Layer
from stapel.sandbox.runs import Prepared, Runs
from stapel.sandbox.store import Store


class Readied:
    """Commands that are ready in a worker, to fill `filling`; `resources` are what they need on our side."""

    def __init__(self, run: Run, filling: str, prepared: Prepared, resources: ExitStack) -> None:
        self.run = run
        self.filling = filling
        self.prepared = prepared
        self.resources = resources

    def drop(self) -> None:
        """They will not run. What the worker has of them it removes itself."""
        self.resources.close()


class Running:
    """Commands that run in a worker, to fill `filling` on top of `on`: others may be made ready behind them. Thread-safe."""

    def __init__(self, cell: Cell, on: SandboxHeld, filling: str) -> None:
        self._cell = cell
        self._on = on
        self._filling = filling
        self._lock = threading.Lock()
        self._has_ended = False
        self._next: Readied | None = None

    def make_ready(self, run: Run, store: Store, runs: Runs) -> None:
        """Tell the worker what will follow, where it can use that. Errors are for who builds it then."""
        if self._next is not None:
            return  # of several images on one the first to ask
        with ExitStack() as resources, suppress(StapelError, OSError):
            filling = store.new_filling()
            resources.callback(_remove, store.absolute(filling))
            prepared = runs.prepare(self._on, run, store.absolute(filling), resources)
            if not prepared.can_wait:
                return
            with self._lock:
                if self._has_ended or self._next is not None:
                    return
                below = lowers((*self._on.layers, Layer(self._filling, "", 0)))
                self._cell.tell("next", prepared.files, lowers=below, filling=os.fsencode(filling), run=prepared.request)
                prepared.sources.close()  # the worker's alone
                self._next = Readied(run, filling, prepared, resources.pop_all())

    def end(self, answer: Mapping[str, Any]) -> Readied | None:
        """They have ended with an answer, or with none; what is ready behind them."""
        with self._lock:
            self._has_ended = True
            following, self._next = self._next, None
        if following is not None and not answer.get("is_followed"):
            following.drop()
            return None
        return following


class Expected:
    """What is expected behind what, by the key of the latter: either may be told first. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}
        self._runs: dict[str, Run] = {}

    def note(self, run: Run, after: str) -> Running | None:
        """`run` will follow; what it will follow, where that runs already."""
        with self._lock:
            self._runs[after] = run
            return self._running.get(after)

    def begin(self, running: Running, key: str) -> Run | None:
        """Commands run under a key; what will follow them, where that is known already."""
        with self._lock:
            self._running[key] = running
            return self._runs.get(key)

    def end(self, key: str) -> None:
        """They have ended."""
        with self._lock:
            self._running.pop(key, None)
            self._runs.pop(key, None)


def _remove(filling: Path) -> None:
    with suppress(OSError):  # the worker has begun to fill it, or it is a snapshot by now
        filling.rmdir()
