"""Many stages: the graph of images, walked a stage at a time.

The unit is a stage. It is ready when the one before it in its image is resolved and what it takes from other images is. One
thread decides (`conveyor.build.walkers`); blocking work is done by threads of three pools: look (16), make (the limit),
keep (4). Nothing holds a thread while it waits, and looking is not under the limit. Of the stages that are ready to be built
the one with the longest remaining path goes first, then the order of configuration: the same on every run. A digest is
resolved once a process: who finds it in work waits for the outcome and looks again.

Stages of commands run ahead of what is stored: `conveyor.build.line_walkers`.

On the first failure no new stage starts, running ones end and are saved; with `fail_fast` they are cancelled. A stage that
was selected and is found to be gone makes its image start over, and the one that it was taken from, at most `RESOLUTIONS`
times each.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from importlib import import_module
from typing import Any

from msgspec import Struct

from conveyor.build.endings import always_gone, block, fail, leave_out, miss
from conveyor.build.line_walkers import build, build_on_last
from conveyor.build.progress import Lane, Progress, begin
from conveyor.build.results import ImageResult
from conveyor.build.task import StageGone, Task, describe_result, ground_of
from conveyor.build.walkers import Job, Request, Spawn, Until, Walker, drive
from conveyor.build.work import Blocked, NotStarted, Work, place
from conveyor.errors import ConveyorError
from conveyor.events.api import Warned
from conveyor.stages.api import Need
from conveyor.storage.selection import Chosen
from stapel.errors import Cancelled, StapelError

LOOKS_AT_ONCE = 16
KEEPS_AT_ONCE = 4
RESOLUTIONS = 4


class Limits(Struct, frozen=True):
    """How many stages are built at once (0: no limit), and what a failure or a missing stage does."""

    builds_at_once: int = 5
    fail_fast: bool = False
    require_built: bool = False


class Schedule:
    """One run over images of one platform or several: lanes that share the limits, and nothing else."""

    def __init__(self, lanes: Sequence[Lane], limits: Limits) -> None:
        self._work = Work(lanes[0].rooms.cancel)  # of the run, and so of all lanes
        self._limits = limits
        self._progress = begin(lanes)

    def run(self) -> tuple[ImageResult, ...]:
        """Resolve everything; the result of each image, in the order given, lane by lane.

        Raises only what is no stage's own failure; running builds are cancelled then.
        """
        limit = self._limits.builds_at_once
        pools = {"look": LOOKS_AT_ONCE, "make": limit if limit > 0 else max(len(self._progress), 1), "keep": KEEPS_AT_ONCE}
        walkers = [self._walk(progress) for progress in self._progress]
        drive([*walkers, self._import_storing()], pools, stop=self._work.cancel.set)
        return tuple(progress.result() for progress in self._progress)

    def _import_storing(self) -> Walker:
        """Import what storing takes while the first stage runs and nobody has anything else to do."""
        yield Until(lambda: self._work.is_underway or all(progress.walked for progress in self._progress))
        if self._work.is_underway:
            yield Job("look", partial(import_module, "conveyor.build.keep"))

    def _walk(self, progress: Progress) -> Walker:
        """An image from its first stage to its last, or to what ends it."""
        progress.walked = False
        try:
            while progress.passed < len(progress.kinds) or progress.gone is not None:
                try:
                    if progress.gone is not None:
                        raise progress.gone
                    yield from self._stage(progress)
                except StageGone as gone:
                    yield from self._start_over(progress, gone)
        except Blocked as blocked:
            block(progress, blocked.name)
        except (NotStarted, Cancelled):
            leave_out(progress, self._work.failed)
        except (ConveyorError, StapelError) as error:
            fail(progress, error)
            if self._work.failed is None:
                self._work.failed = progress.image.name
            if self._limits.fail_fast:
                self._work.cancel.set()
        finally:
            progress.walked = True

    def _start_over(self, progress: Progress, gone: StageGone) -> Generator[Request, Any, None]:
        """Forget what was resolved of an image, and have those do so that the stage which is gone was taken from."""
        progress.resolutions += 1
        if progress.resolutions == RESOLUTIONS:
            raise always_gone(progress, gone)
        progress.rooms.reporter(Warned(f"{gone}; image {progress.image.name or '~'} is resolved again"))
        progress.passed = 0
        progress.gone = progress.made_last = None
        progress.placed.clear()
        progress.results.clear()
        for name in progress.image.needs():
            source = progress.lane[name]
            if source.holds(gone.stage) and source.gone is None and not source.ended_early:
                source.gone = gone
                if source.walked:
                    yield Spawn(self._walk(source))

    def _stage(self, progress: Progress) -> Generator[Request, Any, None]:
        """The next stage, and those that run ahead on it."""
        kind = progress.kind
        needs = kind.takes(progress.image)
        if needs and not progress.passed and not self._limits.require_built:
            is_built = yield from build_on_last(self._work, progress, kind, needs)
            if is_built:
                return
        yield from self._wait_for(progress, needs)
        below = progress.placed[-1][1] if progress.placed else None
        taken = {need: progress.lane[need.image].taken(need) for need in needs}
        task = Task(progress.image, kind, ground_of(below) if below is not None else None, below, taken)
        looked = yield from self._work.look(progress, task)
        while looked is not None and looked.digest in self._work.in_work:
            yield Until(partial(self._work.is_settled, looked.digest))
            looked = yield from self._work.look(progress, task)
        if looked is None:
            progress.passed += 1
            return
        if looked.found is not None and looked.secondary is None:
            place(progress, task, looked.found, describe_result(progress.rooms, task, looked, looked.found.stage))
            return
        if looked.found is None and self._limits.require_built:
            miss(progress, looked)
            raise Blocked("")
        if looked.found is not None:
            with self._work.at(looked.digest):
                from conveyor.build.keep import copy

                copied: Chosen | None = yield Job("keep", partial(copy, progress.rooms, task, looked))
            if copied is not None:
                place(progress, task, copied, describe_result(progress.rooms, task, looked, copied.stage))
            return
        yield from build(self._work, progress, task, looked)

    def _wait_for(self, progress: Progress, needs: Sequence[Need]) -> Generator[Request, Any, None]:
        """Until all can be taken at once: a source may start over while another one is waited for."""
        sources = [(progress.lane[need.image], progress.lane[need.image].position(need)) for need in needs]

        def lost() -> list[Progress]:
            return [source for source, position in sources if source.ended_early and not source.has(position)]

        if sources:
            yield Until(lambda: all(source.has(position) for source, position in sources) or bool(lost()))
        for source in lost():
            raise Blocked(source.image.name)
