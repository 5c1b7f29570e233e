"""Several platforms of one image: a run resolves the images of all platforms at the same time.

An image is built for the platforms that it, or `build.platform`, names, else for those of the run. In a pass over one
platform every image that an image takes from is there for the same one. What the passes find of an image is one result in
the end; final images of several platforms are named by an index where the storage keeps indexes.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from conveyor.build.results import ImageResult
from conveyor.build.rooms import Rooms
from conveyor.config.models import Image
from conveyor.config.naming import display_name
from conveyor.errors import UsageError
from conveyor.events.api import (
    Event,
    ImageFailed,
    ImageMissing,
    Reporter,
    StageBuilt,
    StageLog,
    StageStarted,
    StageUsed,
    StageWaits,
)


class Pass(Struct, frozen=True):
    """The images of one platform, in order of configuration."""

    platform: str
    images: tuple[Image, ...]


def plan_passes(rooms: Rooms, images: Sequence[Image]) -> tuple[Pass, ...]:
    """What is to be resolved for which platform; the platforms in the order in which the images name them.

    Artifacts that say nothing are for the platforms of those who take from them. `UsageError` where an image takes from one
    that is not built for its platform.
    """
    by_name = {image.name: image for image in images}
    needed = {name for image in images for name in image.needs()}
    wanted: dict[str, set[str]] = {}
    for image in images:
        if not (image.artifact and not _own(image) and image.name in needed):
            for platform in _own(image) or rooms.platforms:
                wanted.setdefault(platform, set()).add(image.name)
    for platform, names in wanted.items():
        queue = list(names)
        while queue:
            taker = by_name[queue.pop()]
            for name in taker.needs():
                if name in names:
                    continue
                source = by_name[name]
                if not source.artifact or _own(source):
                    raise _do_not_fit(taker, source, platform, rooms.platforms)
                names.add(name)
                queue.append(name)
    return tuple(
        Pass(platform, tuple(replace(image, platform=platform) for image in images if image.name in names))
        for platform, names in wanted.items()
    )


def choose_pass(rooms: Rooms, images: Sequence[Image], image: str) -> Pass:
    """The pass in which an image is for this machine's platform, or else for the first one that it is built for."""
    passes = [item for item in plan_passes(rooms, images) if any(member.name == image for member in item.images)]
    return next((item for item in passes if item.platform == rooms.engine.platform()), passes[0])


def at_platform(rooms: Rooms, platform: str, *, is_told: bool = False) -> Rooms:
    """The rooms of a pass. `is_told`: its events name the platform."""
    project = replace(rooms.project, images=tuple(replace(image, platform=platform) for image in rooms.project.images))
    reporter = OfPlatform(rooms.reporter, platform) if is_told else rooms.reporter
    return replace(rooms, platform=platform, project=project, reporter=reporter)


class OfPlatform:
    """A `Reporter` that has events name the platform that they are about."""

    def __init__(self, reporter: Reporter, platform: str) -> None:
        self._reporter = reporter
        self._platform = platform

    def __call__(self, event: Event) -> None:
        """Pass the event on."""
        match event:
            case StageStarted() | StageLog() | StageWaits():
                event = replace(event, platform=self._platform)
            case StageUsed(result) | StageBuilt(result):
                event = replace(event, result=replace(result, platform=self._platform))
            case ImageFailed(failure):
                event = replace(event, failure=replace(failure, platform=self._platform))
            case ImageMissing(missing):
                event = replace(event, missing=replace(missing, platform=self._platform))
            case _:
                pass
        self._reporter(event)

    def close(self) -> None:
        """Close the view."""
        self._reporter.close()


def of_platform(result: ImageResult, platform: str, *, is_told: bool) -> ImageResult:
    """What a pass has found of an image. `is_told`: what is missing of it names the platform."""
    if is_told and result.failure is not None:
        result = replace(result, failure=replace(result.failure, platform=platform))
    if is_told and result.missing is not None:
        result = replace(result, missing=replace(result.missing, platform=platform))
    return replace(result, platform=platform)


def combine(images: Sequence[Image], found: Sequence[ImageResult]) -> tuple[ImageResult, ...]:
    """One result an image, in the order of the images."""
    by_name: dict[str, list[ImageResult]] = {}
    for result in found:
        by_name.setdefault(result.name, []).append(result)
    return tuple(_combine(by_name[image.name]) for image in images)


def _combine(results: Sequence[ImageResult]) -> ImageResult:
    if len(results) == 1:
        return results[0]
    failure = next((result.failure for result in results if result.failure is not None), None)
    missing = next((result.missing for result in results if result.missing is not None), None)
    return replace(
        results[0],
        stages=tuple(stage for result in results for stage in result.stages),
        failure=failure,
        missing=missing if failure is None else None,
        platform="",
        by_platform=tuple(results),
    )


def _own(image: Image) -> tuple[str, ...]:
    return image.platforms or ((image.platform,) if image.platform else ())


def _do_not_fit(taker: Image, source: Image, platform: str, defaults: Sequence[str]) -> UsageError:
    built_for = ", ".join(_own(source) or defaults)
    return UsageError(
        f'invalid image platform cross-references: "{display_name(taker.name)}" is built for {platform}, '
        f'"{display_name(source.name)}" that it needs for {built_for}',
        hint="give both the same `platform`, or say `build.platform` for all",
    )
