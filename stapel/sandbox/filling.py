"""A place where a snapshot is filled, and the worker that fills it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from stapel.errors import Cancelled
from stapel.sandbox.cell import Cell, CellError, Cells
from stapel.sandbox.store import Store


@contextmanager
def fill(store: Store, cells: Cells) -> Iterator[tuple[Cell, str]]:
    """A worker, and a new directory to fill, relative to the snapshots; it is removed where it was not published.

    Where the worker is in the middle of something at the end, or gone, it is ended first, and another one removes.
    """
    filling = store.new_filling()
    try:
        with cells.take() as cell:
            try:
                yield cell, filling
            finally:
                if cell.is_usable and store.absolute(filling).exists():
                    with suppress(CellError):
                        cell.ask("remove", paths=[os.fsencode(filling)])
    finally:
        if store.absolute(filling).exists():
            with suppress(CellError, Cancelled), cells.take() as other:
                other.ask("remove", paths=[os.fsencode(filling)])
