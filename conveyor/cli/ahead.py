"""What a build will need is started before its modules are imported: both take as long."""

from __future__ import annotations

import atexit
import os

from conveyor.cli.confirm import find_home, find_value
from stapel.sandbox.spawning import end_early, spawn_early

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NOT_WITH = ("-h", "--help", "--require-built-images")


def start_worker(arguments: Sequence[str]) -> None:
    """Start the sandbox's first worker for a build that is likely to want it, as far as one can see without reading options.

    Where it does not, the worker ends with this process.
    """
    engine = find_value(arguments, "--engine", os.environ.get("CONVEYOR_ENGINE") or "")
    if engine.lower() != "docker" and not any(flag in arguments for flag in _NOT_WITH):
        spawn_early(os.path.abspath(find_home(arguments)))
        atexit.register(end_early)
