"""Is there a stage? Its key at this commit, and the stored stage that everybody selects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial

from msgspec import Struct

from conveyor.build.rooms import Rooms
from conveyor.build.task import Looked, Task
from conveyor.build.use import hold_stage, reject_stage
from conveyor.build.why import explain
from conveyor.errors import GitError
from conveyor.events.api import Warned
from conveyor.gitrepo.api import Snapshot
from conveyor.keys.key import Key, content_digest
from conveyor.stages.api import Below, Context, Decision, Need, Taken
from conveyor.stages.git_mapping import Mapped, mapped
from conveyor.storage.facts import Facts
from conveyor.storage.selection import AncestorsOf, Chosen, SameTree, Selection, StoredStage, select
from conveyor.storage.storage import Storage
from stapel.errors import Unreachable

SAME_TREE_COMMITS = 200


def look(rooms: Rooms, task: Task) -> Looked | None:
    """The stage at this commit; None where it has nothing to do. Reads git, lists and labels; holds no lock."""
    ground = task.ground
    decision = task.kind.decide(_context(rooms, task))
    if decision is None:
        return None
    key = Key(
        rooms.platform,
        task.kind.name,
        decision.parts,
        ground.digest if ground is not None else None,
        ground.commits if ground is not None else {},
    )
    digest = key.digest
    selection = select_stage(rooms, rooms.primary, task, digest, decision)
    for name, error in rooms.primary.take_broken():
        reject_stage(rooms, name, error, waits=(task.image.name, task.kind.name))
    if selection.chosen is not None:
        return Looked(key, digest, decision, (), selection.chosen, None, None)
    for storage in rooms.secondaries:
        found = _find_in_secondary(rooms, storage, task, digest, decision)
        if found is not None:
            return Looked(key, digest, decision, (), found, storage, None)
    parts = key.part_digests()
    of = (rooms.project.name, task.image.name, task.kind.name)
    why = explain(rooms.primary, of, parts, digest, selection)
    return Looked(key, digest, decision, parts, None, None, why)


def _find_in_secondary(rooms: Rooms, storage: Storage, task: Task, digest: str, decision: Decision) -> Chosen | None:
    """What would be selected there; nothing, with one warning a run, where it cannot be asked."""
    if storage.is_lost:
        return None
    try:
        found = select_stage(rooms, storage, task, digest, decision).chosen
    except Unreachable as error:
        if storage.store is rooms.engine.images:
            raise
        storage.lose(error)
        return None
    for name, broken in storage.take_broken():
        rooms.reporter(Warned(f"stage {name} of {storage.address} is broken, and left out: {broken}"))
    return found


def select_stage(
    rooms: Rooms, storage: Storage, task: Task, digest: str, decision: Decision, *, fresh: bool = False
) -> Selection:
    """Selection among the stages of a storage, at this run's commit.

    What the primary has rejected is not taken from elsewhere either: it would have the same name there.
    """
    candidates = []
    for stage in storage.candidates(digest, fresh=fresh):
        if _is_of(task, digest, decision, stage.facts):
            candidates.append(stage)
        else:
            storage.distrust(stage.name)
    return select(
        candidates,
        rejected=storage.rejected() | rooms.primary.rejected(),
        ancestors=_ancestors(rooms, task) if decision.selects_ancestor else None,
        same_tree=_same_tree(rooms, task) if rooms.same_tree else None,
        bases_of=partial(_bases_of, rooms, task),
        bases=task.ground.bases if task.ground is not None else {},
    )


def _is_of(task: Task, digest: str, decision: Decision, facts: Facts) -> bool:
    """Whether a label agrees with the digest in all that a digest settles. An honest one always does."""
    if facts.stage != task.kind.name or facts.content_digest != content_digest(digest, facts.commits):
        return False
    if task.ground is not None and not (facts.parents and facts.parents[-1].startswith(f"{task.ground.digest}-")):
        return False
    if decision.selects_ancestor:
        return facts.git.keys() == decision.git.keys()
    return facts.commits == {mapping: item.commits for mapping, item in decision.git.items()}


def _ancestors(rooms: Rooms, task: Task) -> AncestorsOf:
    items = _items(rooms, task)

    def find(mapping: str, commits: Collection[str]) -> Collection[str]:
        # Each in its own repository: another one may know the same commits, and have them in another order.
        repo = items[mapping].repo
        return repo.ancestors(commits, repo.head)

    return find


def _bases_of(rooms: Rooms, task: Task, facts: Facts) -> Mapping[str, str] | None:
    """The recorded commit of each mapping; of a stage made at the merge of a pull request, that merge made again.

    A merge is believed only where it gives the files that the stage recorded. None too where what has changed since
    cannot be found out, for a submodule's commit is nowhere any more: such a stage cannot be built on.
    """
    items = _items(rooms, task)
    found: dict[str, str] = {}
    for mapping, recorded in facts.git.items():
        item = items.get(mapping)
        if item is None:
            return None
        commit = item.repo.merged(recorded.commits)
        if commit is None or not item.repo.can_compare(commit, item.repo.head, item.selector):
            return None
        if len(recorded.commits) > 1 and _tree_digest(item, commit) != recorded.tree:
            return None
        found[mapping] = commit
    return found


def _tree_digest(item: Mapped, commit: str) -> str | None:
    """The digest of the files of a mapping; None where a submodule's commit is nowhere any more."""
    try:
        return item.repo.tree_digest(commit, item.selector)
    except GitError as error:
        if not error.reason.startswith("submodule_"):
            raise
        return None


