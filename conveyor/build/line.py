"""Stages of one image that run one on what the other has left, before they are stored."""

from __future__ import annotations

from collections import deque

from msgspec import Struct, field
from msgspec.structs import replace

from conveyor.build.task import Looked, Made, Ran, Task
from stapel.api import Cancel


class Ahead(Struct, frozen=True):
    """A stage that is built on one that may not be stored yet; its digest is in work until it is stored or dropped."""

    position: int
    task: Task
    looked: Looked
    looked_after: int = 0  # how many stages this run had stored when it was looked for
    ran: Ran | None = None
    error: BaseException | None = None

    def on(self, task: Task, made: Made) -> Ahead:
        """The same, now that what it is built on is stored, as `task` says: from now on it stands on that configuration."""
        ran = replace(self.ran, base_config=made.config) if self.ran is not None else None
        return replace(self, task=task, ran=ran)

    def hold_again(self) -> Ran:
        """What it has left, for another image that is built on it; its `held` is the caller's to close."""
        assert self.ran is not None
        return replace(self.ran, held=self.ran.held.again())

    def drop(self) -> None:
        """It will not be stored."""
        if self.ran is not None:
            self.ran.drop()


class Next(Struct, frozen=True):
    """What comes after a stage. No `stage`: it must wait, or (`is_none`) there is none."""

    stage: Ahead | None = None
    is_none: bool = False


class Line(Struct):
    """`stages` have run and are not stored, the lowest first; the last may be an error. `cancel` stops what runs on them."""

    cancel: Cancel
    stages: deque[Ahead] = field(default_factory=deque)
    known: deque[Next] = field(default_factory=deque)  # what follows the stages that have run
    ended: bool = False  # nothing runs any more
    _stored: list[Ran] = field(default_factory=list)

    def take_stored(self) -> None:
        """The lowest is stored. What it has left stays, for the next one may run on it."""
        ran = self.stages.popleft().ran
        if ran is not None:
            self._stored.append(ran)

    def close_stored(self) -> None:
        """Nothing runs on what is stored any more."""
        for ran in self._stored:
            ran.held.close()
        self._stored.clear()
