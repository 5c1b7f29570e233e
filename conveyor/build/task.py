"""One stage on its way: what is asked, and what each step found out."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from conveyor.build.logs import StepLog
from conveyor.build.results import StageResult, StageSource, Why
from conveyor.build.rooms import Rooms
from conveyor.config.models import Image
from conveyor.keys.key import Commits, Key, Parts, content_digest
from conveyor.stages.api import Decision, Need, StageKind
from conveyor.stages.git_mapping import mapped
from conveyor.storage.facts import Facts, MappingFacts
from conveyor.storage.names import StageName
from conveyor.storage.selection import Chosen, StoredStage
from conveyor.storage.storage import Storage
from stapel.api import Held
from stapel.errors import StapelError
from stapel.oci.api import Description, Descriptor, ImageConfig


class Ground(Struct, frozen=True):
    """What a stage must know of the one below to be looked for: known as soon as that one is, stored or not."""

    digest: str
    git: Mapping[str, MappingFacts]
    bases: Mapping[str, str]  # see `Chosen`

    @property
    def commits(self) -> Commits:
        """The commits that are recorded with it, for the next key."""
        return {mapping: facts.commits for mapping, facts in self.git.items()}


def ground_of(chosen: Chosen) -> Ground:
    """That of a stored stage."""
    return Ground(chosen.stage.facts.digest, chosen.stage.facts.git, chosen.bases)


class Task(Struct, frozen=True):
    """A stage of an image, and the resolved stages of other images that it takes from."""

    image: Image
    kind: StageKind
    ground: Ground | None  # None: the first stage
    below: Chosen | None  # None: the first stage, or the one below is not stored yet
    taken: Mapping[Need, StoredStage]

    @property
    def parent(self) -> StoredStage | None:
        """The stored stage that this one is built on: below, or the project's image that `from` names."""
        if self.ground is None and self.image.base.kind == "image":
            return self.taken[Need(self.image.base.reference)]
        return self.below.stage if self.below is not None else None


class Looked(Struct, frozen=True):
    """A stage that exists: its key, and the stored stage to use. `found` is None where it must be built."""

    key: Key
    digest: str
    decision: Decision
    parts: Parts  # of the key; () where it is found
    found: Chosen | None
    secondary: Storage | None  # where it was found, None: in the primary
    why: Why | None


def ground_of_built(rooms: Rooms, task: Task, looked: Looked) -> Ground:
    """That of a stage that was built now, as selection would have it once it is stored."""
    git = looked.decision.git
    if looked.decision.selects_ancestor:
        items = mapped(task.image, rooms.prefix, rooms.repo, rooms.remotes)
        return Ground(looked.digest, git, {item.id: item.repo.head for item in items})
    return Ground(looked.digest, git, task.ground.bases if task.ground is not None else {})


def foresee(rooms: Rooms, task: Task, looked: Looked) -> StoredStage:
    """A stage that is not stored yet as those see it that are built on it: by its facts alone."""
    ground = ground_of_built(rooms, task, looked)
    facts = Facts(
        project=rooms.project.name,
        image=task.image.name,
        stage=task.kind.name,
        digest=looked.digest,
        content_digest=content_digest(looked.digest, ground.commits),
        commit=rooms.repo.head,
        git=ground.git,
        parent="",
        parents=(),
        sources=(),
        parts=(),
    )
    return StoredStage(StageName(0, looked.digest, ""), Description(Descriptor("", "", 0), {}, 0, 0, ""), facts)


class Ran(Struct, frozen=True):
    """A stage whose work is done, not stored yet. `held` is closed by who has this."""

    held: Held
    base_id: str  # what it was built on, as the engine names it
    base_config: ImageConfig  # the configuration to go on from
    seconds: float
    log: StepLog

    def drop(self) -> None:
        """It will not be stored."""
        self.held.close()
        self.log.discard()


class Made(Struct, frozen=True):
    """An image that is in the primary by digest and has no name yet."""

    descriptor: Descriptor
    config: ImageConfig
    seconds: float


class StageGone(Exception):
    """A stored stage that was selected is not there any more, or is broken: its image is to be resolved again."""

    def __init__(self, stage: StoredStage, cause: StapelError) -> None:
        super().__init__(f"stage {stage.name} cannot be used: {cause}")
        self.stage = stage


def describe_result(
    rooms: Rooms, task: Task, looked: Looked, stage: StoredStage, *, seconds: float = 0.0, discarded: bool = False
) -> StageResult:
    """What is told of a resolved stage."""
    description = stage.description
    built: StageSource = "primary" if looked.found is not None or discarded else "built"
    return StageResult(
        image=task.image.name,
        stage=task.kind.name,
        digest=looked.digest,
        name=str(stage.name),
        reference=rooms.primary.reference(stage),
        image_id=description.image_id,
        image_digest=description.descriptor.digest,
        size_bytes=description.size_bytes,
        parent_size_bytes=task.below.stage.description.size_bytes if task.below is not None else -1,
        created_ms=description.created_ms,
        commit=stage.facts.commit,
        source="secondary" if looked.secondary is not None else built,
        why=looked.why,
        seconds=seconds,
        discarded=discarded,
    )
