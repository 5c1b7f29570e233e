"""The stages of images as a build at one commit finds or makes them, without running anything.

Every stage is looked for as the schedule does; one that is not stored is stored at once, its image under a digest that
depends on nothing but its place in the chain, so that what is injected and recorded is the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from msgspec.structs import replace

from conveyor.build.look import look, select_stage
from conveyor.build.rooms import Rooms
from conveyor.build.task import Ground, Looked, Task, ground_of
from conveyor.config.models import Image
from conveyor.images.graph import independent_sets
from conveyor.keys.key import content_digest
from conveyor.stages.api import Need
from conveyor.stages.order import conveyor_of
from conveyor.storage.facts import LABEL, Facts, format_facts
from conveyor.storage.names import stage_name
from conveyor.storage.selection import Chosen, StoredStage
from stapel.oci.api import ImageConfig
from tests.unit.build.memory_engine import MemoryImages
from tests.unit.build.worlds import World
from tests.unit.stapel.trees import Node

ADDRESS = "registry.example/project"
STARTED_MS = 1_700_000_000_000

Chain = dict[str, Looked]
Files = Mapping[str, Mapping[bytes, Node]]


@dataclass
class Chains:
    """One storage, and the chains that were resolved in it. `files`: what the stages of each image hold."""

    world: World
    files: Files = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world.primary = MemoryImages(ADDRESS)
        self._stored = 0

    def resolve(self, images: tuple[Image, ...], commit: str) -> dict[str, Chain]:
        """The stages of all images at a commit, by image and stage."""
        rooms = self.world.rooms(images, commit)
        chains: dict[str, Chain] = {}
        stages: dict[str, dict[str, StoredStage]] = {}
        for item in (item for members in independent_sets(images) for item in members):
            chains[item.name], stages[item.name] = self._resolve(rooms, item, stages)
        return {item.name: chains[item.name] for item in images}

    def _resolve(
        self, rooms: Rooms, item: Image, others: Mapping[str, Mapping[str, StoredStage]]
    ) -> tuple[Chain, dict[str, StoredStage]]:
        chain: Chain = {}
        stages: dict[str, StoredStage] = {}
        ground: Ground | None = None
        below: Chosen | None = None
        for kind in conveyor_of(item):
            if not kind.may_exist(item):
                continue
            taken = {need: _take(rooms.project.image(need.image), others[need.image], need) for need in kind.takes(item)}
            task = Task(item, kind, ground, below, taken)
            looked = look(rooms, task)
            if looked is None:
                continue
            found = looked.found or self._store(rooms, task, looked)
            chain[kind.name], stages[kind.name] = looked, found.stage
            below = found
            ground = ground_of(found)
        return chain, stages

    def _store(self, rooms: Rooms, task: Task, looked: Looked) -> Chosen:
        git = looked.decision.git
        parent = task.parent
        facts = Facts(
            project=rooms.project.name,
            image=task.image.name,
            stage=task.kind.name,
            digest=looked.digest,
            content_digest=content_digest(looked.digest, {name: item.commits for name, item in git.items()}),
            commit=rooms.repo.head,
            git=git,
            parent="",
            parents=(*parent.facts.parents, str(parent.name)) if parent is not None else (),
            sources=(),
            parts=looked.key.part_digests(),
        )
        self._stored += 1
        content = hashlib.sha256(f"{task.image.name}/{task.kind.name}/{self._stored}".encode()).hexdigest()
        config = ImageConfig({"config": {"Labels": {LABEL: format_facts(facts)}}})
        descriptor = self.world.store.keep(config, self.files.get(task.image.name, {}), f"sha256:{content}")
        name = stage_name(looked.digest, STARTED_MS + self._stored, descriptor.digest)
        rooms.primary.add(name, descriptor)
        chosen = select_stage(rooms, rooms.primary, task, looked.digest, looked.decision).chosen
        assert chosen is not None
        return chosen


def _take(source: Image, stages: Mapping[str, StoredStage], need: Need) -> StoredStage:
    names = [kind.name for kind in conveyor_of(source)]
    last = names.index(need.stage) if need.stage is not None else len(names)
    return [stage for name, stage in stages.items() if names.index(name) <= last][-1]


def change_image(images: tuple[Image, ...], name: str, **changes: object) -> tuple[Image, ...]:
    """The images, one of them with other fields."""
    return tuple(replace(item, **changes) if item.name == name else item for item in images)  # type: ignore[arg-type]
