"""Where each image of a run is, as the schedule keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from conveyor.build.line import Ahead
from conveyor.build.results import Failure, ImageResult, MissingStage, StageResult
from conveyor.build.rooms import Rooms
from conveyor.build.task import Made, StageGone
from conveyor.config.models import Image
from conveyor.stages.api import Need, StageKind
from conveyor.stages.order import conveyor_of
from conveyor.storage.selection import Chosen, StoredStage
from stapel.api import Held


class Lane(Struct, frozen=True):
    """Images of one platform, with all that they need, and what they are resolved with."""

    rooms: Rooms
    images: Sequence[Image]


class Progress(Struct):
    """Where an image is. `passed` counts the stages of its conveyor that are behind it; `lane`: all images of its lane."""

    image: Image
    rooms: Rooms
    lane: Mapping[str, Progress]
    order: int
    kinds: tuple[StageKind, ...]
    height: int  # stages on the longest path from its first stage to the end of the last image that needs it
    passed: int = 0
    resolutions: int = 0
    gone: StageGone | None = None  # what somebody else has found of its stages, until it starts over
    walked: bool = False  # whether its walker has come to an end
    ending: Ahead | None = None  # its last stage, once it is known that it will be built now
    last: Ahead | None = None  # the same, once it has run
    made_last: tuple[Held, Made] | None = None  # of the stage that this run stored last: what it was, how it is stored
    placed: list[tuple[int, Chosen]] = field(default_factory=list)
    results: list[StageResult] = field(default_factory=list)
    failure: Failure | None = None
    missing: MissingStage | None = None

    @property
    def kind(self) -> StageKind:
        """The stage that it is at."""
        return self.kinds[min(self.passed, len(self.kinds) - 1)]

    @property
    def ended_early(self) -> bool:
        """Whether it will not be there."""
        return self.failure is not None or self.missing is not None

    def has(self, position: int) -> bool:
        """Whether what stands up to a position can be taken from it."""
        return self.gone is None and self.passed >= position

    def holds(self, stage: StoredStage) -> bool:
        """Whether a stage is one of its own as they were resolved."""
        return any(chosen.stage.name == stage.name for _, chosen in self.placed)

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

    def result(self) -> ImageResult:
        """What has become of it."""
        image = self.image
        return ImageResult(
            name=image.name,
            artifact=image.artifact,
            final=image.final and not image.artifact,
            stages=tuple(self.results),
            failure=self.failure,
            missing=self.missing,
        )


def begin(lanes: Sequence[Lane]) -> list[Progress]:
    """All images before their first stages, in the order given."""
    found: list[Progress] = []
    for lane in lanes:
        heights = _heights(lane.images)
        progress: dict[str, Progress] = {}
        for image in lane.images:
            progress[image.name] = Progress(image, lane.rooms, progress, len(found), _kinds(image), heights[image.name])
            found.append(progress[image.name])
    return found


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
