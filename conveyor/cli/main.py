"""The console script. What is confirmed as having nothing to do ends here; all else is `conveyor.cli.commands`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run a command, and exit with its status."""
    from conveyor.cli.confirm import confirm

    try:
        confirmed = confirm(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    if confirmed:
        return
    if sys.argv[1:2] == ["build"]:
        from conveyor.cli.ahead import start_worker

        start_worker(sys.argv[1:])
    from conveyor.cli.commands import run

    run()
