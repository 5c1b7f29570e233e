"""Which commits are known, and which of them are ancestors.

Most candidates of a build are a few commits old. Those are found by reading commits one after another, the newest first,
in a walk that all images of a run share; no process is started. Only for what the walk does not meet soon git itself is
asked, once for all candidates. Where git cannot answer (history is cut off, or a part of it is lost), the walk goes on to
its end.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

from msgspec import Struct, field

from conveyor.gitrepo.objects import Commit, Objects

_WALKED = 256  # commits; reading them costs as much as one process

FindAncestors: TypeAlias = Callable[[Collection[str], str], "frozenset[str] | None"]
"""Those of some commits that are ancestors of another, told by git; None where it cannot tell."""


class _Walk(Struct):
    """Ancestors of one commit: those that were met, and what is known of others."""

    queue: list[tuple[int, str, Commit]]  # the newest first; all of them are in `met`
    met: set[str]
    asked: dict[str, bool] = field(default_factory=dict)
    read: int = 0


class History:
    """Commits of one repository. Thread-safe."""

    def __init__(self, objects: Objects, find_ancestors: FindAncestors) -> None:
        self._objects = objects
        self._find_ancestors = find_ancestors
        self._lock = threading.Lock()
        self._missing: set[str] = set()
        self._walks: dict[str, _Walk] = {}
        self._first_parents: dict[str, list[str]] = {}

    def exists(self, commits: Iterable[str]) -> frozenset[str]:
        """Those that are commits known here."""
        wanted = set(commits) - self._missing
        found = frozenset(self._objects.commits(sorted(wanted)))
        self._missing |= wanted - found
        return found

    def ancestors(self, commits: Iterable[str], of: str) -> frozenset[str]:
        """Those that are known here and are ancestors of `of`, or `of` itself."""
        wanted = set(commits)
        if wanted <= {of}:
            return self.exists(wanted)
        known = self.exists(wanted)
        with self._lock:
            walk = self._walks.get(of)
            if walk is None:
                start = self._objects.commit(of)
                walk = self._walks[of] = _Walk([(-start.time_s, of, start)], {of})
            left = self._walk_on(walk, known - walk.asked.keys(), _WALKED)
            if left and walk.queue:
                found = self._find_ancestors(left, of)
                if found is not None:
                    walk.asked.update({commit: commit in found for commit in left})
                else:
                    self._walk_on(walk, left)
            return frozenset(commit for commit in known if commit in walk.met or walk.asked.get(commit, False))

    def first_parents(self, commit: str, limit: int) -> tuple[str, ...]:
        """A commit and `limit` of its first-parent ancestors at most, newest first."""
        with self._lock:
            line = self._first_parents.setdefault(commit, [commit])
            while len(line) <= limit:
                parents = self._objects.commit(line[-1]).parents[:1]
                # The parent of the last commit of a shallow clone is not here.
                if not self._objects.commits(parents):
                    break
                line.extend(parents)
            return tuple(line[: limit + 1])

    def forget_missing(self) -> None:
        """Look again for what was not here, after a fetch."""
        with self._lock:
            self._missing, self._walks, self._first_parents = set(), {}, {}

    def _walk_on(self, walk: _Walk, left: Collection[str], limit: int | None = None) -> set[str]:
        """Walk until all of `left` were met, so many commits were read, or there are no more; what was not met."""
        missing = set(left) - walk.met
        while missing and walk.queue and (limit is None or walk.read < limit):
            self._step(walk)
            missing -= walk.met
        return missing

    def _step(self, walk: _Walk) -> None:
        """Meet the parents of the newest commit that is left."""
        _, _, commit = heapq.heappop(walk.queue)
        walk.read += 1
        for oid, parent in self._objects.commits([oid for oid in commit.parents if oid not in walk.met]).items():
            walk.met.add(oid)
            heapq.heappush(walk.queue, (-parent.time_s, oid, parent))
