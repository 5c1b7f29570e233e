"""Stages from one storage into another: between registries, and to and from the engine's own store.

Copying has no state: what is there under its name is left alone, and a copy gets its name by one atomic step after it is
complete. So it may be killed and begun again, and two may do it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from sys import audit as trace

from msgspec import Struct

from conveyor.storage.names import StageName, is_record_of_stage, parse_copy_record, parse_mark
from conveyor.storage.saving import Saving, acquire
from conveyor.storage.selection import StoredStage
from conveyor.storage.storage import Storage
from stapel.api import Cancel, Engine
from stapel.errors import Broken, NotFound
from stapel.oci.api import Descriptor, ImageStore

COPIES_AT_ONCE = 4


class Copying(Struct, frozen=True):
    """What a copy found: `copied` now, `there` before, `refused` for marks on them, `lost`: broken or gone at the source."""

    copied: tuple[StageName, ...]
    there: tuple[StageName, ...]
    refused: tuple[StageName, ...]
    lost: tuple[StageName, ...]


def put_copy(engine: Engine, source: ImageStore, digest: str, into: ImageStore, cancel: Cancel) -> Descriptor:
    """Put an image of `source` into another store, without a name; complete, or without effect.

    Between registries the manifest is kept byte for byte. `NotFound` and `Broken` are about the source; `Refused` and
    `Unreachable` about either.
    """
    if source is not engine.images and into is not engine.images:
        return into.put(source.get(digest))
    held = engine.hold(source.get(digest))
    try:
        return engine.put(held, held.config, into, cancel)
    finally:
        held.close()


def copy_stages(
    engine: Engine,
    source: Storage,
    into: Storage,
    saving: Saving,
    cancel: Cancel,
    *,
    wanted: Collection[StageName] | None = None,
    on_copied: Callable[[StoredStage], None] = lambda stage: None,
) -> Copying:
    """Copy what is missing: all stages with their records, or the `wanted` ones with theirs. Names are kept.

    Marks go first, so that nobody uses for a moment what is rejected; stages that are rejected, or stand on such a one,
    stay. A stage that the source has lost is left out with a warning. Errors of either store pass through, what was copied
    until then stays.
    """
    into.load()
    records = [name for name in source.records() if wanted is None or is_record_of_stage(name, wanted)]
    marks = [name for name in records if parse_mark(name) is not None]
    _copy_records(marks, into)
    names = [name for name in source.all_stages()[::-1] if wanted is None or name in wanted]
    there = set(into.all_stages())
    rejected = source.rejected() | into.rejected()
    copied: list[StageName] = []
    refused: list[StageName] = []
    lost: list[StageName] = []

    def copy(name: StageName, stage: StoredStage | None) -> None:
        cancel.check()
        if str(name) in rejected or (stage is not None and any(parent in rejected for parent in stage.facts.parents)):
            refused.append(name)
        elif stage is None:
            if name not in broken:
                saving.warn(f"stage {name} cannot be read in {source.address}, and is left out")
            lost.append(name)
        else:
            try:
                _copy_stage(engine, source, stage, into, saving, cancel)
            except (NotFound, Broken) as error:
                saving.warn(f"stage {name} cannot be copied from {source.address}, and is left out: {error}")
                lost.append(name)
                return
            copied.append(name)
            on_copied(stage)

    missing = [name for name in names if name not in there]
    stages = source.describe(missing)
    broken = dict(source.take_broken())
    for name, error in broken.items():
        if str(name) not in rejected:
            saving.warn(f"stage {name} of {source.address} is broken, and left out: {error}")
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(COPIES_AT_ONCE, "copy") as pool:
        try:
            list(pool.map(copy, missing, stages))
        except BaseException:
            cancel.set()  # what has not begun does not begin any more
            raise
    # What is said of a copy in the source does not hold here: it has its own records.
    _copy_records([name for name in records if name not in marks and parse_copy_record(name) is None], into)
    return Copying(tuple(sorted(copied)), tuple(name for name in names if name in there), tuple(refused), tuple(lost))


def _copy_stage(engine: Engine, source: Storage, stage: StoredStage, into: Storage, saving: Saving, cancel: Cancel) -> None:
    put = partial(put_copy, engine, source.store, stage.description.descriptor.digest, into.store, cancel)
    image = put()
    lease = acquire(into, stage.name.digest, saving)
    try:
        into.refresh(stage.name.digest)
        if stage.name in into.all_stages():
            return
        trace("copy.before-name")
        try:
            into.add(stage.name, image)
        except NotFound:  # somebody has cleaned up what had no name yet
            into.add(stage.name, put())
        trace("copy.after-name")
    finally:
        if lease is not None:
            lease.release()


def _copy_records(names: Collection[str], into: Storage) -> None:
    from concurrent.futures import ThreadPoolExecutor

    missing = sorted(set(names) - into.records())
    with ThreadPoolExecutor(COPIES_AT_ONCE, "record") as pool:
        list(pool.map(into.store.put_record, missing))
