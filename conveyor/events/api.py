"""One stream of typed events; the terminal, plain lines and JSON lines are views of it.

Deciding code sends events to a `Reporter` and never prints. Events are values; `VERSION` is the version of their fields and
is raised when one changes its meaning. Images are named as in the configuration ("" is the nameless one, shown as `~`).
`platform` is that of the image where images are built for several, else "".
"""

from __future__ import annotations

from typing import Literal, Protocol

from msgspec import Struct

from conveyor.build.results import BuildResult, Failure, MissingStage, StageResult, Why

VERSION = 1


class PlannedImage(Struct, frozen=True):
    """A line of the plan."""

    name: str
    artifact: bool
    final: bool


class PlanMade(Struct, frozen=True):
    """The sets of images that do not need one another. A picture: images start as soon as what they need is there."""

    sets: tuple[tuple[PlannedImage, ...], ...]
    limit: int  # 0: none
    platform: str = ""  # for which one, where images are built for several


class StageUsed(Struct, frozen=True):
    """A stored stage was selected."""

    result: StageResult


class StageStarted(Struct, frozen=True):
    """A stage is being built."""

    image: str
    stage: str
    digest: str
    why: Why
    platform: str = ""


class StageLog(Struct, frozen=True):
    """Output of a stage's commands, or of the engine about it, cut anywhere."""

    image: str
    stage: str
    stream: Literal["stdout", "stderr"]
    data: bytes
    platform: str = ""


class StageWaits(Struct, frozen=True):
    """Somebody else holds the lock that saves this stage."""

    image: str
    stage: str
    lock: str
    owner: str
    platform: str = ""


class StageBuilt(Struct, frozen=True):
    """A stage was built and saved, or built and discarded for another's (`result.discarded`)."""

    result: StageResult


class ImageFailed(Struct, frozen=True):
    """An image will not be there: a stage of it failed, or an image that it needs did."""

    failure: Failure


class ImageMissing(Struct, frozen=True):
    """Built images were required, and this one is not complete."""

    missing: MissingStage


class Warned(Struct, frozen=True):
    """Something that a user should know and that stops nothing."""

    message: str


class Fetching(Struct, frozen=True):
    """Something of another repository is fetched now, which may take its time."""

    what: str
    url: str


class Finished(Struct, frozen=True):
    """The end of a build, successful or not."""

    result: BuildResult


Event = (
    PlanMade
    | StageUsed
    | StageStarted
    | StageLog
    | StageWaits
    | StageBuilt
    | ImageFailed
    | ImageMissing
    | Warned
    | Fetching
    | Finished
)


class Reporter(Protocol):
    """Takes events from any thread, one at a time for each caller; must not raise and must not block for long."""

    def __call__(self, event: Event) -> None:
        """An event, as it happens."""

    def close(self) -> None:
        """Show what is still held back. Closing twice is fine."""


class Silence:
    """A reporter that tells nobody, for what is only looked at."""

    def __call__(self, event: Event) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""
