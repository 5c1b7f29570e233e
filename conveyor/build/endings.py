"""What becomes of an image that is not resolved: it is noted and told."""

from __future__ import annotations

from conveyor.build.progress import Progress
from conveyor.build.results import Failure, MissingStage
from conveyor.build.task import Looked, StageGone
from conveyor.errors import ConveyorError, StageFailed
from conveyor.events.api import ImageFailed, ImageMissing
from stapel.errors import StapelError, Unreachable


def miss(progress: Progress, looked: Looked) -> None:
    """A stage is not stored, and may not be built."""
    assert looked.why is not None
    unknown = tuple(kind.name for kind in progress.kinds[progress.passed + 1 :])
    progress.missing = MissingStage(progress.image.name, progress.kind.name, looked.digest, looked.why, unknown)
    progress.rooms.reporter(ImageMissing(progress.missing))


def fail(progress: Progress, error: ConveyorError | StapelError) -> None:
    """A stage has failed."""
    unreachable = isinstance(error, Unreachable)
    failure = Failure(
        image=progress.image.name,
        stage=progress.kind.name,
        reason=error.reason,
        message=str(error),
        hint=error.hint,
        status=error.status if isinstance(error, StageFailed) else 0,
        tail=error.tail if isinstance(error, StageFailed) else (),
        exit_status=error.exit_status if isinstance(error, ConveyorError) else 4 if unreachable else 1,
    )
    _end(progress, failure)


def block(progress: Progress, name: str) -> None:
    """An image that is needed will not be there."""
    if progress.missing is not None:
        return
    source = progress.lane[name]
    reason = "stages_required" if source.missing is not None or _is_missing(source) else "blocked"
    message = f"image {name or '~'}, which it takes from, is not there"
    _end(progress, Failure(progress.image.name, progress.kind.name, reason, message, blocked_by=name))


def leave_out(progress: Progress, failed: str | None) -> None:
    """A stage is not begun: the image `failed` has, or (None) the run is cancelled."""
    by = failed or ""
    message = f"not built: image {by or '~'} has failed" if failed is not None else "cancelled"
    reason = "not_started" if failed is not None else "cancelled"
    _end(progress, Failure(progress.image.name, progress.kind.name, reason, message, blocked_by=by))


def always_gone(progress: Progress, gone: StageGone) -> StageFailed:
    """The error for an image that has been resolved too often."""
    return StageFailed(
        str(gone),
        image=progress.image.name,
        stage=progress.kind.name,
        reason="stage_gone",
        hint="something removes stages while they are used; run the build again when it has ended",
    )


def _end(progress: Progress, failure: Failure) -> None:
    progress.failure = failure
    progress.rooms.reporter(ImageFailed(failure))


def _is_missing(progress: Progress) -> bool:
    return progress.failure is not None and progress.failure.reason == "stages_required"