def _same_tree(rooms: Rooms, task: Task) -> SameTree:
    items = _items(rooms, task)
    of_repo: dict[int, list[Mapped]] = {}
    for item in items.values():
        of_repo.setdefault(id(item.repo), []).append(item)

    def find(facts: Facts) -> Mapping[str, str] | None:
        if facts.git.keys() != items.keys():
            return None
        bases: dict[str, str] = {}
        for group in of_repo.values():
            commit = _commit_with(group[0].repo, group, facts)
            if commit is None:
                return None
            bases |= {item.id: commit for item in group}
        return bases

    return find


def _commit_with(repo: Snapshot, items: Collection[Mapped], facts: Facts) -> str | None:
    """The newest commit of the line of HEAD at which all mappings have the recorded files."""
    for commit in repo.first_parents(repo.head, SAME_TREE_COMMITS):
        if all(_tree_digest(item, commit) == facts.git[item.id].tree for item in items):
            return commit
    return None


def _items(rooms: Rooms, task: Task) -> Mapping[str, Mapped]:
    return {item.id: item for item in mapped(task.image, rooms.prefix, rooms.repo, rooms.remotes)}


def _context(rooms: Rooms, task: Task) -> Context:
    return Context(
        project=rooms.project,
        image=task.image,
        repo=rooms.repo,
        commit=rooms.repo.head,
        prefix=rooms.prefix,
        below=Below(task.ground.git, task.ground.bases) if task.ground is not None else Below({}, {}),
        others=_Others(rooms, task.taken),
        engine=rooms.engine,
        remotes=rooms.remotes,
        platform=rooms.platform,
        files=rooms.files,
    )


class _Others(Struct, frozen=True):
    """The other images, as a stage sees them."""

    rooms: Rooms
    taken: Mapping[Need, StoredStage]

    def take(self, need: Need) -> Taken:
        """A resolved stage of another image."""
        stage = self.taken[need]
        return Taken(
            stage,
            self.rooms.primary.reference(stage),
            lambda: hold_stage(self.rooms, stage),
            lambda: self.rooms.primary.store.get(stage.description.descriptor.digest).config,
        )

    def recorded_import(self, source: str) -> str | None:
        """From the primary, else from a secondary."""
        found = self.rooms.primary.import_digest(source)
        for storage in self.rooms.secondaries:
            if found is None and not storage.is_lost:
                try:
                    found = storage.import_digest(source)
                except Unreachable as error:
                    storage.lose(error)
        return found

    def record_import(self, source: str, digest: str) -> None:
        """In the primary."""
        self.rooms.primary.record_import(source, digest)

    def resolve_digest(self, reference: str) -> str:
        """The registry's digest of an image from outside."""
        return self.rooms.resolve_digest(reference)
