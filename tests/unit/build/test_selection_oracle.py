"""Selection at real repositories, against a naive reading of its rule.

The rule: leave out the rejected and those whose line of parents holds a rejected one; leave out those of which a recorded
commit is unknown or neither HEAD nor an ancestor, for any mapping; a stage of the merge of two holds what that merge gives;
where trees may stand for ancestry, one whose files are those of a commit of HEAD's own line counts too; of the rest take the
oldest, ties by name. Here it is read off a graph of plain objects; the build asks git.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from conveyor.build import look
from conveyor.build.look import select_stage
from conveyor.build.rooms import Rooms
from conveyor.build.task import Task
from conveyor.config.models import Image
from conveyor.gitrepo import history as walking
from conveyor.gitrepo.api import Repository
from conveyor.gitrepo.repository import open_repository
from conveyor.keys.key import content_digest
from conveyor.stages.api import Decision
from conveyor.stages.git_files import GitArchive
from conveyor.stages.git_mapping import Mapped, mapped
from conveyor.storage.facts import LABEL, MappingFacts, format_facts
from conveyor.storage.names import StageName
from conveyor.storage.storage import Storage
from stapel.oci.api import Description, Descriptor
from tests.unit.build.histories import Listing, Node, Planted, blob_id, clone_shallow, histories, plant, reachable
from tests.unit.build.worlds import World, image, mapping
from tests.unit.storage.memory_store import MemoryStore, facts

PARTS = 4  # for as many processes of the test runner
REPOSITORIES = 25  # in a part
SELECTIONS = 20_000 // PARTS
HEADS = 5  # of a repository
SELECTIONS_OF_HEAD = SELECTIONS // REPOSITORIES // HEADS
DIGEST = "d" * 56
IMAGES = (
    image("one", git=(mapping("/a", "/one"),)),
    image("two", git=(mapping("/a", "/one", exclude=("sub",)), mapping("/b", "/two", include=("x",)))),
)
LINE = tuple(str(StageName(1_500_000_000_000, "c" * 56, letter * 8)) for letter in "abcdef")  # what stages stand on


@dataclass(frozen=True)
class Stage:
    """A stored stage, and what is to be known of it. `files`: by mapping what it holds, None where its label lies of it."""

    name: StageName
    description: Description
    commits: tuple[tuple[str, ...], ...]
    files: tuple[Listing | None, ...]
    parents: tuple[str, ...]
    is_believable: bool


def narrowed(listing: Listing, item: Mapped) -> Listing:
    """The files of a mapping: there are two images only, so their filters are written out."""
    add = item.selector.add.decode() + "/"
    below = {path.removeprefix(add): oid for path, oid in listing.items() if path.startswith(add)}
    if item.selector.include:
        return {path: oid for path, oid in below.items() if path == "x"}
    return {path: oid for path, oid in below.items() if not (item.selector.exclude and path.startswith("sub/"))}


@dataclass
class Setting:
    """One repository, one image: stages to store, and the rule."""

    planted: Planted
    image: Image
    repo: Repository  # at any commit: digests of trees do not depend on HEAD
    rng: random.Random

    def __post_init__(self) -> None:
        self.items = mapped(self.image, b"", self.repo, None)
        self.known = self.planted.known()
        self.nodes = {node.oid: node for node in (*self.planted.history.nodes, *self.planted.pulls)}
        self.listings: dict[str, Listing] = {}
        everywhere = sorted(self.nodes)
        self.pairs = [tuple(parent.oid for parent in node.parents) for node in self.planted.pulls]
        self.pairs += [tuple(self.rng.choices(everywhere, k=2)) for _ in range(2)]

    def listing(self, node: Node) -> Listing:
        """All files of a commit."""
        if node.oid not in self.listings:
            is_pull = not node.files
            files = {path: blob_id(content) for path, content in node.files.items()}
            self.listings[node.oid] = self.planted.list_tree(f"{node.oid}^{{tree}}") if is_pull else files
        return self.listings[node.oid]

    def merged(self, one: str, other: str) -> Listing | None:
        """All files of the merge of two."""
        tree = self.planted.merge(one, other)
        return self.planted.list_tree(tree) if tree is not None else None

    # -- stages

    def stages(self, digest: str, count: int) -> list[Stage]:
        """Stored stages made at random commits and times."""
        return [self.stage(digest, number) for number in range(count)]

    def stage(self, digest: str, number: int) -> Stage:
        rng, items = self.rng, self.items
        recorded = [self.record(item) for item in items]
        if rng.random() < 0.7:  # as builds do it: all mappings at one commit
            first = recorded[0]
            recorded = [self.record(item, first[0]) for item in items]
        git = {item.id: MappingFacts(commits, tree) for item, (commits, tree, _) in zip(items, recorded, strict=True)}
        parents = tuple(rng.sample(LINE, rng.choice((0, 0, 0, 1, 2))))
        said = facts(digest, parents=parents, stage="gitArchive")
        said = replace(
            said, git=git, content_digest=content_digest(digest, {name: item.commits for name, item in git.items()})
        )
        lie = rng.choice(("", "", "", "", "", "", "digest", "git", "suffix", "text"))
        if lie == "digest":
            said = replace(said, digest="f" * 56)
        elif lie == "git":
            said = replace(said, git={})
        text = "{}" if lie == "text" else format_facts(said)
        suffix = f"{number:04x}{rng.randrange(0x10000):04x}"
        manifest = f"sha256:{suffix if lie != 'suffix' else 'f' * 8}" + "0" * 56
        name = StageName(1_600_000_000_000 + rng.randrange(6), digest, suffix)
        description = Description(Descriptor("image", manifest, 1), {LABEL: text}, 1, 1, manifest)
        files = tuple(listing for *_, listing in recorded)
        return Stage(name, description, tuple(commits for commits, *_ in recorded), files, parents, not lie)

    def record(self, item: Mapped, commits: tuple[str, ...] | None = None) -> tuple[tuple[str, ...], str, Listing | None]:
        """What a stage may record of a mapping: commits, the digest of the files, the files."""
        commits = self.commits() if commits is None else commits
        listing = None
        if all(commit in self.known for commit in commits):
            if len(commits) == 1:
                listing = self.listing(self.nodes[commits[0]])
            elif len(commits) == 2:
                listing = self.merged(*commits)
        if listing is None or self.rng.random() < 0.05:
            # Of commits that are not here, or a lie: the files of any commit, or of none.
            node = self.rng.choice([self.nodes[oid] for oid in sorted(self.known)])
            if self.rng.random() < 0.5:
                return commits, self.repo.tree_digest(node.oid, item.selector), narrowed(self.listing(node), item)
            return commits, "0" * 56, None
        listing = narrowed(listing, item)
        return commits, self.digest_of(listing, item, commits), listing

    def digest_of(self, listing: Listing, item: Mapped, commits: tuple[str, ...]) -> str:
        if len(commits) == 1:
            return self.repo.tree_digest(commits[0], item.selector)
        made = self.repo.merged(commits)
        return self.repo.tree_digest(made, item.selector) if made is not None else "0" * 56

    def commits(self) -> tuple[str, ...]:
        rng = self.rng
        everywhere = sorted(self.nodes)
        what = rng.random()
        if what < 0.6:
            return (rng.choice(everywhere),)
        if what < 0.9:
            return rng.choice(self.pairs)
        if what < 0.94:
            return tuple(rng.sample(everywhere, min(3, len(everywhere))))
        node = self.nodes[rng.choice(everywhere)]
        return rng.choice(
            [(f"{rng.getrandbits(160):040x}",), (), (node.oid.upper(),), (node.oid[:20],), ("HEAD",), (node.oid, "x"), ("",)]
        )

    # -- the rule

    def naive(
        self, stages: list[Stage], rejected: set[str], head: Node, line: int | None
    ) -> tuple[Stage, list[Listing]] | None:
        """The stage to use, and by mapping the files that its base must have. `line`: how far trees may be looked for."""
        below = {node.oid for node in reachable([head], self.known)}
        suitable = []
        for stage in stages:
            if not stage.is_believable or str(stage.name) in rejected or rejected & set(stage.parents):
                continue
            at = self.holds(stage, below)
            if at is None and line is not None and any(stage.commits):
                at = self.in_line(stage, head, line)
            if at is not None:
                suitable.append((stage, at))
        return min(suitable, key=lambda found: (found[0].name.timestamp_ms, str(found[0].name)), default=None)

    def holds(self, stage: Stage, below: set[str]) -> list[Listing] | None:
        """The files of a stage whose commits are all in the history of HEAD."""
        found = []
        for commits, files, item in zip(stage.commits, stage.files, self.items, strict=True):
            if not all(commit in below for commit in commits) or len(commits) not in (1, 2):
                return None
            listing = self.listing(self.nodes[commits[0]]) if len(commits) == 1 else self.merged(*commits)
            if listing is None or (len(commits) == 2 and narrowed(listing, item) != files):
                return None
            found.append(narrowed(listing, item))
        return found

    def in_line(self, stage: Stage, head: Node, line: int) -> list[Listing] | None:
        """The files of a stage that some commit of HEAD's first parents has too."""
        node: Node | None = head
        while node is not None and line >= 0:
            listings = [narrowed(self.listing(node), item) for item in self.items]
            if listings == list(stage.files):
                return listings
            parent = node.parents[0] if node.parents else None
            node = parent if parent is not None and parent.oid in self.known else None
            line -= 1
        return None


