"""The console script. What is confirmed as having nothing to do ends here; what is not, but remembered, is not read again.

All else is `conveyor.cli.commands`.
"""

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
    if sys.stdin is None or sys.stdout is None or sys.stderr is None:
        _open_standard_files()
    try:
        status = _run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        status = 130
    except SystemExit as ended:
        if not isinstance(ended.code, int):
            raise
        status = ended.code
    _leave(status)


def _open_standard_files() -> None:
    """Whoever starts us with one of them closed reads nothing there. What we open next would be taken for it."""
    for number, mode in enumerate("rww"):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the least number that is free
            stream = open(number, mode, closefd=False)  # noqa: SIM115 -- for the life of the process
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)


def _run(arguments: list[str]) -> int:
    from conveyor.cli.confirm import confirm, recall

    record = recall(arguments)
    if record is not None and confirm(arguments, record):
        return 0
    if arguments[:1] == ["build"]:
        from conveyor.cli.ahead import start_worker

        start_worker(arguments)
    if record is not None:
        from conveyor.cli.build_again import build_again

        status = build_again(record)
        if status is not None:
            return status
    from conveyor.cli.commands import run

    return run()


def _leave(status: int) -> None:
    """Exit without taking hundreds of modules apart, which takes as long as importing a third of them.

    All is closed by now. Where a thread runs still, or what was printed cannot be written, the usual way is gone.
    """
    threading = sys.modules.get("threading")
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # who reads has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.exit(status)
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        sys.exit(status)
    if threading is not None and threading.active_count() > 1:
        sys.exit(status)
    atexit._run_exitfuncs()
    os._exit(status)
