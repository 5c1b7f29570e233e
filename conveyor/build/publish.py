"""What follows a successful build: final images go to their repository, custom tags are given, records are written."""

from __future__ import annotations

from collections.abc import Sequence
from sys import audit as trace

from msgspec.structs import replace

from conveyor.build.results import Failure, ImageResult, StageResult
from conveyor.build.rooms import Rooms
from conveyor.build.tags import CustomTags, tag_image
from conveyor.events.api import ImageFailed
from conveyor.storage.copying import put_copy
from conveyor.storage.names import (
    StageName,
    commit_record_name,
    custom_tag_record_name,
    index_name,
    managed_image_name,
    parse_stage_name,
)
from conveyor.storage.storage import Storage
from stapel.errors import NotFound, StapelError, Unreachable
from stapel.oci.api import Descriptor, IndexStore

COPIES_AT_ONCE = 4
RECORDS_AT_ONCE = 16


def publish(rooms: Rooms, results: Sequence[ImageResult], tags: CustomTags) -> tuple[ImageResult, ...]:
    """Bring complete images to where they are wanted. An image that cannot be brought there has failed; others go on."""
    published = tuple(results)
    if rooms.final is not None or tags.templates or any(result.by_platform for result in results):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(COPIES_AT_ONCE, "publish") as pool:
            published = tuple(pool.map(lambda result: _publish(rooms, result, tags), results))
    if rooms.keeps_records and all(result.last is not None for result in published):
        _record(rooms, published)
    return published


def _publish(rooms: Rooms, result: ImageResult, tags: CustomTags) -> ImageResult:
    last = result.last
    if last is None or not result.final:
        return result
    where = rooms.final or rooms.primary
    try:
        if result.by_platform:
            result = _with_index(rooms, where, result)
        elif rooms.final is not None:
            result = replace(result, published=_published(rooms, rooms.final, last))
        return tag_image(where, result, tags)
    except StapelError as error:
        failure = Failure(
            image=result.name,
            stage=last.stage,
            reason=error.reason,
            message=f"the image is built, and is not published in {where.address}: {error}",
            hint=error.hint,
            exit_status=4 if isinstance(error, Unreachable) else 1,
        )
        rooms.reporter(ImageFailed(failure))
        return replace(result, failure=failure)


def _published(rooms: Rooms, final: Storage, last: StageResult) -> StageResult:
    """The last stage of an image under its own name there, copied where it is not."""
    name = _name_of(last)
    if name in final.all_stages():
        digest = final.store.get(last.name).descriptor.digest
    else:
        image = put_copy(rooms.engine, rooms.primary.store, last.image_digest, final.store, rooms.cancel)
        trace("final.before-name")
        final.store.name(last.name, image)
        trace("final.after-name")
        digest = image.digest
    return replace(last, reference=final.store.reference(last.name), image_digest=digest)


def _with_index(rooms: Rooms, where: Storage, result: ImageResult) -> ImageResult:
    """An image of several platforms with the index that stands for it; where none can be, the stage of this machine's."""
    lasts = {one.platform: one.last for one in result.by_platform if one.last is not None}
    if not isinstance(where.store, IndexStore):
        return replace(result, index=lasts.get(rooms.engine.platform(), next(iter(lasts.values()))))
    if rooms.final is not None:
        lasts = {platform: _published(rooms, rooms.final, last) for platform, last in lasts.items()}
    images = [(where.store.get(last.image_digest).descriptor, platform) for platform, last in lasts.items()]
    index = where.store.put_index(images)
    name = index_name({platform: last.name for platform, last in lasts.items()})
    if not _has(where.store, name, index):
        trace("index.before-name")
        where.store.name(name, index)
        trace("index.after-name")
    first = next(iter(lasts.values()))
    shown = replace(
        first,
        name=name,
        reference=where.store.reference(name),
        image_id=index.digest,
        image_digest=index.digest,
        size_bytes=sum(last.size_bytes for last in lasts.values()),
    )
    return replace(result, index=shown)


def _has(store: IndexStore, name: str, index: Descriptor) -> bool:
    try:
        return store.digest_of(name) == index.digest
    except NotFound:
        return False


def _record(rooms: Rooms, results: Sequence[ImageResult]) -> None:
    """Write down which images there are, which stage each was at this commit, and which tags were given."""
    records: dict[str, str] = {}
    for result in results:
        if result.artifact or result.last is None:
            continue
        records[managed_image_name(result.name)] = "an image of the project"
        for one in result.by_platform or (result,):
            assert one.last is not None
            stage = _name_of(one.last)
            for commit in rooms.repo.head_commits:
                records[commit_record_name(result.name, commit, stage)] = "the commit that an image was built at"
            for reference in result.custom_tags:
                records[custom_tag_record_name(stage, reference.rpartition(":")[2])] = "a custom tag"
    from concurrent.futures import ThreadPoolExecutor

    rooms.primary.load()
    with ThreadPoolExecutor(RECORDS_AT_ONCE, "record") as pool:
        list(pool.map(lambda record: rooms.primary.record(*record), records.items()))


def _name_of(stage: StageResult) -> StageName:
    name = parse_stage_name(stage.name)
    assert name is not None
    return name
