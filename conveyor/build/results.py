"""What a build found out: one value a stage, one an image. Reports and summaries are views of these."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

StageSource = Literal["primary", "secondary", "built"]


class Why(Struct, frozen=True):
    """Why a stage was built.

    `kind`: `changed` (parts differ from the nearest stored stage), `no_ancestor` (stages of this digest exist, none made
    from an ancestor), `rejected`, `gone` (the nearest stage has equal parts and is stored no more), `first_build`.
    """

    kind: Literal["changed", "no_ancestor", "rejected", "gone", "first_build"]
    parts: tuple[str, ...] = ()  # names of the parts that differ, in their order
    nearest: str = ""  # the stage that it was compared with

    def __str__(self) -> str:
        if self.kind == "changed":
            return "changed: " + ", ".join(self.parts)
        return {
            "no_ancestor": "no ancestor: stored stages of this digest were made from other commits",
            "rejected": "rejected: stored stages of this digest are marked as broken",
            "gone": "gone: an equal stage was stored before",
            "first_build": "first build",
        }[self.kind]


class StageResult(Struct, frozen=True):
    """A stage as this build goes on with it."""

    image: str
    stage: str
    digest: str
    name: str  # in the storage
    reference: str  # as `docker run` takes it
    image_id: str
    image_digest: str  # manifest digest; in a store without manifests the image id
    size_bytes: int
    parent_size_bytes: int  # -1: not known
    created_ms: int
    commit: str  # HEAD when it was built
    source: StageSource
    why: Why | None  # None: it was there
    seconds: float  # of building and saving, 0 where it was there
    discarded: bool = False  # built here, and another's was used
    platform: str = ""  # where images are built for several, as in the next two


class MissingStage(Struct, frozen=True):
    """The first stage of an image that is not stored, where built images are required."""

    image: str
    stage: str
    digest: str
    why: Why
    unknown: tuple[str, ...]  # what comes after it: whether those are stored depends on it
    platform: str = ""


class Failure(Struct, frozen=True):
    """Why an image is not there: its own failed stage, or (`blocked_by`) another image's."""

    image: str
    stage: str
    reason: str
    message: str
    hint: str = ""
    status: int = 0
    tail: tuple[str, ...] = ()
    blocked_by: str = ""
    exit_status: int = 1  # of conveyor
    platform: str = ""


class ImageResult(Struct, frozen=True):
    """An image after a build: its stages in order, and how it ended. `failure` and `missing` exclude one another."""

    name: str
    artifact: bool
    final: bool
    stages: tuple[StageResult, ...]
    failure: Failure | None = None
    missing: MissingStage | None = None
    custom_tags: tuple[str, ...] = ()  # full references
    published: StageResult | None = None  # the last stage as it is in the final repository, where there is one
    platform: str = ""  # where it is built for one
    by_platform: tuple[ImageResult, ...] = ()  # where it is built for several; `stages` are all of theirs
    index: StageResult | None = None  # what stands for all of them

    @property
    def last(self) -> StageResult | None:
        """The stage that is the image; None where it is not complete."""
        return self.stages[-1] if self.stages and self.failure is None and self.missing is None else None

    @property
    def shown(self) -> StageResult | None:
        """The stage to be told of as the image: that in the final repository, the index, else the last one."""
        return (self.published or self.index or self.last) if self.last is not None else None

    @property
    def rebuilt(self) -> bool:
        """Whether any stage was built in this run."""
        return any(stage.source == "built" for stage in self.stages)


class BuildResult(Struct, frozen=True):
    """All images that a run was asked for or needed, in order of configuration."""

    project: str
    commit: str
    repository: str  # the primary storage's address as a person writes it; "" : the engine's own store
    engine: str
    platform: str
    images: tuple[ImageResult, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether every image is there."""
        return all(image.last is not None for image in self.images)
