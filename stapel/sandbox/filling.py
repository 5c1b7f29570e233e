"""A place where a snapshot is filled, and the worker that fills it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from stapel.errors import Cancelled
from stapel.sandbox.cell import Cell, CellError, Cells
from stapel.sandbox.records import Layer
from stapel.sandbox.store import Store

if TYPE_CHECKING:
    from stapel.sandbox.readying import Readied


@contextmanager
def fill(store: Store, cells: Cells, readied: Readied | None = None) -> Iterator[tuple[Cell, str]]:
    """A worker, and a new directory to fill, relative to the snapshots; it is removed where it was not published.

    Those of commands that were made ready, where the worker still has these. Where the worker is in the middle of something
    at the end, or gone, it is ended first, and another one removes.
    """
    filling = ""
    try:
        with cells.take(readied) as cell:
            ready = readied if cell.readied is readied else None
            cell.readied = None
            filling = ready.filling if ready is not None else store.new_filling()
            with ready.resources if ready is not None else nullcontext():
                try:
                    yield cell, filling
                finally:
                    if cell.is_usable and store.is_filling(filling):
                        with suppress(CellError):
                            cell.ask("remove", paths=[os.fsencode(filling)])
    finally:
        if filling and store.is_filling(filling):
            with suppress(CellError, Cancelled), cells.take() as other:
                other.ask("remove", paths=[os.fsencode(filling)])


def lowers(layers: Sequence[Layer]) -> list[bytes]:
    """The directories of layers for a mount, the uppermost first."""
    return [path_of(layer) for layer in reversed(layers)]


def path_of(layer: Layer) -> bytes:
    """The directory of a layer's files, relative to the snapshots."""
    return os.fsencode(layer.snapshot) + b"/fs"
