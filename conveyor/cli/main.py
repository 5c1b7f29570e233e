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
    from conveyor.cli.commands import run

    run()
