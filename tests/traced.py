"""conveyor as a process whose trace points do what the plan in the environment asks for (`tests.trace_points.Plan`)."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from tests.trace_points import PLAN, Counter, _hooks, install

_SIGNALS = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "terminate": signal.SIGTERM}


def main() -> None:
    plan = json.loads(os.environ.pop(PLAN))
    directory = Path(plan["directory"])
    actions = {(point, count): action for point, count, action in plan["at"]}
    counter = Counter()
    log = os.open(directory / "points", os.O_WRONLY | os.O_CREAT | os.O_APPEND) if plan["log"] else -1

    def act(point: str) -> None:
        if log >= 0:
            os.write(log, f"{point}\n".encode())
        count = counter.count(point)
        action = actions.get((point, count))
        if action == "wait":
            (directory / f"{point}.{count}").touch()
            while not (directory / f"{point}.{count}.go").exists():
                time.sleep(0.005)
        elif action is not None:
            name, _, twice = action.partition(" ")
            os.kill(os.getpid(), _SIGNALS[name])
            if twice:
                time.sleep(0.1)  # two that come at once are one
                os.kill(os.getpid(), _SIGNALS[name])

    if plan["clock_ms"]:
        set_clock(plan["clock_ms"])
    install(plan["points"])
    _hooks.append(act)

    from conveyor.cli.main import main as conveyor

    sys.argv[0] = "conveyor"
    conveyor()


def set_clock(ahead_ms: int) -> None:
    """Put the clock of this process forward, or back."""
    time_ns, time_s = time.time_ns, time.time
    time.time_ns = lambda: time_ns() + ahead_ms * 1_000_000
    time.time = lambda: time_s() + ahead_ms / 1000


if __name__ == "__main__":
    main()
