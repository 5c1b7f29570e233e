"""Merge commits that a CI system makes for a pull request: nobody finds them again, but their parents stay.

A stage made at such a commit records its two parents. What it holds is then the merge of the two, which git makes again
where it is needed (`git merge-tree`, 2.38 or newer), as a commit that is kept below the home and not in the repository.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from conveyor.gitrepo.discovery import Found
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.objects import Objects
from conveyor.gitrepo.processes import run_git
from conveyor.gitrepo.work_tree import dev_area

_MESSAGE = "The merge of a pull request, for conveyor"
# Git's own ways to merge, as servers have them: settings and attributes of the user are for merges of his own.
_PLAIN = (
    *("-c", "merge.renames=true", "-c", "merge.directoryRenames=conflict", "-c", "merge.renameLimit=7000"),
    *("-c", "merge.renormalize=false", "-c", f"core.attributesFile={os.devnull}"),
)
# What a CI system calls its own merge commits, in a place for branches.
_NOT_A_BRANCH = r"refs/remotes/(?:[^/]+/)?(?:pull|pull-requests|merge-requests)/\d+/(?:merge|train)"


class Merges:
    """The merges of one repository. Each is made once a run; not thread-safe."""

    def __init__(self, found: Found, objects: Objects, home_dir: str) -> None:
        self._found = found
        self._objects = objects
        self._home_dir = home_dir
        self._made: dict[tuple[str, ...], str | None] = {}

    def is_ephemeral(self, commit: str, *, asked: bool) -> bool:
        """Whether a commit is a merge that will not stay: no ref keeps it (or so the user says), and all is its parents'."""
        known = self._objects.commit(commit)
        if len(known.parents) != 2 or len(self._objects.commits(known.parents)) != 2:
            return False
        if not asked and (self._is_on_a_branch(commit) or self._has_a_tag(commit)):
            return False
        merged = self.merge(known.parents)
        return merged is not None and self._objects.tree_of(merged) == known.tree

    def merge(self, commits: Sequence[str]) -> str | None:
        """A commit with the files of the merge of two; None where they conflict, or git is too old to say."""
        key = tuple(commits)
        if key not in self._made:
            self._made[key] = self._merge(key) if len(key) == 2 else None
        return self._made[key]

    def _merge(self, commits: tuple[str, ...]) -> str | None:
        area = dev_area(self._found, self._home_dir)
        time_s = max(self._objects.commit(commit).time_s for commit in commits)
        # The attributes of a work tree and of an index count too: have some without any.
        nothing = {"GIT_WORK_TREE": str(area.objects), "GIT_INDEX_FILE": str(area.place / "no-index")}
        environment = git_environment({**area.writing(self._found, time_s), **nothing})
        plain = ("-C", str(area.objects), *_PLAIN)
        tree = self._ask(environment, *plain, "merge-tree", "--write-tree", "--no-messages", *commits)
        if tree is None:
            return None
        parents = [argument for commit in commits for argument in ("-p", commit)]
        made = self._ask(
            environment, "-c", "i18n.commitEncoding=UTF-8", "commit-tree", *parents, "-m", _MESSAGE, tree.split()[0]
        )
        self._objects.see(area.reading)
        return made

    def _is_on_a_branch(self, commit: str) -> bool:
        names = self._ask(
            git_environment(), "for-each-ref", "--format=%(refname)", f"--contains={commit}", "refs/heads", "refs/remotes"
        )
        return any(re.fullmatch(_NOT_A_BRANCH, name) is None for name in (names or "").split("\n") if name)

    def _has_a_tag(self, commit: str) -> bool:
        return bool(self._ask(git_environment(), "for-each-ref", "--count=1", f"--points-at={commit}", "refs/tags"))

    def _ask(self, environment: Mapping[str, str], *arguments: str) -> str | None:
        done = run_git([b"--git-dir=" + self._found.git_dir, *arguments], environment=environment)
        return done.stdout.decode("utf-8", "surrogateescape").strip() if done.returncode == 0 else None
