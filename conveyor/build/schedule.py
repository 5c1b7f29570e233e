"""Many stages: the graph of images, walked a stage at a time.

The unit is a stage. It is ready when the one before it in its image is resolved and what it takes from other images is. One
thread decides (`conveyor.build.walkers`); blocking work is done by threads of three pools: look (16), make (the limit),
keep (4). Nothing holds a thread while it waits, and looking is not under the limit. Of the stages that are ready to be built
the one with the longest remaining path goes first, then the order of configuration: the same on every run. A digest is
resolved once a process: who finds it in work waits for the outcome and looks again.

While a stage of commands is stored the next one of its image runs on it already; it is stored after it, and thrown away
where another builder's stage was selected in its place.

On the first failure no new stage starts, running ones end and are saved; with `fail_fast` they are cancelled. A stage that
was selected and is found to be gone makes its image start over, at most `RESOLUTIONS` times.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from conveyor.build.keep import copy, keep
from conveyor.build.look import look
from conveyor.build.make import can_be_built_on, introspect, run, store
from conveyor.build.results import Failure, ImageResult, MissingStage, StageResult
from conveyor.build.rooms import Rooms
from conveyor.build.task import Looked, Made, Ran, StageGone, Task, describe_result, ground_of, ground_of_built
from conveyor.build.walkers import Job, Request, Spawn, Until, Walker, drive
from conveyor.config.models import Image
from conveyor.errors import ConveyorError, StageFailed
from conveyor.events.api import ImageFailed, ImageMissing, StageBuilt, StageStarted, StageUsed, Warned
from conveyor.stages.api import Need, StageKind
from conveyor.stages.order import conveyor_of
from conveyor.storage.saving import Saved
from conveyor.storage.selection import Chosen, StoredStage
from stapel.api import Cancel
from stapel.errors import Cancelled, StapelError, Unreachable
from stapel.oci.api import ImageConfig

LOOKS_AT_ONCE = 16
KEEPS_AT_ONCE = 4
RESOLUTIONS = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """How many stages are built at once (0: no limit), and what a failure or a missing stage does."""

    builds_at_once: int = 5
    fail_fast: bool = False
    require_built: bool = False


@dataclass(slots=True)
class _Progress:
    """Where an image is. `passed` counts the stages of its conveyor that are behind it."""

    image: Image
    order: int
    kinds: tuple[StageKind, ...]
    height: int  # stages on the longest path from its first stage to the end of the last image that needs it
    passed: int = 0
    placed: list[tuple[int, Chosen]] = field(default_factory=list)
    results: list[StageResult] = field(default_factory=list)
    failure: Failure | None = None
    missing: MissingStage | None = None

    @property
    def ended_early(self) -> bool:
        return self.failure is not None or self.missing is not None

    def position(self, need: Need) -> int:
        """How many stages must be behind this image before `need` can be taken from it."""
        names = [kind.name for kind in conveyor_of(self.image)]
        if need.stage is None:
            return len(self.kinds)
        wanted = names.index(need.stage)
        return sum(1 for kind in self.kinds if names.index(kind.name) <= wanted)

    def taken(self, need: Need) -> StoredStage:
        """The last stage that exists up to the one that is needed."""
        position = self.position(need)
        return [chosen.stage for index, chosen in self.placed if index < position][-1]


@dataclass(slots=True)
class _Storing:
    """How the storing of a stage goes. `cancel` stops what runs ahead on it."""

    cancel: Cancel
    made: Made | None = None
    saved: Saved | None = None
    error: BaseException | None = None
    ended: bool = False


@dataclass(frozen=True, slots=True)
class _Ahead:
    """A stage that ran on one that was not stored yet; its digest is in work until it is stored or dropped."""

    position: int
    task: Task
    looked: Looked
    ran: Ran | None = None
    error: BaseException | None = None
    base_config: ImageConfig | None = None


def _drop(ahead: _Ahead | None, in_work: set[str]) -> None:
    if ahead is not None:
        in_work.discard(ahead.looked.digest)
        if ahead.ran is not None:
            ahead.ran.held.close()


class _NotStarted(Exception):
    """A stage is not built because another one has failed."""


class _Blocked(Exception):
    """An image that is needed will not be there."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Schedule:
    """One run over images; all that they need must be among them."""

    def __init__(self, rooms: Rooms, images: Sequence[Image], limits: Limits) -> None:
        self._rooms = rooms
        self._limits = limits
        heights = _heights(images)
        self._progress = {
            image.name: _Progress(image, order, _kinds(image), heights[image.name]) for order, image in enumerate(images)
        }
        self._in_work: set[str] = set()
        self._failed: str | None = None

    def run(self) -> tuple[ImageResult, ...]:
        """Resolve everything; the result of each image, in the order given.

        Raises only what is no stage's own failure; running builds are cancelled then.
        """
        limit = self._limits.builds_at_once
        pools = {"look": LOOKS_AT_ONCE, "make": limit if limit > 0 else max(len(self._progress), 1), "keep": KEEPS_AT_ONCE}
        drive([self._walk(progress) for progress in self._progress.values()], pools, stop=self._rooms.cancel.set)
        return tuple(_result(progress) for progress in self._progress.values())

    def _walk(self, progress: _Progress) -> Walker:
        """An image from its first stage to its last, or to what ends it."""
        for resolution in range(1, RESOLUTIONS + 1):
            try:
                while progress.passed < len(progress.kinds):
                    yield from self._stage(progress)
                    progress.passed += 1
                return
            except StageGone as gone:
                if resolution == RESOLUTIONS:
                    self._fail(progress, self._always_gone(progress, gone))
                    return
                self._rooms.reporter(Warned(f"{gone}; image {progress.image.name or '~'} is resolved again"))
                progress.passed = 0
                progress.placed.clear()
                progress.results.clear()
            except _Blocked as blocked:
                self._block(progress, blocked.name)
                return
            except (_NotStarted, Cancelled):
                self._not_started(progress)
                return
            except (ConveyorError, StapelError) as error:
                self._fail(progress, error)
                return

    def _stage(self, progress: _Progress) -> Generator[Request, Any, None]:
        kind = self._kind(progress)
        for need in kind.takes(progress.image):
            yield from self._wait_for(need)
        below = progress.placed[-1][1] if progress.placed else None
        taken = {need: self._progress[need.image].taken(need) for need in kind.takes(progress.image)}
        task = Task(progress.image, kind, ground_of(below) if below is not None else None, below, taken)
        looked: Looked | None = yield Job("look", partial(look, self._rooms, task))
        while looked is not None and looked.digest in self._in_work:
            yield Until(partial(self._is_settled, looked.digest))
            looked = yield Job("look", partial(look, self._rooms, task))
        if looked is None:
            return
        if looked.found is not None and looked.secondary is None:
            self._place(progress, task, looked.found, describe_result(self._rooms, task, looked, looked.found.stage))
            return
        if looked.found is None and self._limits.require_built:
            self._miss(progress, looked)
            raise _Blocked("")
        with self._working_on(looked.digest):
            if looked.found is not None:
                copied: Chosen = yield Job("keep", partial(copy, self._rooms, task, looked))
                self._place(progress, task, copied, describe_result(self._rooms, task, looked, copied.stage))
                return
            ran: Ran = yield from self._run(progress, task, looked, self._rooms.cancel)
            ahead = yield from self._store(progress, task, looked, ran)
        while ahead is not None:
            ahead = yield from self._go_on(progress, ahead)

    def _run(
        self, progress: _Progress, task: Task, looked: Looked, cancel: Cancel, ahead_of: Ran | None = None
    ) -> Generator[Request, Any, Ran]:
        assert looked.why is not None
        started = StageStarted(task.image.name, task.kind.name, looked.digest, looked.why)
        ran: Ran = yield Job(
            "make",
            partial(run, self._rooms, task, looked, cancel, ahead_of),
            priority=(progress.passed - progress.height, progress.order),
            started=lambda: self._rooms.reporter(started),
            refuse=lambda: _NotStarted() if self._failed is not None else None,
        )
        return ran

    def _store(self, progress: _Progress, task: Task, looked: Looked, ran: Ran) -> Generator[Request, Any, _Ahead | None]:
        """Store a stage while the next one runs; the next one where that may stand on what is stored."""
        storing = _Storing(Cancel())
        forget = self._rooms.cancel.on_cancel(storing.cancel.set)
        try:
            yield Spawn(self._put(task, looked, ran, storing))
            ahead = yield from self._run_ahead(progress, task, looked, ran, storing.cancel)
            yield Until(lambda: storing.ended)
        finally:
            forget()
            ran.held.close()
        if storing.error is not None:
            _drop(ahead, self._in_work)
            raise storing.error
        assert storing.made is not None
        assert storing.saved is not None
        saved = storing.saved
        result = describe_result(
            self._rooms, task, looked, saved.chosen.stage, seconds=storing.made.seconds, discarded=saved.discarded
        )
        self._place(progress, task, saved.chosen, result)
        if ahead is None or saved.discarded or ground_of(saved.chosen) != ahead.task.ground:
            _drop(ahead, self._in_work)
            return None
        return replace(ahead, task=replace(ahead.task, below=saved.chosen), base_config=storing.made.config)

    def _put(self, task: Task, looked: Looked, ran: Ran, storing: _Storing) -> Walker:
        """Beside the walker of the image, which looks at what is noted in `storing`."""
        try:
            storing.made = yield Job("keep", partial(store, self._rooms, task, looked, ran))
            storing.saved = yield Job("keep", partial(keep, self._rooms, task, looked, storing.made))
        except (ConveyorError, StapelError, StageGone) as error:
            storing.error = error
        if storing.saved is None or storing.saved.discarded:
            storing.cancel.set()
        storing.ended = True

    def _run_ahead(
        self, progress: _Progress, below: Task, looked: Looked, ran: Ran, cancel: Cancel
    ) -> Generator[Request, Any, _Ahead | None]:
        """Run the next stage of the image on one that is not stored yet; None where it must wait."""
        if self._rooms.introspection.asked or not can_be_built_on(below, looked, ran):
            return None
        ground = ground_of_built(below, looked, self._rooms.repo.head)
        for position in range(progress.passed + 1, len(progress.kinds)):
            kind = progress.kinds[position]
            if kind.takes(progress.image):
                return None
            task = Task(progress.image, kind, ground, None, {})
            try:
                found: Looked | None = yield Job("look", partial(look, self._rooms, task))
            except (ConveyorError, StapelError, StageGone):
                return None  # it is looked for again when it is its turn
            if found is None:
                continue
            if found.found is not None or found.digest in self._in_work or cancel.is_set():
                return None
            self._in_work.add(found.digest)
            ahead = _Ahead(position, task, found)
            try:
                return replace(ahead, ran=(yield from self._run(progress, task, found, cancel, ran)))
            except (ConveyorError, StapelError, StageGone, _NotStarted) as error:
                return replace(ahead, error=error)
        return None

    def _go_on(self, progress: _Progress, ahead: _Ahead) -> Generator[Request, Any, _Ahead | None]:
        """Store a stage that ran ahead, now that the one below it is stored."""
        progress.passed = ahead.position
        try:
            if ahead.error is not None:
                raise ahead.error
            assert ahead.ran is not None
            assert ahead.base_config is not None
            ran = replace(ahead.ran, base_config=ahead.base_config)
            return (yield from self._store(progress, ahead.task, ahead.looked, ran))
        finally:
            self._in_work.discard(ahead.looked.digest)

    @contextmanager
    def _working_on(self, digest: str) -> Iterator[None]:
        self._in_work.add(digest)
        try:
            yield
        finally:
            self._in_work.discard(digest)

    def _wait_for(self, need: Need) -> Generator[Request, Any, None]:
        source = self._progress[need.image]
        position = source.position(need)
        yield Until(lambda: source.passed >= position or source.ended_early)
        if source.passed < position:
            raise _Blocked(need.image)

    def _is_settled(self, digest: str) -> bool:
        return digest not in self._in_work

    def _always_gone(self, progress: _Progress, gone: StageGone) -> StageFailed:
        return StageFailed(
            str(gone),
            image=progress.image.name,
            stage=self._kind(progress).name,
            reason="stage_gone",
            hint="something removes stages while they are used; run the build again when it has ended",
        )

    def _place(self, progress: _Progress, task: Task, chosen: Chosen, result: StageResult) -> None:
        self._rooms.reporter(StageBuilt(result) if result.why is not None else StageUsed(result))
        progress.placed.append((progress.passed, chosen))
        progress.results.append(result)
        introspect(self._rooms, task, chosen.stage)

    def _kind(self, progress: _Progress) -> StageKind:
        return progress.kinds[progress.passed]

    def _miss(self, progress: _Progress, looked: Looked) -> None:
        assert looked.why is not None
        unknown = tuple(kind.name for kind in progress.kinds[progress.passed + 1 :])
        kind = self._kind(progress)
        progress.missing = MissingStage(progress.image.name, kind.name, looked.digest, looked.why, unknown)
        self._rooms.reporter(ImageMissing(progress.missing))

    def _fail(self, progress: _Progress, error: ConveyorError | StapelError) -> None:
        unreachable = isinstance(error, Unreachable)
        failure = Failure(
            image=progress.image.name,
            stage=self._kind(progress).name,
            reason=error.reason,
            message=str(error),
            hint=error.hint,
            status=error.status if isinstance(error, StageFailed) else 0,
            tail=error.tail if isinstance(error, StageFailed) else (),
            exit_status=error.exit_status if isinstance(error, ConveyorError) else 4 if unreachable else 1,
        )
        self._end(progress, failure)
        if self._failed is None:
            self._failed = progress.image.name
        if self._limits.fail_fast:
            self._rooms.cancel.set()

    def _block(self, progress: _Progress, name: str) -> None:
        if progress.missing is not None:
            return
        source = self._progress[name]
        reason = "stages_required" if source.missing is not None or _is_missing(source) else "blocked"
        message = f"image {name or '~'}, which it takes from, is not there"
        self._end(progress, Failure(progress.image.name, self._kind(progress).name, reason, message, blocked_by=name))

    def _not_started(self, progress: _Progress) -> None:
        by = self._failed or ""
        message = f"not built: image {by or '~'} has failed" if self._failed is not None else "cancelled"
        reason = "not_started" if self._failed is not None else "cancelled"
        self._end(progress, Failure(progress.image.name, self._kind(progress).name, reason, message, blocked_by=by))

    def _end(self, progress: _Progress, failure: Failure) -> None:
        progress.failure = failure
        self._rooms.reporter(ImageFailed(failure))


def _is_missing(progress: _Progress) -> bool:
    return progress.failure is not None and progress.failure.reason == "stages_required"


def _kinds(image: Image) -> tuple[StageKind, ...]:
    return tuple(kind for kind in conveyor_of(image) if kind.may_exist(image))


def _heights(images: Sequence[Image]) -> dict[str, int]:
    """Stages on the longest path from the start of each image to the end of what needs it."""
    needed_by: dict[str, list[Image]] = {image.name: [] for image in images}
    for image in images:
        for need in image.needs():
            needed_by[need].append(image)
    heights: dict[str, int] = {}

    def height(image: Image) -> int:
        if image.name not in heights:
            above = max((height(other) for other in needed_by[image.name]), default=0)
            heights[image.name] = len(_kinds(image)) + above
        return heights[image.name]

    for image in images:
        height(image)
    return heights


def _result(progress: _Progress) -> ImageResult:
    image = progress.image
    return ImageResult(
        name=image.name,
        artifact=image.artifact,
        final=image.final and not image.artifact,
        stages=tuple(progress.results),
        failure=progress.failure,
        missing=progress.missing,
    )
