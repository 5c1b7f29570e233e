"""Keeping a stage: what was made gets its name or is discarded; what a secondary storage has is copied."""

from __future__ import annotations

from collections.abc import Callable

from conveyor.build.look import select_stage
from conveyor.build.make import store
from conveyor.build.rooms import Rooms
from conveyor.build.task import Looked, Made, Ran, StageGone, Task
from conveyor.build.use import make_saving, writing_refused
from conveyor.events.api import Warned
from conveyor.storage.copying import put_copy
from conveyor.storage.names import stage_name
from conveyor.storage.saving import Saved, SavedInVain, Saving, save
from conveyor.storage.selection import Chosen
from stapel.errors import Broken, NotFound, Refused, Unreachable
from stapel.oci.api import Descriptor


def put(rooms: Rooms, task: Task, looked: Looked, ran: Ran) -> tuple[Made, Saved]:
    """Put what a stage has made into the primary, and name it; see `store` and `keep`."""
    made = store(rooms, task, looked, ran)
    return made, keep(rooms, task, looked, ran, made)


def keep(rooms: Rooms, task: Task, looked: Looked, ran: Ran, made: Made) -> Saved:
    """Name what was made, or discard it for a suitable stage that has appeared.

    `StageGone` where what it stands on is not to be used any more.
    """

    def again() -> Descriptor:
        return store(rooms, task, looked, ran).descriptor

    suitable = _suitable(rooms, task, looked)
    try:
        saved = save(rooms.primary, looked.digest, made.descriptor, suitable, _saving(rooms, task), again=again)
    except Refused as error:
        raise writing_refused(rooms.primary, error) from error
    except SavedInVain as error:
        if task.parent is None:
            raise
        raise StageGone(task.parent, error) from error  # its line was rejected while we built on it
    if saved.chosen.stage.name.suffix != stage_name(looked.digest, 0, made.descriptor.digest).suffix:
        ran.log.discard()  # another's stage is used, and not an equal one
    if rooms.caches is not None and not saved.discarded:
        rooms.caches.fill(saved.chosen.stage)
    return saved


def copy(rooms: Rooms, task: Task, looked: Looked) -> Chosen | None:
    """Copy a stage that was found in a secondary storage into the primary, under its own name.

    None, with a warning, where it cannot be had from there after all: it is to be looked for again, which leaves it out.
    """
    assert looked.found is not None
    assert looked.secondary is not None
    secondary, found = looked.secondary, looked.found.stage
    suitable = _suitable(rooms, task, looked)

    def put() -> Descriptor:
        digest = found.description.descriptor.digest
        return put_copy(rooms.engine, secondary.store, digest, rooms.primary.store, rooms.cancel)

    try:
        saved = save(rooms.primary, looked.digest, put(), suitable, _saving(rooms, task), again=put, name=found.name)
    except (NotFound, Broken) as error:
        secondary.forget(found.name)
        rooms.reporter(Warned(f"stage {found.name} cannot be copied from {secondary.address}, and is left out: {error}"))
        return None
    except Unreachable as error:
        if secondary.store is not rooms.engine.images and not secondary.answers():
            return None
        if isinstance(error, Refused):
            raise writing_refused(rooms.primary, error) from error
        raise
    if rooms.caches is not None and not saved.discarded:
        rooms.caches.fill(saved.chosen.stage)
    return saved.chosen


def _suitable(rooms: Rooms, task: Task, looked: Looked) -> Callable[[bool], Chosen | None]:
    return lambda fresh: select_stage(rooms, rooms.primary, task, looked.digest, looked.decision, fresh=fresh).chosen


def _saving(rooms: Rooms, task: Task) -> Saving:
    return make_saving(rooms, task.image.name, task.kind.name)