def is_ephemeral(planted: Planted, known: frozenset[str], head: Node, *, asked: bool) -> bool:
    """Whether HEAD is a merge that will not stay."""
    if len(head.parents) != 2 or not all(parent.oid in known for parent in head.parents):
        return False
    branches = [node for name, node in planted.refs.items() if name.startswith(("refs/heads/", "refs/remotes/origin/"))]
    if not asked and head in reachable(branches, known):
        return False
    return (
        planted.merge(*(parent.oid for parent in head.parents)) == planted.git("rev-parse", f"{head.oid}^{{tree}}").strip()
    )


@dataclass(frozen=True)
class At:
    """A commit that is built, with what git says of it. `line`: how far trees are looked for, None: not at all."""

    head: Node
    rooms: Rooms
    line: int | None
    ancestors: frozenset[str]


def compare(setting: Setting, stages: list[Stage], at: At, counted: Counter[str]) -> None:
    """Select among some of the stages as a build does, and by the rule."""
    rng = setting.rng
    stored = rng.sample(stages, rng.randrange(9))
    rejected = {str(stage.name) for stage in stored if rng.random() < 0.15} | set(rng.sample(LINE, rng.choice((0, 0, 1, 2))))
    store = MemoryStore()
    for stage in stored:
        store.names_[str(stage.name)] = str(stage.name)
        store.images[str(stage.name)] = stage.description
    store.names_ |= dict.fromkeys((f"{name}-rejected" for name in rejected), "record")
    primary = Storage(store, "primary", memory=Path("/nonexistent"), describes_at_once=True, warn=lambda message: None)
    rooms = replace(at.rooms, primary=primary, same_tree=at.line is not None)
    decision = Decision((), {item.id: MappingFacts((), "") for item in setting.items}, selects_ancestor=True)
    task = Task(setting.image, GitArchive(), None, None, {})
    selected = select_stage(rooms, primary, task, DIGEST, decision).chosen
    expected = setting.naive(stored, rejected, at.head, at.line)

    counted["selections"] += 1
    assert (str(selected.stage.name) if selected else None) == (str(expected[0].name) if expected else None)
    if selected is None or expected is None:
        return
    said = selected.stage.facts
    is_of_merge = any(len(item.commits) == 2 for item in said.git.values())
    is_by_tree = not said.recorded_commits() <= at.ancestors
    counted["that found a stage"] += 1
    counted["that found one of a merge"] += is_of_merge
    counted["that found one by its tree"] += is_by_tree
    # Wrong reuse, told without the rule above.
    assert not rejected & {str(selected.stage.name), *said.parents}
    assert not is_by_tree or at.line is not None
    for item, listing in zip(setting.items, expected[1], strict=True):
        base = selected.bases[item.id]
        assert not is_by_tree or base in at.ancestors
        laid = {blob.path.decode(): blob.oid for blob in rooms.repo.files(base, item.selector)}
        assert laid == listing, "the next delta would be laid on other files than it expects"


