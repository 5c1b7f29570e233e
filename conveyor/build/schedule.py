"""Many stages: the graph of images, walked a stage at a time.

The unit is a stage. It is ready when the one before it in its image is resolved and what it takes from other images is. One
thread decides (`conveyor.build.walkers`); blocking work is done by threads of three pools: look (16), make (the limit),
keep (4). Nothing holds a thread while it waits, and looking is not under the limit. Of the stages that are ready to be built
the one with the longest remaining path goes first, then the order of configuration: the same on every run. A digest is
resolved once a process: who finds it in work waits for the outcome and looks again.

While a stage of commands runs, `KNOWN` that follow in its image are looked for, and the engine is told to make them ready.
The next one runs on what it has left, while it is stored; at most `AHEAD` stages wait to be stored. An image begins
likewise on the last stage of another one that its `from` names. Each is stored after the one below it, and thrown away
where another builder's stage was selected in place of that. Others do not wait for what runs ahead: a stage is there for
all as soon as it is stored.

On the first failure no new stage starts, running ones end and are saved; with `fail_fast` they are cancelled. A stage that
was selected and is found to be gone makes its image start over, and the one that it was taken from, at most `RESOLUTIONS`
times each.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from conveyor.build.endings import always_gone, block, fail, leave_out, miss
from conveyor.build.line import Ahead, Line, Next
from conveyor.build.look import look
from conveyor.build.make import can_be_built_on, introspect, is_run_ahead_on, make_ready, run
from conveyor.build.progress import Lane, Progress, begin
from conveyor.build.results import ImageResult, StageResult
from conveyor.build.task import Looked, Made, Ran, StageGone, Task, describe_result, foresee, ground_of, ground_of_built
from conveyor.build.walkers import Job, Request, Spawn, Until, Walker, drive
from conveyor.errors import ConveyorError
from conveyor.events.api import StageBuilt, StageStarted, StageUsed, Warned
from conveyor.stages.api import Need, StageKind
from conveyor.storage.selection import Chosen
from stapel.api import Cancel
from stapel.errors import Cancelled, StapelError

if TYPE_CHECKING:
    from conveyor.storage.saving import Saved

LOOKS_AT_ONCE = 16
KEEPS_AT_ONCE = 4
RESOLUTIONS = 4
AHEAD = 2
KNOWN = 2  # stages that are looked for beyond the one that runs


class Limits(Struct, frozen=True):
    """How many stages are built at once (0: no limit), and what a failure or a missing stage does."""

    builds_at_once: int = 5
    fail_fast: bool = False
    require_built: bool = False


class _NotStarted(Exception):
    """A stage is not built because another one has failed."""


class _Blocked(Exception):
    """An image that is needed will not be there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Schedule:
    """One run over images of one platform or several: lanes that share the limits, and nothing else."""

    def __init__(self, lanes: Sequence[Lane], limits: Limits) -> None:
        self._cancel = lanes[0].rooms.cancel  # the run's, and so that of all lanes
        self._limits = limits
        self._progress = begin(lanes)
        self._in_work: set[str] = set()
        self._stored: list[str] = []  # digests, in the order in which this run has stored them
        self._failed: str | None = None
        self._has_begun = False  # to build

    def run(self) -> tuple[ImageResult, ...]:
        """Resolve everything; the result of each image, in the order given, lane by lane.

        Raises only what is no stage's own failure; running builds are cancelled then.
        """
        limit = self._limits.builds_at_once
        pools = {"look": LOOKS_AT_ONCE, "make": limit if limit > 0 else max(len(self._progress), 1), "keep": KEEPS_AT_ONCE}
        walkers = [self._walk(progress) for progress in self._progress]
        drive([*walkers, self._import_storing()], pools, stop=self._cancel.set)
        return tuple(progress.result() for progress in self._progress)

    def _import_storing(self) -> Walker:
        """Import what storing takes while the first stage runs and nobody has anything else to do."""
        yield Until(lambda: self._has_begun or all(progress.walked for progress in self._progress))
        if self._has_begun:
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
        except _Blocked as blocked:
            block(progress, blocked.name)
        except (_NotStarted, Cancelled):
            leave_out(progress, self._failed)
        except (ConveyorError, StapelError) as error:
            fail(progress, error)
            if self._failed is None:
                self._failed = progress.image.name
            if self._limits.fail_fast:
                self._cancel.set()
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
        if needs and not progress.passed and (yield from self._build_on_last(progress, kind, needs)):
            return
        yield from self._wait_for(progress, needs)
        below = progress.placed[-1][1] if progress.placed else None
        taken = {need: progress.lane[need.image].taken(need) for need in needs}
        task = Task(progress.image, kind, ground_of(below) if below is not None else None, below, taken)
        looked = yield from self._look(progress, task)
        while looked is not None and looked.digest in self._in_work:
            yield Until(partial(self._is_settled, looked.digest))
            looked = yield from self._look(progress, task)
        if looked is None:
            progress.passed += 1
            return
        if looked.found is not None and looked.secondary is None:
            self._place(progress, task, looked.found, describe_result(progress.rooms, task, looked, looked.found.stage))
            return
        if looked.found is None and self._limits.require_built:
            miss(progress, looked)
            raise _Blocked("")
        if looked.found is not None:
            with self._working_on(looked.digest):
                from conveyor.build.keep import copy

                copied: Chosen | None = yield Job("keep", partial(copy, progress.rooms, task, looked))
            if copied is not None:
                self._place(progress, task, copied, describe_result(progress.rooms, task, looked, copied.stage))
            return
        first = Ahead(progress.passed, task, looked)
        line = Line(Cancel())
        yield Spawn(self._look_ahead(progress, line, first))
        yield from self._build(progress, line, first)

    def _look(self, progress: Progress, task: Task) -> Generator[Request, Any, Looked | None]:
        """What is stored; asked again where this run has stored the stage while it was looked for."""
        while True:
            began = len(self._stored)
            looked: Looked | None = yield Job("look", partial(look, progress.rooms, task))
            if looked is None or looked.found is not None or looked.digest not in self._stored[began:]:
                return looked

    def _build_on_last(self, progress: Progress, kind: StageKind, needs: Sequence[Need]) -> Generator[Request, Any, bool]:
        """Begin an image on the last stage of another one before that is stored; whether that was done."""
        need, source = needs[0], progress.lane[needs[0].image]
        if kind.name != "from" or self._limits.require_built or progress.rooms.introspection.asked:
            return False
        position = source.position(need)
        yield Until(lambda: source.has(position) or source.ended_early or source.ending is not None)
        ending = source.ending
        if ending is None or source.has(position):
            return False
        task = Task(progress.image, kind, None, None, {need: foresee(source.rooms, ending.task, ending.looked)})
        looked = yield from self._look(progress, task)
        if looked is None or looked.found is not None:
            return False
        first, line = Ahead(0, task, looked), Line(Cancel())
        yield Spawn(self._look_ahead(progress, line, first, ending))
        yield Until(lambda: source.last is not None or source.ending is not ending)
        last = source.last
        if last is None or last.looked is not ending.looked or source.has(position) or looked.digest in self._in_work:
            line.ended = True
            progress.ending = None
            return False
        yield from self._build(progress, line, first, last)
        return True

    def _build(
        self, progress: Progress, line: Line, first: Ahead, base: Ahead | None = None
    ) -> Generator[Request, Any, None]:
        """Run a stage and those that may run ahead on it, and store them in their order.

        `base`: the last stage of another image, which the first is built on and which is not stored yet.
        """
        on = base.hold_again() if base is not None else None
        forget = self._cancel.on_cancel(line.cancel.set)
        try:
            yield Spawn(self._run_line(progress, line, first, on))
            try:
                yield from self._store_line(progress, line, base)
            finally:
                line.cancel.set()
            yield Until(lambda: line.ended)
        except (ConveyorError, StapelError, StageGone, _Blocked, _NotStarted):
            yield Until(lambda: line.ended)
            raise
        finally:
            forget()
            progress.ending = progress.last = None
            line.close_stored()
            if on is not None:
                on.held.close()
            for ahead in line.stages:
                self._in_work.discard(ahead.looked.digest)
                ahead.drop()

    def _run_line(self, progress: Progress, line: Line, ahead: Ahead, on: Ran | None) -> Walker:
        """Beside the walker of the image, which stores what comes into `line`; the last of it may be an error."""
        try:
            following: Ahead | None = ahead
            while following is not None:
                ahead = following
                self._in_work.add(ahead.looked.digest)
                try:
                    on = yield from self._run(progress, ahead, line.cancel, on)
                except (ConveyorError, StapelError, StageGone, _NotStarted) as error:
                    line.stages.append(replace(ahead, error=error))
                    return
                line.stages.append(replace(ahead, ran=on))
                yield Until(partial(_is_next_known, line))
                if line.cancel.is_set() or not can_be_built_on(ahead.looked, on):
                    return
                known = line.known.popleft()
                if known.is_none:
                    progress.last = replace(ahead, ran=on)
                following = known.stage
                if following is not None and not self._is_free(following):
                    return
        finally:
            line.ended = True

    def _look_ahead(self, progress: Progress, line: Line, below: Ahead, base: Ahead | None = None) -> Walker:
        """Beside the stages that run: find those that follow, some stages ahead, and have them made ready.

        `base`: the stage of another image that `below` is built on.
        """
        while is_run_ahead_on(below.task) and not progress.rooms.introspection.asked:
            following = yield from self._look_for_next(progress, below)
            if line.ended:
                return
            line.known.append(following)
            if following.is_none:
                progress.ending = below
            ahead = following.stage
            if ahead is None:
                return
            yield Job("look", partial(make_ready, progress.rooms, base or below, ahead))
            yield Until(lambda: len(line.known) < KNOWN or line.ended)
            below, base = ahead, None
        line.known.append(Next())

    def _look_for_next(self, progress: Progress, below: Ahead) -> Generator[Request, Any, Next]:
        """The next stage of the image, to be built on one that is not stored yet."""
        try:
            ground = ground_of_built(progress.rooms, below.task, below.looked)
            for position in range(below.position + 1, len(progress.kinds)):
                kind = progress.kinds[position]
                if kind.takes(progress.image):
                    return Next()
                task = Task(progress.image, kind, ground, None, {})
                began = len(self._stored)
                looked = yield from self._look(progress, task)
                if looked is not None:
                    return Next(Ahead(position, task, looked, began)) if looked.found is None else Next()
        except (ConveyorError, StapelError, StageGone):
            return Next()  # it is looked for again when it is its turn
        return Next(is_none=True)

    def _is_free(self, ahead: Ahead) -> bool:
        """Whether nobody else of this run builds it, or has stored it since it was looked for."""
        digest = ahead.looked.digest
        return digest not in self._in_work and digest not in self._stored[ahead.looked_after :]

    def _run(self, progress: Progress, ahead: Ahead, cancel: Cancel, on: Ran | None) -> Generator[Request, Any, Ran]:
        task, looked = ahead.task, ahead.looked
        assert looked.why is not None
        started = StageStarted(task.image.name, task.kind.name, looked.digest, looked.why)

        def begin_stage() -> None:
            self._has_begun = True
            progress.rooms.reporter(started)

        def refuse() -> BaseException | None:
            return _NotStarted() if self._failed is not None else Cancelled() if cancel.is_set() else None

        ran: Ran = yield Job(
            "make",
            partial(run, progress.rooms, task, looked, cancel, on),
            priority=(ahead.position - progress.height, progress.order),
            started=begin_stage,
            refuse=refuse,
            lost=lambda late: late.drop(),
        )
        return ran

    def _store_line(self, progress: Progress, line: Line, base: Ahead | None) -> Generator[Request, Any, None]:
        """Store what has run, until nothing runs any more or what has run does not stand on what is stored."""
        below: tuple[Made, Saved] | None = None
        while True:
            yield Until(lambda: bool(line.stages) or line.ended)
            line.close_stored()
            if not line.stages:
                return
            ahead: Ahead | None = line.stages[0]
            if below is None and base is not None:
                ahead = yield from self._wait_for_base(progress, line.stages[0], base)
            if ahead is None:
                return
            if below is not None:
                made, saved = below
                if saved.discarded or ground_of(saved.chosen) != ahead.task.ground:
                    return
                ahead = ahead.on(replace(ahead.task, below=saved.chosen), made)
                progress.passed = ahead.position
            if ahead.error is not None:
                raise ahead.error
            below = yield from self._store(progress, line, ahead)

    def _wait_for_base(self, progress: Progress, first: Ahead, base: Ahead) -> Generator[Request, Any, Ahead | None]:
        """The first stage of an image on what is stored of its base by now; None where that is not what it was built on."""
        (need,) = first.task.taken
        source = progress.lane[need.image]
        position = source.position(need)
        yield Until(lambda: source.has(position) or source.ended_early)
        if not source.has(position):
            raise _Blocked(source.image.name)
        if source.made_last is None or base.ran is None or source.made_last[0] is not base.ran.held:
            return None
        return first.on(replace(first.task, taken={need: source.taken(need)}), source.made_last[1])

    def _store(self, progress: Progress, line: Line, ahead: Ahead) -> Generator[Request, Any, tuple[Made, Saved]]:
        from conveyor.build.keep import put

        task, looked, ran = ahead.task, ahead.looked, ahead.ran
        assert ran is not None
        made: Made
        saved: Saved
        made, saved = yield Job("keep", partial(put, progress.rooms, task, looked, ran))
        stage, discarded = saved.chosen.stage, saved.discarded
        line.take_stored()
        if discarded:
            line.cancel.set()
        result = describe_result(progress.rooms, task, looked, stage, seconds=made.seconds, discarded=discarded)
        self._stored.append(looked.digest)
        progress.made_last = None if discarded else (ran.held, made)
        self._place(progress, task, saved.chosen, result)
        self._in_work.discard(looked.digest)
        return made, saved

    @contextmanager
    def _working_on(self, digest: str) -> Iterator[None]:
        self._in_work.add(digest)
        try:
            yield
        finally:
            self._in_work.discard(digest)

    def _wait_for(self, progress: Progress, needs: Sequence[Need]) -> Generator[Request, Any, None]:
        """Until all can be taken at once: a source may start over while another one is waited for."""
        sources = [(progress.lane[need.image], progress.lane[need.image].position(need)) for need in needs]

        def lost() -> list[Progress]:
            return [source for source, position in sources if source.ended_early and not source.has(position)]

        if sources:
            yield Until(lambda: all(source.has(position) for source, position in sources) or bool(lost()))
        for source in lost():
            raise _Blocked(source.image.name)

    def _is_settled(self, digest: str) -> bool:
        return digest not in self._in_work

    def _place(self, progress: Progress, task: Task, chosen: Chosen, result: StageResult) -> None:
        progress.rooms.reporter(StageBuilt(result) if result.why is not None else StageUsed(result))
        progress.placed.append((progress.passed, chosen))
        progress.results.append(result)
        introspect(progress.rooms, task, chosen.stage)
        progress.passed += 1


def _is_next_known(line: Line) -> bool:
    return line.cancel.is_set() or (bool(line.known) and len(line.stages) <= AHEAD)
