"""How a command ends: its status, and what a user is told of an error, without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from conveyor.errors import ConveyorError, printable
from stapel.errors import StapelError, Unreachable


def run_told(call: Callable[[], int]) -> int:
    """The status of a call, or of the error that ended it, which is told on stderr."""
    try:
        return call()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
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


def leave(status: int) -> None:
    """Exit with a status, once all that was printed is written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _show(error: Exception, hint: str) -> None:
    for line in (*f"Error: {error}".split("\n"), *(f"Hint: {hint}".split("\n") if hint else ())):
        sys.stderr.write(f"{printable(line)}\n")
