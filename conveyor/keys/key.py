"""The key of a stage: named parts, and the digest of them.

    digest = sha3-224(encode([KEY_VERSION, platform, stage, own parts, digest of the stage before, its commits]))

The commit that a stage is made from is not in its own key, for a later commit may use it; it is in the key of the next
stage, by `previous_commits`. No timestamp, name, manifest digest or version of the tool enters a key (a value that a
dependency injects is content, and does). Golden files hold the key of every kind of stage: whoever changes one of them
changes `KEY_VERSION`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from conveyor.keys.encoding import Value, encode
from conveyor.keys.version import KEY_VERSION

Commits: TypeAlias = Mapping[str, tuple[str, ...]]
"""Commits by id of the git mapping; two for a stage made at the merge commit of a pull request."""


Parts: TypeAlias = tuple[tuple[str, str], ...]
"""Names and digests of the parts of a key."""


def hash_value(value: Value) -> str:
    """sha3-224 of the canonical encoding, 56 hexadecimal digits."""
    return hashlib.sha3_224(encode(value)).hexdigest()


class Part(Struct, frozen=True):
    """A named piece of a key. People read the name when they ask why a stage was built."""

    name: str
    value: Value


class Key(Struct, frozen=True):
    """All that decides whether a stored stage can stand for this one, but for the ancestry of its commits."""

    platform: str
    stage: str
    parts: tuple[Part, ...]
    previous_digest: str | None  # None: the first stage
    previous_commits: Commits

    @property
    def digest(self) -> str:
        """The digest of the stage."""
        return hash_value(
            [
                KEY_VERSION,
                self.platform,
                self.stage,
                [[part.name, part.value] for part in self.parts],
                self.previous_digest,
                self.previous_commits,
            ]
        )

    def part_digests(self) -> Parts:
        """Name and digest of every part, the ones that all stages share last: what is stored with a stage."""
        shared = (
            Part("platform", self.platform),
            Part("previous stage", self.previous_digest),
            Part("previous commits", self.previous_commits),
        )
        return tuple((part.name, hash_value(part.value)[:16]) for part in (*self.parts, *shared))


def content_digest(digest: str, commits: Commits) -> str:
    """What a stored stage holds: its digest with the commits that it was made from. Images built on it depend on this."""
    return hash_value(["content", KEY_VERSION, digest, commits])


def differing_parts(ours: Parts, theirs: Parts) -> tuple[str, ...]:
    """Names of the parts that differ between two keys (or are in one only), in our order, then theirs."""
    mine, other = dict(ours), dict(theirs)
    return tuple(name for name in {**mine, **other} if mine.get(name) != other.get(name))
