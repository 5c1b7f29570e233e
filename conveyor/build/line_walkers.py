"""Stages that run one on what the other has left, before they are stored.

While a stage of commands runs, `KNOWN` that follow in its image are looked for, and the engine is told to make them ready.
The next one runs on what it has left, while it is stored; at most `AHEAD` stages wait to be stored. An image begins
likewise on the last stage of another one that its `from` names. Each is stored after the one below it, and thrown away
where another builder's stage was selected in place of that. Others do not wait for what runs ahead: a stage is there for
all as soon as it is stored.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from conveyor.build.line import Ahead, Line, Next
from conveyor.build.make import can_be_built_on, is_run_ahead_on, make_ready, run
from conveyor.build.progress import Progress
from conveyor.build.task import Looked, Made, Ran, StageGone, Task, describe_result, foresee, ground_of, ground_of_built
from conveyor.build.walkers import Job, Request, Spawn, Until, Walker
from conveyor.build.work import Blocked, NotStarted, Work, place
from conveyor.errors import ConveyorError
from conveyor.events.api import StageStarted
from conveyor.stages.api import Need, StageKind
from stapel.api import Cancel
from stapel.errors import Cancelled, StapelError

if TYPE_CHECKING:
    from conveyor.storage.saving import Saved

AHEAD = 2
KNOWN = 2  # stages that are looked for beyond the one that runs


def build(work: Work, progress: Progress, task: Task, looked: Looked) -> Generator[Request, Any, None]:
    """Build a stage, and those that run ahead on it."""
    first = Ahead(progress.passed, task, looked)
    line = Line(Cancel())
    yield Spawn(_look_ahead(work, progress, line, first))
    yield from _build(work, progress, line, first)


def build_on_last(work: Work, progress: Progress, kind: StageKind, needs: Sequence[Need]) -> Generator[Request, Any, bool]:
    """Begin an image on the last stage of another one before that is stored; whether that was done."""
    need, source = needs[0], progress.lane[needs[0].image]
    if kind.name != "from" or progress.rooms.introspection.asked:
        return False
    position = source.position(need)
    yield Until(lambda: source.has(position) or source.ended_early or source.ending is not None)
    ending = source.ending
    if ending is None or source.has(position):
        return False
    task = Task(progress.image, kind, None, None, {need: foresee(source.rooms, ending.task, ending.looked)})
    looked = yield from work.look(progress, task)
    if looked is None or looked.found is not None:
        return False
    first, line = Ahead(0, task, looked), Line(Cancel())
    yield Spawn(_look_ahead(work, progress, line, first, ending))
    yield Until(lambda: source.last is not None or source.ending is not ending)
    last = source.last
    if last is None or last.looked is not ending.looked or source.has(position) or looked.digest in work.in_work:
        line.ended = True
        progress.ending = None
        return False
    yield from _build(work, progress, line, first, last)
    return True


def _build(
    work: Work, progress: Progress, line: Line, first: Ahead, base: Ahead | None = None
) -> Generator[Request, Any, None]:
    """Run a stage and those that may run ahead on it, and store them in their order.

    `base`: the last stage of another image, which the first is built on and which is not stored yet.
    """
    on = base.hold_again() if base is not None else None
    forget = work.cancel.on_cancel(line.cancel.set)
    try:
        yield Spawn(_run_line(work, progress, line, first, on))
        try:
            yield from _store_line(work, progress, line, base)
        finally:
            line.cancel.set()
        yield Until(lambda: line.ended)
    except (ConveyorError, StapelError, StageGone, Blocked, NotStarted):
        yield Until(lambda: line.ended)
        raise
    finally:
        forget()
        progress.ending = progress.last = None
        line.close_stored()
        if on is not None:
            on.held.close()
        for ahead in line.stages:
            work.in_work.discard(ahead.looked.digest)
            ahead.drop()


def _run_line(work: Work, progress: Progress, line: Line, ahead: Ahead, on: Ran | None) -> Walker:
    """Beside the walker of the image, which stores what comes into `line`; the last of it may be an error."""
    try:
        following: Ahead | None = ahead
        while following is not None:
            ahead = following
            work.in_work.add(ahead.looked.digest)
            try:
                on = yield from _run(work, progress, ahead, line.cancel, on)
            except (ConveyorError, StapelError, StageGone, NotStarted) as error:
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
            if following is not None and not work.is_free(following):
                return
    finally:
        line.ended = True


def _look_ahead(work: Work, progress: Progress, line: Line, below: Ahead, base: Ahead | None = None) -> Walker:
    """Beside the stages that run: find those that follow, some stages ahead, and have them made ready.

    `base`: the stage of another image that `below` is built on.
    """
    try:
        while is_run_ahead_on(below.task) and not progress.rooms.introspection.asked:
            following = yield from _look_for_next(work, progress, below)
            if line.ended:
                return
            line.known.append(following)
            if following.is_none:
                progress.ending = below
            ahead = following.stage
            if ahead is None:
                return
            yield Job("look", partial(make_ready, progress.rooms, base or below, ahead))
            work.is_underway = True
            yield Until(lambda: len(line.known) < KNOWN or line.ended)
            below, base = ahead, None
        line.known.append(Next())
    finally:
        work.is_underway = True


def _look_for_next(work: Work, progress: Progress, below: Ahead) -> Generator[Request, Any, Next]:
    """The next stage of the image, to be built on one that is not stored yet."""
    try:
        ground = ground_of_built(progress.rooms, below.task, below.looked)
        for position in range(below.position + 1, len(progress.kinds)):
            kind = progress.kinds[position]
            if kind.takes(progress.image):
                return Next()
            task = Task(progress.image, kind, ground, None, {})
            began = work.stored_count
            looked = yield from work.look(progress, task)
            if looked is not None:
                return Next(Ahead(position, task, looked, began)) if looked.found is None else Next()
    except (ConveyorError, StapelError, StageGone):
        return Next()  # it is looked for again when it is its turn
    return Next(is_none=True)


def _run(work: Work, progress: Progress, ahead: Ahead, cancel: Cancel, on: Ran | None) -> Generator[Request, Any, Ran]:
    task, looked = ahead.task, ahead.looked
    assert looked.why is not None
    started = StageStarted(task.image.name, task.kind.name, looked.digest, looked.why)

    def refuse() -> BaseException | None:
        return NotStarted() if work.failed is not None else Cancelled() if cancel.is_set() else None

    ran: Ran = yield Job(
        "make",
        partial(run, progress.rooms, task, looked, cancel, on),
        priority=(ahead.position - progress.height, progress.order),
        started=partial(progress.rooms.reporter, started),
        refuse=refuse,
        lost=lambda late: late.drop(),
    )
    return ran


def _store_line(work: Work, progress: Progress, line: Line, base: Ahead | None) -> Generator[Request, Any, None]:
    """Store what has run, until nothing runs any more or what has run does not stand on what is stored."""
    below: tuple[Made, Saved] | None = None
    while True:
        yield Until(lambda: bool(line.stages) or line.ended)
        line.close_stored()
        if not line.stages:
            return
        ahead: Ahead | None = line.stages[0]
        if below is None and base is not None:
            ahead = yield from _wait_for_base(progress, line.stages[0], base)
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
        below = yield from _store(work, progress, line, ahead)


def _wait_for_base(progress: Progress, first: Ahead, base: Ahead) -> Generator[Request, Any, Ahead | None]:
    """The first stage of an image on what is stored of its base by now; None where that is not what it was built on."""
    (need,) = first.task.taken
    source = progress.lane[need.image]
    position = source.position(need)
    yield Until(lambda: source.has(position) or source.ended_early)
    if not source.has(position):
        raise Blocked(source.image.name)
    if source.made_last is None or base.ran is None or source.made_last[0] is not base.ran.held:
        return None
    return first.on(replace(first.task, taken={need: source.taken(need)}), source.made_last[1])


def _store(work: Work, progress: Progress, line: Line, ahead: Ahead) -> Generator[Request, Any, tuple[Made, Saved]]:
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
    work.note_stored(looked.digest)
    progress.made_last = None if discarded else (ran.held, made)
    place(progress, task, saved.chosen, result)
    work.in_work.discard(looked.digest)
    return made, saved


def _is_next_known(line: Line) -> bool:
    return line.cancel.is_set() or (bool(line.known) and len(line.stages) <= AHEAD)
