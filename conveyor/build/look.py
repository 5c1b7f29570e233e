"""Is there a stage? Its key at this commit, and the stored stage that everybody selects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from conveyor.build.rooms import Rooms
from conveyor.build.task import Looked, Task, view_stage
from conveyor.build.why import explain
from conveyor.keys.key import Key
from conveyor.stages.api import Below, Context, Decision, Need, Taken
from conveyor.storage.selection import Selection, StoredStage, select
from conveyor.storage.storage import Storage


def look(rooms: Rooms, task: Task) -> Looked | None:
    """The stage at this commit; None where it has nothing to do. Reads git, lists and labels; holds no lock."""
    facts = task.below.facts if task.below is not None else None
    decision = task.kind.decide(_context(rooms, task))
    if decision is None:
        return None
    key = Key(
        rooms.platform,
        task.kind.name,
        decision.parts,
        facts.digest if facts is not None else None,
        facts.commits if facts is not None else {},
    )
    digest = key.digest
    selection = select_stage(rooms, rooms.primary, digest, decision)
    if selection.stage is not None:
        return Looked(key, digest, decision, selection.stage, None, None)
    for storage in rooms.secondaries:
        found = select_stage(rooms, storage, digest, decision).stage
        if found is not None:
            return Looked(key, digest, decision, found, storage, None)
    why = explain(rooms.primary, rooms.project.name, task.image.name, task.kind.name, key, digest, selection)
    return Looked(key, digest, decision, None, None, why)


def select_stage(rooms: Rooms, storage: Storage, digest: str, decision: Decision, *, fresh: bool = False) -> Selection:
    """Selection among the stages of a storage, at this run's commit."""
    return select(
        storage.candidates(digest, fresh=fresh),
        rejected=storage.rejected(),
        holds_git=decision.selects_ancestor,
        ancestors=lambda commits: rooms.repo.ancestors(commits, rooms.repo.head),
    )


def _context(rooms: Rooms, task: Task) -> Context:
    return Context(
        project=rooms.project,
        image=task.image,
        repo=rooms.repo,
        commit=rooms.repo.head,
        prefix=rooms.prefix,
        below=Below(task.below.facts.git if task.below is not None else {}),
        others=_Others(rooms, task.taken),
        engine=rooms.engine,
    )


@dataclass(frozen=True, slots=True)
class _Others:
    """The other images, as a stage sees them."""

    rooms: Rooms
    taken: Mapping[Need, StoredStage]

    def take(self, need: Need) -> Taken:
        """A resolved stage of another image."""
        stage = self.taken[need]
        return Taken(stage, self.rooms.primary.reference(stage), lambda: view_stage(self.rooms, stage))

    def recorded_import(self, source: str) -> str | None:
        """From the primary, else from a secondary."""
        storages = (self.rooms.primary, *self.rooms.secondaries)
        return next((found for storage in storages if (found := storage.import_digest(source)) is not None), None)

    def record_import(self, source: str, digest: str) -> None:
        """In the primary."""
        self.rooms.primary.record_import(source, digest)

    def resolve_digest(self, reference: str) -> str:
        """The registry's digest of an image from outside."""
        return self.rooms.resolve_digest(reference)
