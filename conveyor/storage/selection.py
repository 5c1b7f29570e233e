"""Which stored stage stands for the one that is wanted: selection and saving, and why they are right.

Many conveyors, on many machines, read and write one storage at once. None of them can be trusted to hold a lock when it
thinks that it does: a lease ends while a process is suspended, a server forgets. So a lock saves work here and nothing
else. What makes the whole correct is that everybody reads the same names and orders them in the same way.

What is stored. A stage is an image under the name `<digest>-<timestamp>-<8 hex>`. Its label records the commits that it was
made from, the names of the stages below it, and the name and digest of each part of its key. A name is written by one
atomic step, after all that it names is complete, and never again with other bytes. Marks of rejection are only added, those
that lift one too (`conveyor.storage.marks`).

Invariants.

 1. A published stage never changes. (A name is new: its last 8 digits are of the image's own digest, its timestamp is later
    than that of every stage of the digest that its writer has seen.)
 2. A name is never there without its image: blobs first, then the manifest by digest, then the name.
 3. Selection is a function of the set of names, of what they name, and of the commits below HEAD: no clock, no order of
    listing, no lock, nothing local enters. Two conveyors at one commit that see one set select one stage.
 4. A stage that was made from git is suitable only where every commit that it recorded is known and is HEAD or an ancestor
    of HEAD, for every mapping. So a delta can always be made from it, and no branch uses what another one made.
 5. A rejected stage is never suitable, and neither is one that was built on it: its line of parents says so.
 6. Of the suitable stages the oldest is taken, ties by name. A stage that appears later can never take its place but by an
    older timestamp, which rule 1 lets nobody choose who has seen it. So once all writers of a digest are done, every later
    selection at one commit gives one answer.
 7. After it has named its stage, a writer lists once more and goes on with what selection says, be it its own stage or
    another's. What two writers without a common lock (or with clocks that disagree) both named is thus settled before
    either stores the next stage on it; what still appears after that moment is met before the report, by a fresh list:
    where it differs from what the writer knew, everything is selected once more. It costs work, never correctness: a
    stage is what its own key and label say.
    A writer that was held up between its list and the name lists once more first, for its time would be older than what
    others are done with. What is left is a request on its way: no list shows it, and who has ended before it arrives has
    reported what was selected then.
 8. The label of a stage is believed only as far as it agrees with the name: another digest in the label, or a name whose
    last digits are of neither the manifest nor the image, and the stage does not exist for us. (A copy in a store of another
    kind has other digests; who makes it records them beside its name.) The same goes for what its digest settles: the kind
    of the stage, the git mappings, the commits below, the stage that it stands on.

Saving (`conveyor.storage.saving`) is optimistic: build with no lock held, put the image by digest with no lock held, then
take the lock, list past every cache, discard ours where a suitable stage has appeared, else name it; release; look again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, TypeAlias

from msgspec import Struct

from conveyor.storage.facts import Facts
from conveyor.storage.names import StageName
from stapel.oci.api import Description

SameTree: TypeAlias = Callable[[Facts], "Mapping[str, str] | None"]
"""With `--ancestry same-tree`: for each mapping the commit at which HEAD's line has the files that a stage recorded."""

BasesOf: TypeAlias = Callable[[Facts], "Mapping[str, str] | None"]
"""For each mapping the commit with the files that a stage has; None where it cannot be made again."""

AncestorsOf: TypeAlias = Callable[[str, Collection[str]], Collection[str]]
"""For a mapping and commits: those that its repository knows as ancestors of the commit that is built, or as that one."""


class StoredStage(Struct, frozen=True):
    """A stage in a storage: its name, what the store says of the image, and what its label says."""

    name: StageName
    description: Description
    facts: Facts


Refusal: TypeAlias = Literal["rejected", "no_ancestor"]


class Chosen(Struct, frozen=True):
    """A stage to go on with. `bases`: by mapping, the commit that the files in it are at, for the next delta.

    That is the recorded commit, or with `--ancestry same-tree` one of HEAD's own line with equal files.
    """

    stage: StoredStage
    bases: Mapping[str, str]


class Selection(Struct, frozen=True):
    """The stage to use, or None and why each candidate was left out."""

    chosen: Chosen | None
    refused: tuple[tuple[StageName, Refusal], ...] = ()


def recorded_bases(facts: Facts) -> Mapping[str, str]:
    """The bases of a stage for each mapping of which one commit is recorded."""
    return {mapping: item.commits[0] for mapping, item in facts.git.items()}


def believe(name: StageName, description: Description, facts: Facts | None, copies: Collection[str] = ()) -> bool:
    """Rule 8: whether the label and the digits of the name agree with what the name stands for.

    `copies`: first digits that records of copies give beside those of the name.
    """
    if facts is None or facts.digest != name.digest:
        return False
    ids = (description.descriptor.digest, description.image_id)
    return any(one.partition(":")[2].startswith((name.suffix, *copies)) for one in ids)


def select(
    candidates: Iterable[StoredStage],
    *,
    rejected: Collection[str],
    ancestors: AncestorsOf | None,
    same_tree: SameTree | None = None,
    bases_of: BasesOf = recorded_bases,
    bases: Mapping[str, str] | None = None,
) -> Selection:
    """The suitable stage that everybody selects (rules 3 to 6).

    `rejected` holds names of rejected stages of this storage. `ancestors` is None for a stage that is not made from git
    itself: one that stands on such a stage is bound to it by its key, and takes over its `bases`.
    """
    ordered = sorted(candidates, key=lambda stage: stage.name)
    refused: list[tuple[StageName, Refusal]] = []
    sound: list[StoredStage] = []
    for stage in ordered:
        if str(stage.name) in rejected or any(parent in rejected for parent in stage.facts.parents):
            refused.append((stage.name, "rejected"))
        else:
            sound.append(stage)
    if ancestors is None:
        return Selection(Chosen(sound[0], bases or {}) if sound else None, tuple(refused))
    known = _known_ancestors(sound, ancestors)
    for stage in sound:
        commits = stage.facts.recorded_commits()
        if commits and all(known[mapping].issuperset(item.commits) for mapping, item in stage.facts.git.items()):
            recorded = bases_of(stage.facts)
            if recorded is not None:
                return Selection(Chosen(stage, recorded), tuple(refused))
        equal = same_tree(stage.facts) if same_tree is not None and commits else None
        if equal is not None:
            return Selection(Chosen(stage, equal), tuple(refused))
        refused.append((stage.name, "no_ancestor"))
    return Selection(None, tuple(refused))


def _known_ancestors(stages: Iterable[StoredStage], ancestors: AncestorsOf) -> Mapping[str, frozenset[str]]:
    """For each mapping the recorded commits that are ancestors: each repository is asked once for all candidates."""
    recorded: dict[str, set[str]] = {}
    for stage in stages:
        for mapping, item in stage.facts.git.items():
            recorded.setdefault(mapping, set()).update(item.commits)
    return {mapping: frozenset(ancestors(mapping, commits)) for mapping, commits in recorded.items()}
