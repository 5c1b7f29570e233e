"""What a user is told of an error that ends a command, without a traceback, and the command's status."""

from __future__ import annotations

import sys
from collections.abc import Callable

from conveyor.errors import ConveyorError, printable
from stapel.errors import StapelError, Unreachable


def run_told(call: Callable[[], int]) -> int:
    """The status of a call, or of the error that ended it, which is told on stderr."""
    try:
        return call()
    except ConveyorError as error:
        _show(error, error.hint)
        return error.exit_status
    except StapelError as error:
        _show(error, error.hint)
        return 4 if isinstance(error, Unreachable) else 1
    except OSError as error:
        # A full disk, a directory that may not be written to: what the system says names it.
        sys.stderr.write(f"Error: {error}\n")
        return 1


def _show(error: Exception, hint: str) -> None:
    for line in (*f"Error: {error}".split("\n"), *(f"Hint: {hint}".split("\n") if hint else ())):
        sys.stderr.write(f"{printable(line)}\n")