def heads(planted: Planted, known: frozenset[str], rng: random.Random) -> list[Node]:
    """Commits to build: merges of pull requests, tips, and any others."""
    here = [node for node in planted.history.nodes if node.oid in known]
    pulls = [node for node in planted.pulls if node.oid in known]
    tips = [node for node in planted.history.branches if node.oid in known]
    wanted = [*rng.sample(pulls, min(2, len(pulls))), *rng.sample(tips, min(2, len(tips)))]
    return wanted + rng.choices(here, k=HEADS - len(wanted))


def work_through(planted: Planted, world: World, rng: random.Random, counted: Counter[str], home: Path) -> None:
    """Selections at some commits of a repository, each commit opened as a run does it."""
    known = planted.known()
    chosen = heads(planted, known, rng)
    planted.point_head(chosen[0])
    with closing(open_repository(str(planted.path), home_dir=str(home))) as repo:
        settings_of = [Setting(planted, item, repo, rng) for item in IMAGES]
        stored = [setting.stages(DIGEST, 40) for setting in settings_of]
    for head in chosen:
        planted.point_head(head)
        is_asked = rng.random() < 0.3
        ancestors = frozenset((planted.source or planted).git("rev-list", head.oid).split())
        with closing(open_repository(str(planted.path), virtual_merge=is_asked, home_dir=str(home))) as repo:
            assert repo.head == head.oid
            recorded = head.parents if is_ephemeral(planted, known, head, asked=is_asked) else (head,)
            assert repo.head_commits == tuple(node.oid for node in recorded)
            counted["at merges of pull requests"] += (len(recorded) == 2) * SELECTIONS_OF_HEAD
            rooms = replace(world.rooms([]), repo=repo)
            for _ in range(SELECTIONS_OF_HEAD):
                which = rng.randrange(len(IMAGES))
                line = rng.choice((None, None, 0, 2, 200))
                look.SAME_TREE_COMMITS = line or 0
                compare(settings_of[which], stored[which], At(head, rooms, line, ancestors), counted)


