"""A whole build: the plan, the schedule, the confirmation, the custom tags, the result."""

from __future__ import annotations

import time
from collections.abc import Sequence

from conveyor.build.results import BuildResult, ImageResult
from conveyor.build.rooms import Rooms
from conveyor.build.schedule import RESOLUTIONS, Limits, Schedule
from conveyor.build.tags import CustomTags, tag_images
from conveyor.config.models import Image
from conveyor.events.api import Finished, PlanMade, PlannedImage, Warned
from conveyor.images.graph import independent_sets
from conveyor.storage.names import parse_stage_name
from conveyor.storage.storage import Storage


def build_images(
    rooms: Rooms, images: Sequence[Image], limits: Limits, tags: CustomTags, repository: str, started_s: float
) -> BuildResult:
    """Resolve all images (what they need must be among them) and tell what each of them is.

    `started_s` is the monotonic time at which the command began. Failures of stages are in the result; what is raised is
    no stage's own failure.
    """
    sets = independent_sets(images)
    planned = tuple(tuple(PlannedImage(image.name, image.artifact, image.final) for image in members) for members in sets)
    rooms.reporter(PlanMade(planned, limits.builds_at_once))
    results = _resolve(rooms, images, limits)
    if all(result.last is not None for result in results):
        results = tag_images(rooms.primary, results, tags)
    result = BuildResult(
        project=rooms.project.name,
        commit=rooms.repo.head,
        repository=repository,
        engine=rooms.engine.name,
        platform=rooms.platform,
        images=results,
        seconds=time.monotonic() - started_s,
    )
    rooms.reporter(Finished(result))
    return result


def _resolve(rooms: Rooms, images: Sequence[Image], limits: Limits) -> tuple[ImageResult, ...]:
    """Run the schedule until what it found is still there when it has ended."""
    for resolution in range(1, RESOLUTIONS + 1):
        results = Schedule(rooms, images, limits).run()
        if not any(result.rebuilt for result in results) or resolution == RESOLUTIONS:
            return results
        gone = _find_gone(rooms.primary, results)
        if not gone:
            return results
        rooms.reporter(Warned(f"{', '.join(gone)}: gone from {rooms.primary.address} already; resolving again"))
    raise AssertionError("the last resolution returns")


def _find_gone(storage: Storage, results: Sequence[ImageResult]) -> list[str]:
    """The last stages that a fresh list does not hold, forgotten for the next resolution."""
    storage.reload()
    gone = []
    for result in results:
        if result.last is not None:
            parsed = parse_stage_name(result.last.name)
            assert parsed is not None
            if not storage.has(parsed[0]):
                storage.forget(parsed[0])
                gone.append(result.last.name)
    return gone
