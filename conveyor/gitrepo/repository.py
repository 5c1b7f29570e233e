"""Opening a repository, and the answers of one run: the door of this room."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from subprocess import CompletedProcess
from typing import BinaryIO

from conveyor.gitrepo.api import Blob, Change, Contents, Delta, Followed, Repository, Selector
from conveyor.gitrepo.attributes import Attributes
from conveyor.gitrepo.discovery import Found, find
from conveyor.gitrepo.history import History
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.matching import compile_matcher
from conveyor.gitrepo.merges import Merges
from conveyor.gitrepo.objects import LINK
from conveyor.gitrepo.plain_trees import PlainTrees
from conveyor.gitrepo.processes import run_git
from conveyor.gitrepo.read_ahead import ReadAhead
from conveyor.gitrepo.shallow import unshallow
from conveyor.gitrepo.status import ask_status, read_status
from conveyor.gitrepo.submodules import Submodules
from conveyor.gitrepo.trees import Node, Trees
from conveyor.gitrepo.work_tree import commit_work_tree, dev_area

_LINKS_FOLLOWED = 40
_ASKED_SINGLY = 16  # commits; of more the whole history is listed
_FILES_KEPT = 4  # lists of files; each may hold all of a repository


def open_repository(
    directory: str, *, dev: bool = False, virtual_merge: bool = False, asks_status: bool = False, home_dir: str
) -> Repository:
    """The repository of a directory at HEAD; with `dev`, at a commit made of the work tree, kept below `home_dir`.

    `virtual_merge` says that HEAD is a merge that will not stay; one that is on no branch is found to be. `asks_status`
    says that `uncommitted` will be asked for: git then looks at the work tree meanwhile.
    `GitError` (`not_a_repository`, `no_commits`, `safe_directory`, `bare`, `git_missing`, `git_too_old`).
    """
    return GitRepository(find(directory), dev=dev, virtual_merge=virtual_merge, asks_status=asks_status, home_dir=home_dir)


class GitRepository:
    """See `Repository`. What was asked once is remembered: a run sees one state."""

    def __init__(self, found: Found, *, dev: bool, virtual_merge: bool, asks_status: bool, home_dir: str) -> None:
        self._found = found
        self._dev, self._virtual_merge = dev, virtual_merge
        self._head = found.head
        self._is_shallow = found.is_shallow
        self._was_deepened = False
        self._lock = threading.Lock()
        self._uncommitted: tuple[Change, ...] | None = None
        self._status = ask_status(found) if asks_status and not dev else None
        area = dev_area(found, home_dir) if dev else None
        self._environment = git_environment(area.reading if area is not None else {})
        self._submodules = Submodules(found.root, (found.git_dir, found.common_dir), self._environment)
        if area is not None:
            try:
                self._head = commit_work_tree(found, self._submodules.own.commit(found.head), area)
            except BaseException:
                self._submodules.close()
                raise
        self._trees = Trees(self._submodules)
        self._plain_trees = PlainTrees(home_dir, found.common_dir)
        self._attributes = Attributes(self._trees, self._plain_trees)
        self._merges = Merges(found, self._submodules.own, home_dir)
        self._head_commits: tuple[str, ...] = ()
        self._history = History(self._submodules.own, self._find_ancestors)
        self._digests: dict[tuple[str, Selector], str] = {}
        self._files = lru_cache(maxsize=_FILES_KEPT)(self._walk)

    @property
    def root(self) -> bytes:
        """See `Repository`."""
        return self._found.root

    @property
    def git_dir(self) -> bytes:
        """See `Repository`."""
        return self._found.common_dir

    @property
    def head(self) -> str:
        """See `Repository`."""
        return self._head

    @property
    def head_commits(self) -> tuple[str, ...]:
        """See `Repository`."""
        with self._lock:
            if not self._head_commits:
                is_ephemeral = not self._dev and self._merges.is_ephemeral(self._head, asked=self._virtual_merge)
                self._head_commits = self._submodules.own.commit(self._head).parents if is_ephemeral else (self._head,)
            return self._head_commits

    def merged(self, commits: tuple[str, ...]) -> str | None:
        """See `Repository`."""
        if len(commits) == 1:
            return commits[0]
        if commits == self.head_commits:
            return self._head
        with self._lock:
            return self._merges.merge(commits)

    # -- history

    def parents(self, commit: str) -> tuple[str, ...]:
        """See `Repository`."""
        return self._submodules.own.commit(commit).parents

    def commit_time_s(self, commit: str) -> int:
        """See `Repository`."""
        return self._submodules.own.commit(commit).time_s

    def commit_zone(self, commit: str) -> str:
        """See `Repository`."""
        return self._submodules.own.commit(commit).zone

    def exists(self, commits: Iterable[str]) -> frozenset[str]:
        """See `Repository`."""
        return self._history.exists(commits)

    def ancestors(self, commits: Iterable[str], of: str) -> frozenset[str]:
        """See `Repository`."""
        return self._history.ancestors(commits, of)

    def first_parents(self, commit: str, limit: int) -> tuple[str, ...]:
        """See `Repository`."""
        return self._history.first_parents(commit, limit)

    def is_shallow(self) -> bool:
        """See `Repository`."""
        return self._is_shallow

    def deepen(self) -> bool:
        """See `Repository`."""
        with self._lock:
            if self._is_shallow and not self._was_deepened:
                self._was_deepened = True
                self._is_shallow = not unshallow(self._found)
                self._history.forget_missing()
            return not self._is_shallow

    def _find_ancestors(self, commits: Collection[str], of: str) -> frozenset[str] | None:
        """See `FindAncestors`."""
        if self._is_shallow:
            return None  # git ends at the border of a shallow clone, even where it has what lies behind it
        listed = self._ask_history("rev-list", "--stdin", lines=[*sorted(commits), f"^{of}"])
        if listed.returncode:
            return None
        # What is not listed is an ancestor. What is listed may be one nevertheless: rev-list believes the times of commits,
        # and stops too early where one is older than its parents.
        outside = sorted(set(commits).intersection(listed.stdout.decode().split()))
        if len(outside) > _ASKED_SINGLY:
            listed = self._ask_history("rev-list", "--stdin", lines=[of])
            return frozenset(commits).intersection(listed.stdout.decode().split()) if not listed.returncode else None
        found = set(commits).difference(outside)
        for commit in outside:
            asked = self._ask_history("merge-base", "--is-ancestor", commit, of).returncode
            if asked not in (0, 1):
                return None
            if asked == 0:
                found.add(commit)
        return frozenset(found)

    def _ask_history(self, *arguments: str, lines: Iterable[str] = ()) -> CompletedProcess[bytes]:
        feed = "".join(f"{line}\n" for line in lines).encode()
        return run_git([b"--git-dir=" + self._found.git_dir, *arguments], environment=self._environment, feed=feed)

    # -- files of a commit

    def read_file(self, commit: str, path: bytes) -> bytes | None:
        """See `Repository`."""
        node, _ = self._follow(commit, path)
        return node.store.read_blob(node.oid) if node is not None and not node.is_directory else None

    def follow(self, commit: str, path: bytes) -> Followed | None:
        """See `Repository`."""
        node, links = self._follow(commit, path)
        if node is None:
            return None
        blob = None if node.is_directory else Blob(node.path, node.mode, node.oid, node.store.name)
        return Followed(tuple(links), node.path, blob)

    def _follow(self, commit: str, path: bytes) -> tuple[Node | None, list[bytes]]:
        """What stands at a path once links are followed, as the system would; None where they lead out or in circles.

        With the links that were met, each where it stands.
        """
        nodes = [self._trees.root(commit)]
        left = path.split(b"/")[::-1]
        links: list[bytes] = []
        while left:
            name = left.pop()
            if name in (b"", b".") and nodes[-1].is_directory:
                continue
            if name == b".." and nodes[-1].is_directory:
                nodes.pop()
                if not nodes:
                    return None, links
                continue
            node = self._trees.child(nodes[-1], name) if nodes[-1].is_directory else None
            if node is None:
                return None, links
            if node.mode != LINK:
                nodes.append(node)
                continue
            links.append(node.path)
            target = node.store.read_blob(node.oid)
            if len(links) > _LINKS_FOLLOWED or target.startswith(b"/"):
                return None, links
            left += target.split(b"/")[::-1]
        return nodes[-1], links

    def files(self, commit: str, selector: Selector) -> tuple[Blob, ...]:
        """See `Repository`."""
        return self._files(commit, selector)

    def _walk(self, commit: str, selector: Selector) -> tuple[Blob, ...]:
        return tuple(sorted(self._trees.walk(commit, selector), key=attrgetter("path")))

    def matches(self, commit: str, selector: Selector) -> bool:
        """See `Repository`."""
        return next(self._trees.walk(commit, selector), None) is not None

    def is_file(self, commit: str, path: bytes) -> bool:
        """See `Repository`."""
        node = self._trees.find(commit, path)
        return node is not None and not node.is_directory

    def tree_digest(self, commit: str, selector: Selector) -> str:
        """See `Repository`."""
        key = (commit, selector)
        if key not in self._digests:
            self._digests[key] = self._trees.digest(commit, selector)
        return self._digests[key]

    def delta(self, old: str, new: str, selector: Selector) -> Delta:
        """See `Repository`."""
        gone, came = self._trees.compare(old, new, selector)
        changed = []
        for path in sorted(came):
            before = gone.pop(path, None)
            if before is None or (before.mode, before.oid) != (came[path].mode, came[path].oid):
                changed.append((before, came[path]))
        return Delta(tuple(changed), tuple(gone[path] for path in sorted(gone)))

    def sizes(self, blobs: Sequence[Blob]) -> Sequence[int]:
        """See `Repository`."""
        stores: dict[str, list[int]] = {}
        for number, blob in enumerate(blobs):
            stores.setdefault(blob.store, []).append(number)
        found = [0] * len(blobs)
        for name, numbers in stores.items():
            sizes = self._submodules.store(name).sizes([blobs[number].oid for number in numbers])
            for number, size in zip(numbers, sizes, strict=True):
                found[number] = size
        return found

    def open(self, blob: Blob) -> BinaryIO:
        """See `Repository`."""
        return self._submodules.store(blob.store).open(blob.oid)

    def contents(self, blobs: Sequence[Blob]) -> Contents:
        """See `Repository`."""
        return ReadAhead(blobs, self._submodules.store)

    def lfs_files(self, commit: str, selector: Selector) -> tuple[bytes, ...]:
        """See `Repository`."""
        return tuple(sorted(self._attributes.lfs_files(commit, selector)))

    # -- the work tree

    def uncommitted(self) -> tuple[Change, ...]:
        """See `Repository`."""
        if self._dev:
            return ()
        with self._lock:
            if self._uncommitted is None:
                self._uncommitted = read_status(self._status or ask_status(self._found))
            return self._uncommitted

    def select_changes(self, changes: Iterable[Change], selector: Selector) -> Iterator[Change]:
        """See `Repository`."""
        matcher = compile_matcher(selector.include, selector.exclude, selector.within)
        for change in changes:
            path = change.path.rstrip(b"/")
            whole = change.kind == "submodule" or path != change.path
            if not selector.add or path == selector.add:
                below = b"" if path == selector.add else path
            elif path.startswith(selector.add + b"/"):
                below = path[len(selector.add) + 1 :]
            elif whole and selector.add.startswith(path + b"/"):
                # A directory that git does not look into holds what is added.
                yield change
                continue
            else:
                continue
            if matcher.matches(below) or (whole and matcher.directory(below) != "none"):
                yield change

    def close(self) -> None:
        """See `Repository`."""
        if self._status is not None:
            self._status.close()
        self._plain_trees.save()
        self._submodules.close()
