"""The console script. What is confirmed as having nothing to do ends here; all else is `conveyor.cli.commands`."""

from __future__ import annotations

import atexit
import gc
import os
import sys

# Importing makes many objects and no garbage: looking through them again and again is a twelfth of its time.
_OBJECTS_UNTIL_COLLECTION = 50_000


def main() -> None:
    """Run a command, and exit with its status."""
    gc.set_threshold(_OBJECTS_UNTIL_COLLECTION)
    from conveyor.cli.confirm import confirm

    try:
        confirmed = confirm(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    if confirmed:
        _leave(0)
    if sys.argv[1:2] == ["build"]:
        from conveyor.cli.ahead import start_worker

        start_worker(sys.argv[1:])
    from conveyor.cli.commands import run

    try:
        run()
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        _leave(ended.code)


def _leave(status: int) -> None:
    """Exit without taking hundreds of modules apart, which takes as long as importing a third of them.

    All is closed by now. Where a thread runs still, or what was printed cannot be written, the usual way is gone.
    """
    threading = sys.modules.get("threading")
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)
    if threading is not None and threading.active_count() > 1:
        sys.exit(status)
    atexit._run_exitfuncs()
    os._exit(status)
