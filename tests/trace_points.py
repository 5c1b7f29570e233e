"""Trace points: the places at every side effect where a test can stop, kill or signal a process, or act in between.

The product says `trace("save.before-name")`, which is `sys.audit` under another name: with no hook it does nothing. Hooks
are for tests alone. `hooked` calls a function at each point of this process; `tests/traced.py` is conveyor as a process with
what `Plan` asks for.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("conveyor", "stapel", "locking")
RUNNER = Path(__file__).with_name("traced.py")
PLAN = "CONVEYOR_TEST_TRACE"

Hook = Callable[[str], None]


@functools.cache
def trace_points() -> Mapping[str, tuple[str, ...]]:
    """Every trace point of the product, and the modules that have it."""
    found: dict[str, list[str]] = {}
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            source = path.read_text()
            if "trace(" not in source:
                continue
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "trace":
                    assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: a point is named by a literal"
                    found.setdefault(str(node.args[0].value), []).append(str(path.relative_to(ROOT)))
    return {name: tuple(paths) for name, paths in sorted(found.items())}


def points_of(engine: str) -> list[str]:
    """The points that only this engine has: `sandbox`, `docker`."""
    return [point for point, modules in trace_points().items() if all(f"/{engine}/" in module for module in modules)]


_hooks: list[Hook] = []
_installed = False


@contextlib.contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Call a function at each trace point that any thread of this process reaches; what it raises is raised there."""
    install(trace_points())
    _hooks.append(hook)
    try:
        yield
    finally:
        _hooks.remove(hook)


def install(points: Sequence[str] | Mapping[str, object]) -> None:
    """Have the hooks called. An audit hook stays for the life of the process: this one, once, with a list that changes."""
    global _installed
    if _installed:
        return
    _installed = True
    known = frozenset(points)

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        del arguments
        if _hooks and event in known:
            for hook in tuple(_hooks):
                hook(event)

    sys.addaudithook(audit)


@dataclass(frozen=True)
class Plan:
    """What a traced process does. `at`: at the n-th time that a point is reached, an action:

    `kill`  SIGKILL to itself           `interrupt`, `terminate`  SIGINT or SIGTERM to itself, and on; `... twice`: once more
    `wait`  a file `<point>.<n>` appears in `directory`, and it goes on when `<point>.<n>.go` is there
    """

    directory: Path
    at: Sequence[tuple[str, int, str]] = ()
    clock_ms: int = 0  # how much the clock is ahead
    log: bool = False  # the points that are reached, one a line, in `<directory>/points`

    def env(self) -> dict[str, str]:
        """The environment of the process."""
        document = {**asdict(self), "directory": str(self.directory), "points": list(trace_points())}
        return {PLAN: json.dumps(document), "PYTHONPATH": str(ROOT)}

    def command(self, *arguments: str) -> list[str]:
        """Its command line."""
        return [sys.executable, "-P", str(RUNNER), *arguments]

    def reached(self, point: str, count: int = 1) -> bool:
        """Whether the process waits, or has waited, at a point."""
        return (self.directory / f"{point}.{count}").exists()

    def await_stop(self, point: str, count: int = 1, timeout_s: float = 60) -> None:
        """Until the process waits at a point."""
        deadline_s = time.monotonic() + timeout_s
        while not self.reached(point, count):
            assert time.monotonic() < deadline_s, f"{point} is not reached"
            time.sleep(0.005)

    def go_on(self, point: str, count: int = 1) -> None:
        """Let it go on."""
        (self.directory / f"{point}.{count}.go").touch()

    def points(self) -> list[str]:
        """What was reached, in order, where `log` was asked for."""
        log = self.directory / "points"
        return log.read_text().split() if log.exists() else []


@dataclass
class Counter:
    """How often each point was reached; for all threads."""

    counts: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, point: str) -> int:
        """Once more."""
        with self.lock:
            self.counts[point] = self.counts.get(point, 0) + 1
            return self.counts[point]


def children(pid: int) -> list[int]:
    """The processes that descend from one, whatever session they are in."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text()
                parents.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found
