"""Using a stored stage: its image ready in the engine. What is found to be gone is left out, what is broken is rejected."""

from __future__ import annotations

from conveyor.build.rooms import Rooms
from conveyor.build.task import StageGone
from conveyor.errors import ServiceError
from conveyor.events.api import StageWaits, Warned
from conveyor.storage.names import StageName, parse_stage_name
from conveyor.storage.rejecting import find_first_with, reject
from conveyor.storage.saving import Saving
from conveyor.storage.selection import StoredStage
from conveyor.storage.storage import Storage
from locking.api import Waiting
from stapel.api import Held
from stapel.errors import Broken, NotFound, Refused
from stapel.oci.api import Descriptor

_PIECE_BYTES = 1 << 20


def hold_stage(rooms: Rooms, stage: StoredStage) -> Held:
    """A stage of the primary, ready to build on.

    `StageGone`: it is not there, and left out for this run; or it is broken, and then it is rejected for everybody, or the
    stage below it that is the first to have what is broken. The bytes come from a cache where one has them.
    """
    held = rooms.caches.use(stage, rooms.engine.hold) if rooms.caches is not None else None
    if held is not None:
        return held
    try:
        return rooms.engine.hold(rooms.primary.store.get(stage.description.descriptor.digest))
    except NotFound as error:
        rooms.primary.forget(stage.name)
        raise StageGone(stage, error) from error
    except Broken as error:
        culprit = _find_culprit(rooms, stage, error) if error.blob else stage.name
        reject_stage(rooms, culprit, error, waits=(stage.facts.image, stage.facts.stage))
        raise StageGone(stage, error) from error


def reject_stage(rooms: Rooms, name: StageName, cause: Broken, *, waits: tuple[str, str]) -> None:
    """Mark a stage of the primary as broken, and say so. `waits`: image and stage that wait for the lock meanwhile."""
    if cause.blob:
        rooms.primary.suspect(cause.blob)
    if str(name) in rooms.primary.rejected():
        return  # by another image of this run, a moment ago
    if reject(rooms.primary, name, make_saving(rooms, *waits)):
        message = f"stage {name} is broken and marked as rejected, it is used no more: {cause}"
        rooms.reporter(Warned(f"{message}\n`conveyor stages unreject {name}` takes the mark back"))


def check_stored(rooms: Rooms, image: Descriptor) -> None:
    """Read the blobs of an image that was put into the primary and that this run has found broken in another one.

    Layers of files are the same bytes each time they are made, and a storage that has damaged bytes under a digest takes no
    others for it. `ServiceError` where that is so: what is stored with such a blob is as broken as what was rejected.
    """
    suspected = rooms.primary.suspected()
    if not suspected:
        return
    view = rooms.primary.store.get(image.digest)
    for layer in view.layers():
        if layer.digest in suspected:
            try:
                with view.open(layer) as content:
                    while content.read(_PIECE_BYTES):
                        pass
            except Broken as error:
                raise ServiceError(
                    f"{rooms.primary.address} keeps damaged bytes, and takes no others in their place: {error}",
                    reason="storage_damaged",
                    hint=f"have the blob {layer.digest} removed from the registry's storage, and build again",
                ) from error


def writing_refused(storage: Storage, error: Refused) -> ServiceError:
    """What is told where a stage has to be saved and may not be."""
    return ServiceError(
        f"the stage is not stored, and writing to {storage.address} is refused: {error}",
        reason="write_refused",
        hint=error.hint or "log in as a user that may write, or have somebody build it who may",
    )


def make_saving(rooms: Rooms, image: str, stage: str) -> Saving:
    """What saving and rejecting need, on behalf of a stage of an image."""

    def warn(message: str) -> None:
        rooms.reporter(Warned(message))

    def on_wait(waiting: Waiting) -> None:
        rooms.reporter(StageWaits(image, stage, waiting.name, waiting.owner))

    return Saving(rooms.locks, rooms.lock_timeout_s, warn, on_wait)


def _find_culprit(rooms: Rooms, stage: StoredStage, error: Broken) -> StageName:
    """The lowest stage in the line that has the broken blob: all above it have it too."""
    line = tuple(name for text in stage.facts.parents if (name := parse_stage_name(text)) is not None)

    def layers_of(name: StageName) -> frozenset[str]:
        return frozenset(layer.digest for layer in rooms.primary.store.get(str(name)).layers())

    return find_first_with(error.blob, line, layers_of) or stage.name
