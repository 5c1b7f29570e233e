"""Removal beside the build: what was taken out of sight is removed by a thread of its own, and waited for at the end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from stapel.errors import Cancelled, StapelError
from stapel.sandbox.cell import Cells


class Cleaner:
    """Removes directories whose owners are mapped. Thread-safe. What it cannot remove is left for the next run."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells
        self._lock = threading.Lock()
        self._thread: ThreadPoolExecutor | None = None

    def remove_later(self, find: Callable[[], Iterable[str]]) -> None:
        """Remove what `find` tells, relative to the snapshots; it is asked by the thread."""

        def remove() -> None:
            with suppress(StapelError, OSError, Cancelled):
                paths = [os.fsencode(path) for path in find()]
                if paths:
                    with self._cells.take() as cell:
                        cell.ask("remove", paths=paths)

        with self._lock:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="sandbox-cleaner")
            self._thread.submit(remove)

    def close(self) -> None:
        """Wait until all is removed."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=True)
