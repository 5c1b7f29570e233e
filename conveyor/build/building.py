"""A whole build: the plan, the schedule, the confirmation, the custom tags, the result."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from sys import audit as trace

from msgspec.structs import replace

from conveyor.build.platforms import at_platform, combine, of_platform, plan_passes
from conveyor.build.progress import Lane
from conveyor.build.results import BuildResult, Failure, ImageResult, StageResult
from conveyor.build.rooms import Introspection, Rooms
from conveyor.build.schedule import RESOLUTIONS, Limits, Schedule
from conveyor.build.tags import CustomTags
from conveyor.config.models import Image
from conveyor.config.naming import display_name
from conveyor.events.api import Finished, ImageFailed, PlanMade, PlannedImage, Silence, Warned
from conveyor.images.graph import independent_sets


def build_images(
    rooms: Rooms, images: Sequence[Image], limits: Limits, tags: CustomTags, repository: str, started_s: float
) -> BuildResult:
    """Resolve all images (what they need must be among them) and tell what each of them is.

    `started_s` is the monotonic time at which the command began. Failures of stages are in the result; what is raised is
    no stage's own failure.
    """
    results = _resolve_passes(rooms, images, limits)
    if all(result.last is not None for result in results):
        from conveyor.build.publish import publish

        results = publish(rooms, results, tags)
    if rooms.caches is not None:
        rooms.caches.finish()
    rooms.engine.note_used({stage.image_id for image in results for stage in image.stages})
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


def plan(images: Sequence[Image], builds_at_once: int, platform: str = "") -> PlanMade:
    """The picture of what is to be done; `platform`: for which one, where there are several."""
    sets = independent_sets(images)
    planned = tuple(tuple(PlannedImage(image.name, image.artifact, image.final) for image in members) for members in sets)
    return PlanMade(planned, builds_at_once, platform)


def _resolve_passes(rooms: Rooms, images: Sequence[Image], limits: Limits) -> tuple[ImageResult, ...]:
    """The images of all platforms at the same time."""
    passes = plan_passes(rooms, images)
    has_several = len(passes) > 1
    for item in passes:
        rooms.reporter(plan(item.images, limits.builds_at_once, item.platform if has_several else ""))
    lanes = [Lane(at_platform(rooms, item.platform, is_told=has_several), item.images) for item in passes]
    platforms = [item.platform for item in passes for _ in item.images]
    results = zip(_resolve(rooms, lanes, limits) if lanes else (), platforms, strict=True)
    return combine(images, [of_platform(result, platform, is_told=has_several) for result, platform in results])


def _resolve(rooms: Rooms, lanes: Sequence[Lane], limits: Limits) -> tuple[ImageResult, ...]:
    """Run the schedule until what it found is what everybody selects when it has ended.

    What another builder saves while we build, or somebody removes, may change a selection after we have made it. An image
    of which the last resolution is not confirmed either has failed: nobody would go on with what its report names.
    """
    built: dict[str, StageResult] = {}
    for resolution in range(1, RESOLUTIONS + 1):
        results = Schedule(lanes, limits).run()
        rooms.engine.rest()  # now: beside what is left to do
        built |= {stage.name: stage for result in results for stage in result.stages if stage.source == "built"}
        if not _has_written(results, built) or any(result.failure for result in results):
            break
        trace("build.before-confirm")
        differing = _find_differing(rooms, lanes, results)
        trace("build.after-confirm")
        if not differing:
            break
        if resolution == RESOLUTIONS:
            results = tuple(_unsettle(rooms, item) if at in differing else item for at, item in enumerate(results))
            break
        names = ", ".join(dict.fromkeys(display_name(results[at].name) for at in differing))
        rooms.reporter(Warned(f"{names}: other stages are selected by now; resolving again"))
    return tuple(
        replace(result, stages=tuple(built.get(stage.name, stage) for stage in result.stages)) for result in results
    )


def _unsettle(rooms: Rooms, result: ImageResult) -> ImageResult:
    failure = Failure(
        image=result.name,
        stage=result.stages[-1].stage,
        reason="stage_gone",
        message=f"other stages are selected than were found or built, {RESOLUTIONS} times",
        hint="something removes stages, or saves older ones, while they are used; run the build again when it has ended",
        exit_status=4,
    )
    rooms.reporter(ImageFailed(failure))
    return replace(result, failure=failure)


def _has_written(results: Sequence[ImageResult], built: Collection[str]) -> bool:
    """Whether this run stored or copied a stage, or discarded one: others may have done so at the same time."""
    stages = [stage for result in results for stage in result.stages]
    return bool(built) or any(stage.source == "secondary" or stage.discarded for stage in stages)


def _find_differing(rooms: Rooms, lanes: Sequence[Lane], results: Sequence[ImageResult]) -> list[int]:
    """Which images a fresh list gives other stages of than a run has found. Builds and tells nothing."""
    if not rooms.primary.reload():
        return []
    quiet = [Lane(replace(lane.rooms, reporter=Silence(), introspection=Introspection()), lane.images) for lane in lanes]
    selected = Schedule(quiet, Limits(0, require_built=True)).run()
    return [
        at
        for at, (found, fresh) in enumerate(zip(results, selected, strict=True))
        if [stage.name for stage in found.stages] != [stage.name for stage in fresh.stages]
    ]