@pytest.mark.parametrize("part", range(PARTS))
def test_selections_at_real_repositories_are_those_of_a_naive_reading(part, world, tmp_path, monkeypatch, record_property):
    counted: Counter[str] = Counter()
    monkeypatch.setattr(look, "SAME_TREE_COMMITS", look.SAME_TREE_COMMITS)
    monkeypatch.setattr(walking, "_WALKED", walking._WALKED)

    @settings(max_examples=REPOSITORIES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        history=histories(),
        seed=st.integers(0, 2**32),
        walked=st.sampled_from([0, 3, 256]),
        depth=st.sampled_from([0, 0, 0, 1, 3]),
        is_remote=st.booleans(),
    )
    def check(history, seed, walked, depth, is_remote):
        walking._WALKED = walked
        with tempfile.TemporaryDirectory(dir=tmp_path) as place:
            planted = plant(Path(place, "repository"), history, is_remote=is_remote)
            if depth:
                planted = clone_shallow(planted, Path(place, "clone"), depth)
            work_through(planted, world, random.Random(seed), counted, Path(place, "home"))

    check()
    record_property("counted", ", ".join(f"{count} {what}" for what, count in counted.items()))
    assert counted["selections"] >= SELECTIONS
    assert min(counted.values()) > 0, counted
