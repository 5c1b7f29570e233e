"""What is read of commits, whatever repository has them: their history and their files. Answers of one run are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, BinaryIO

from conveyor.errors import GitError
from conveyor.gitrepo.api import Blob, Contents, Delta, Followed, Selector
from conveyor.gitrepo.attributes import Attributes
from conveyor.gitrepo.history import History
from conveyor.gitrepo.objects import LINK
from conveyor.gitrepo.plain_trees import PlainTrees
from conveyor.gitrepo.processes import run_git
from conveyor.gitrepo.read_ahead import ReadAhead
from conveyor.gitrepo.submodules import Submodules, has_submodules
from conveyor.gitrepo.trees import Node, Trees

if TYPE_CHECKING:
    from subprocess import CompletedProcess

    from conveyor.gitrepo.lfs import LfsContents, Wanted

_LINKS_FOLLOWED = 40
_ASKED_SINGLY = 16  # commits; of more the whole history is listed
_FILES_KEPT = 4  # lists of files; each may hold all of a repository


class Reader:
    """The part of `conveyor.gitrepo.api.Repository` that asks for no work tree. Thread-safe."""

    def __init__(
        self,
        submodules: Submodules,
        git_dir: bytes,
        plain_trees: PlainTrees,
        home_dir: str,
        is_stopped: Callable[[], bool] | None = None,
    ) -> None:
        """Takes over `submodules`; `git_dir` is where git is asked about history; `is_stopped`: nothing is to be fetched."""
        self._home_dir = home_dir
        self._is_stopped = is_stopped
        self._submodules = submodules
        self._asked_dir = git_dir
        self._is_shallow = False
        self._trees = Trees(submodules)
        self._plain_trees = plain_trees
        self._attributes = Attributes(self._trees, plain_trees)
        self._history = History(submodules.own, self._find_ancestors)
        self._digests: dict[tuple[str, Selector], str] = {}
        self._files = lru_cache(maxsize=_FILES_KEPT)(self._walk)
        self._pointers: dict[tuple[str, Selector], Mapping[bytes, Wanted]] = {}

    def close(self) -> None:
        """See `Repository`."""
        self._plain_trees.save()
        self._submodules.close()

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
        return run_git([b"--git-dir=" + self._asked_dir, *arguments], environment=self._submodules.environment, feed=feed)

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

    def can_compare(self, old: str, new: str, selector: Selector) -> bool:
        """See `Snapshot`."""
        own = self._submodules.own
        if old == new or not any(has_submodules(own, own.tree_of(commit)) for commit in (old, new)):
            return True
        try:
            self.delta(old, new, selector)
        except GitError as error:
            if not error.reason.startswith("submodule_"):
                raise
            return False
        return True

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

    def lfs_wanted(self, commit: str, selector: Selector) -> Mapping[bytes, Wanted]:
        """See `Snapshot`."""
        key = (commit, selector)
        if key not in self._pointers:
            kept = frozenset(self.lfs_files(commit, selector))
            self._pointers[key] = self._read_pointers(commit, selector, kept) if kept else {}
        return self._pointers[key]

    def _read_pointers(self, commit: str, selector: Selector, kept: Collection[bytes]) -> Mapping[bytes, Wanted]:
        from conveyor.gitrepo.lfs import MOST_POINTER_BYTES, Wanted, parse_pointer

        files = self.files(commit, selector)
        paths = {blob.path: b"/".join(part for part in (selector.add, blob.path) if part) for blob in files}
        blobs = [blob for blob in files if paths[blob.path] in kept]
        found = {}
        for blob, size in zip(blobs, self.sizes(blobs), strict=True):
            store = self._submodules.store(blob.store)
            pointer = parse_pointer(store.read_blob(blob.oid)) if size <= MOST_POINTER_BYTES else None
            if pointer is not None:
                found[blob.path] = Wanted(paths[blob.path], pointer, store)
        return found

    def lfs_contents(self, commit: str) -> LfsContents:
        """See `Snapshot`."""
        from conveyor.gitrepo.lfs import LfsContents

        settings = self.read_file(commit, b".lfsconfig")
        return LfsContents(self._home_dir, _lfs_url(settings) if settings else "", self._is_stopped)


def _lfs_url(settings: bytes) -> str:
    listed = run_git(["config", "--file", "-", "--get", "lfs.url"], feed=settings)
    return listed.stdout.decode("utf-8", "replace").rstrip("\n") if listed.returncode == 0 else ""
