"""What a stored stage says of itself, in the label `dev.conveyor.stage` (JSON).

Everything is in it from the first version on, so that later tools can select, explain and clean what earlier ones made.
A label is a claim of whoever could write to the storage: selection believes it only as far as it agrees with the name of the
stage and with the key that is looked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from conveyor.keys.key import Commits

LABEL = "dev.conveyor.stage"
LABEL_PREFIX = "dev.conveyor."
FACTS_VERSION = 1


class MappingFacts(Struct, frozen=True):
    """What a git mapping was at: its commit (two for a merge of a pull request) and the digest of its files there."""

    commits: tuple[str, ...]
    tree: str


class Facts(Struct, frozen=True):
    """The facts of a stage. `parents`: names of the stages below it, from the first stage of the line to the last."""

    project: str
    image: str
    stage: str
    digest: str
    content_digest: str
    commit: str  # HEAD when it was built
    git: Mapping[str, MappingFacts]  # by id of the mapping; {} below gitArchive
    parent: str  # manifest digest (image id) of the stage or base below, "" for scratch
    parents: tuple[str, ...]
    sources: tuple[str, ...]  # names of the stages of other images whose files or values are in it
    parts: tuple[tuple[str, str], ...]

    @property
    def commits(self) -> Commits:
        """The recorded commits, as the next stage's key takes them."""
        return {mapping: facts.commits for mapping, facts in self.git.items()}

    def recorded_commits(self) -> frozenset[str]:
        """Every commit that must be an ancestor of the one that is built."""
        return frozenset(commit for facts in self.git.values() for commit in facts.commits)


def format_facts(facts: Facts) -> str:
    """The label's text."""
    import json

    document = {
        "version": FACTS_VERSION,
        "project": facts.project,
        "image": facts.image,
        "stage": facts.stage,
        "digest": facts.digest,
        "contentDigest": facts.content_digest,
        "commit": facts.commit,
        "git": {mapping: {"commits": list(item.commits), "tree": item.tree} for mapping, item in facts.git.items()},
        "parent": facts.parent,
        "parents": list(facts.parents),
        "sources": list(facts.sources),
        "parts": [list(part) for part in facts.parts],
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def parse_facts(labels: Mapping[str, str]) -> Facts | None:
    """The facts of an image, None where it has none that can be understood (not ours, or of a later version)."""
    import json

    text = labels.get(LABEL)
    if text is None:
        return None
    try:
        document: Any = json.loads(text)
        if document["version"] != FACTS_VERSION:
            return None
        return Facts(
            project=str(document["project"]),
            image=str(document["image"]),
            stage=str(document["stage"]),
            digest=str(document["digest"]),
            content_digest=str(document["contentDigest"]),
            commit=str(document["commit"]),
            git={
                str(mapping): MappingFacts(tuple(str(commit) for commit in item["commits"]), str(item["tree"]))
                for mapping, item in document["git"].items()
            },
            parent=str(document["parent"]),
            parents=tuple(str(name) for name in document["parents"]),
            sources=tuple(str(name) for name in document["sources"]),
            parts=tuple((str(name), str(digest)) for name, digest in document["parts"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
