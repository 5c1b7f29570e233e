"""Keeping a stage: what was made gets its name or is discarded; what a secondary storage has is copied."""

from __future__ import annotations

from collections.abc import Callable

from conveyor.build.look import select_stage
from conveyor.build.rooms import Rooms
from conveyor.build.task import Looked, Made, StageGone, Task
from conveyor.events.api import StageWaits, Warned
from conveyor.storage.saving import Saved, Saving, save
from conveyor.storage.selection import Chosen, StoredStage
from locking.api import Waiting
from stapel.errors import Broken, NotFound
from stapel.oci.api import Descriptor


def keep(rooms: Rooms, task: Task, looked: Looked, made: Made) -> Saved:
    """Name what was made, or discard it for a suitable stage that has appeared."""
    return save(rooms.primary, looked.digest, made.descriptor, _suitable(rooms, task, looked), _saving(rooms, task))


def copy(rooms: Rooms, task: Task, looked: Looked) -> Chosen:
    """Copy a stage that was found in a secondary storage into the primary, under its own name. `StageGone`."""
    assert looked.found is not None
    assert looked.secondary is not None
    secondary, found = looked.secondary, looked.found.stage
    try:
        if secondary.address == rooms.engine.images.address:
            descriptor = _put_from_engine(rooms, found)
        else:
            descriptor = rooms.primary.store.put(secondary.store.get(found.description.descriptor.digest))
    except (NotFound, Broken) as error:
        secondary.forget(found.name)
        raise StageGone(found, error) from error
    saving = _saving(rooms, task)
    return save(rooms.primary, looked.digest, descriptor, _suitable(rooms, task, looked), saving, name=found.name).chosen


def _put_from_engine(rooms: Rooms, stage: StoredStage) -> Descriptor:
    held = rooms.engine.hold(rooms.engine.images.get(stage.description.descriptor.digest))
    try:
        return rooms.engine.put(held, held.config, rooms.primary.store, rooms.cancel)
    finally:
        held.close()


def _suitable(rooms: Rooms, task: Task, looked: Looked) -> Callable[[bool], Chosen | None]:
    return lambda fresh: select_stage(rooms, rooms.primary, task, looked.digest, looked.decision, fresh=fresh).chosen


def _saving(rooms: Rooms, task: Task) -> Saving:
    def warn(message: str) -> None:
        rooms.reporter(Warned(message))

    def on_wait(waiting: Waiting) -> None:
        rooms.reporter(StageWaits(task.image.name, task.kind.name, waiting.name, waiting.owner))

    return Saving(rooms.locks, rooms.lock_timeout_s, warn, on_wait)
