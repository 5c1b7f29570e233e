"""What the walkers of one schedule share, and what each of them does with a stage."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from conveyor.build.line import Ahead
from conveyor.build.look import look
from conveyor.build.make import introspect
from conveyor.build.progress import Progress
from conveyor.build.results import StageResult
from conveyor.build.task import Looked, Task
from conveyor.build.walkers import Job, Request
from conveyor.events.api import StageBuilt, StageUsed
from conveyor.storage.selection import Chosen
from stapel.api import Cancel


class NotStarted(Exception):
    """A stage is not built because another one has failed."""


class Blocked(Exception):
    """An image that is needed will not be there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Work:
    """Which digests are in work, and which this run has stored. `cancel` stops all that runs.

    `failed`: the first image that has. `is_underway`: a stage is built, and what follows it is made ready.
    """

    def __init__(self, cancel: Cancel) -> None:
        self.cancel = cancel
        self.in_work: set[str] = set()
        self.failed: str | None = None
        self.is_underway = False
        self._stored: list[str] = []  # digests, in the order in which this run has stored them

    def look(self, progress: Progress, task: Task) -> Generator[Request, Any, Looked | None]:
        """What is stored; asked again where this run has stored the stage while it was looked for."""
        while True:
            began = self.stored_count
            looked: Looked | None = yield Job("look", partial(look, progress.rooms, task))
            if looked is None or looked.found is not None or looked.digest not in self._stored[began:]:
                return looked

    @property
    def stored_count(self) -> int:
        """How many stages this run has stored."""
        return len(self._stored)

    def note_stored(self, digest: str) -> None:
        """This run has stored a stage."""
        self._stored.append(digest)

    def is_settled(self, digest: str) -> bool:
        """Whether nobody is at it."""
        return digest not in self.in_work

    def is_free(self, ahead: Ahead) -> bool:
        """Whether nobody else of this run builds it, or has stored it since it was looked for."""
        digest = ahead.looked.digest
        return digest not in self.in_work and digest not in self._stored[ahead.looked_after :]

    @contextmanager
    def at(self, digest: str) -> Iterator[None]:
        """Have a digest in work."""
        self.in_work.add(digest)
        try:
            yield
        finally:
            self.in_work.discard(digest)


def place(progress: Progress, task: Task, chosen: Chosen, result: StageResult) -> None:
    """A stage of an image is resolved."""
    progress.rooms.reporter(StageBuilt(result) if result.why is not None else StageUsed(result))
    progress.placed.append((progress.passed, chosen))
    progress.results.append(result)
    introspect(progress.rooms, task, chosen.stage)
    progress.passed += 1
