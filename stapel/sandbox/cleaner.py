"""Removal beside the build: what was taken out of sight is removed by a thread of its own, and waited for at the end."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

from stapel.errors import Cancelled, StapelError
from stapel.sandbox.cell import Cells


class Cleaner:
    """Removes directories whose owners are mapped. Thread-safe. What it cannot remove is left for the next run."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._lock = threading.Lock()
        self._asked: queue.SimpleQueue[Callable[[], Iterable[str]] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def remove_later(self, find: Callable[[], Iterable[str]]) -> None:
        """Remove what `find` tells, relative to the snapshots; it is asked by the thread."""
        with self._lock:
            self._asked.put(find)
            if self._thread is None:
                self._thread = threading.Thread(target=self._remove, name="sandbox-cleaner", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Wait until all is removed."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._asked.put(None)
        if thread is not None:
            thread.join()

    def _remove(self) -> None:
        while (find := self._asked.get()) is not None:
            with suppress(StapelError, OSError, Cancelled):
                paths = [os.fsencode(path) for path in find()]
                if paths:
                    with self._cells.take() as cell:
                        cell.ask("remove", paths=paths)
