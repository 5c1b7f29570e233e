"""Files that are laid, on their way to the worker that applies them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from stapel.api import Cancel
from stapel.errors import StapelError
from stapel.lay import LayPlan
from stapel.oci.layer import Entry, LayerResult, write_layer
from stapel.sandbox.cell import Cell, CellError


def stream_layer(cell: Cell, plan: LayPlan, stream: BinaryIO, cancel: Cancel) -> LayerResult:
    """Write the planned files to a worker that takes them, and tell it whether these were all."""
    try:
        try:
            written = write_layer(_until(cancel, plan.entries()), stream)
        finally:
            with suppress(BrokenPipeError):
                stream.close()
        cell.tell("complete")
    except BrokenPipeError:
        cell.finish()  # says why
        raise StapelError("a worker of the sandbox did not take all of a layer") from None
    except BaseException:
        with suppress(CellError):
            cell.tell("abandoned")
            cell.finish()
        raise
    return written


def _until(cancel: Cancel, entries: Iterator[Entry]) -> Iterator[Entry]:
    for entry in entries:
        cancel.check()
        yield entry
