"""What a build will need is started before its modules are imported: both take as long."""

from __future__ import annotations

import atexit
import os

from conveyor.cli.confirm import find_home
from stapel.sandbox.spawning import end_early, spawn_early

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_NOT_WITH = ("-h", "--help", "--require-built-images")


def start_worker(arguments: Sequence[str]) -> None:
    """Start the sandbox's first worker for a build that is likely to want it, as far as one can see without reading options.

    Where it does not, the worker ends with this process.
    """
    engine = os.environ.get("CONVEYOR_ENGINE") or ""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument == "--engine":
            engine = following
        elif argument.startswith("--engine="):
            engine = argument.partition("=")[2]
        elif argument in _NOT_WITH:
            return
    if engine.lower() != "docker":
        spawn_early(os.path.abspath(find_home(arguments)))
        atexit.register(end_early)
