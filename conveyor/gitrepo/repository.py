"""Opening a repository, and the answers of one run: the door of this room."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

from conveyor.errors import GitError
from conveyor.gitrepo.api import Blob, Change, Repository, Selector
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.discovery import Found, find
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.matching import PathMatcher, compile_matcher
from conveyor.gitrepo.merges import Merges
from conveyor.gitrepo.objects import Objects
from conveyor.gitrepo.opening import Opening, begin
from conveyor.gitrepo.plain_trees import PlainTrees
from conveyor.gitrepo.processes import Asked
from conveyor.gitrepo.reader import Reader
from conveyor.gitrepo.shallow import unshallow
from conveyor.gitrepo.status import ask_status, in_work_tree, read_status
from conveyor.gitrepo.submodules import FetchSubmodule, Submodules
from conveyor.gitrepo.work_tree import commit_work_tree, dev_area


def open_repository(
    directory: str,
    *,
    dev: bool = False,
    virtual_merge: bool = False,
    asks_status: bool = False,
    home_dir: str,
    clones: Clones | None = None,
    opening: Opening | None = None,
) -> Repository:
    """The repository of a directory at HEAD; with `dev`, at a commit made of the work tree, kept below `home_dir`.

    `virtual_merge` says that HEAD is a merge that will not stay; one that is on no branch is found to be. `asks_status`
    says that `uncommitted` will be asked for: git then looks at the work tree meanwhile. Submodules that are not here are
    fetched into `clones`; without these they are an error. `opening`: what was asked before of the directory.
    `GitError` (`not_a_repository`, `no_commits`, `safe_directory`, `bare`, `git_missing`, `git_too_old`).
    """
    opening = opening or begin(directory, asks_status=asks_status and not dev)
    try:
        return GitRepository(
            find(directory, opening.place),
            opening.status,
            dev=dev,
            virtual_merge=virtual_merge,
            home_dir=home_dir,
            clones=clones,
        )
    except BaseException:
        opening.close()
        raise


def _fetch_submodules(clones: Clones) -> FetchSubmodule:
    fetched: list[FetchSubmodule] = []

    def fetch(path: str, parent: Objects, name: bytes, url: str, commit: str) -> Objects:
        if not fetched:
            from conveyor.gitrepo.fetched_submodules import FetchedSubmodules

            fetched.append(FetchedSubmodules(clones))
        return fetched[0](path, parent, name, url, commit)

    return fetch


class GitRepository(Reader):
    """See `Repository`. What was asked once is remembered: a run sees one state."""

    def __init__(
        self,
        found: Found,
        status: Asked | None,
        *,
        dev: bool,
        virtual_merge: bool,
        home_dir: str,
        clones: Clones | None,
    ) -> None:
        self._found = found
        self._dev, self._virtual_merge = dev, virtual_merge
        self._head = found.head
        self._was_deepened = False
        self._lock = threading.Lock()
        self._uncommitted: tuple[Change, ...] | None = None
        self._status = status
        area = dev_area(found, home_dir) if dev else None
        environment = git_environment(area.reading if area is not None else {})
        fetch = _fetch_submodules(clones) if clones is not None else None
        submodules = Submodules(found.root, (found.git_dir, found.common_dir), environment, fetch)
        is_stopped = clones.is_stopped if clones is not None else None
        super().__init__(submodules, found.git_dir, PlainTrees(home_dir, found.common_dir), home_dir, is_stopped)
        if status is not None:
            submodules.own.expect_questions()
        self._is_shallow = found.is_shallow
        if area is not None:
            try:
                self._head = commit_work_tree(found, submodules.own.commit(found.head), area)
            except BaseException:
                submodules.close()
                raise
        self._merges = Merges(found, submodules.own, home_dir)
        self._head_commits: tuple[str, ...] = ()

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

    def reach(self, commit: str, place: bytes, at: bytes, matcher: PathMatcher) -> Iterator[Blob]:
        """See `Repository`."""
        return self._trees.reach(commit, place, at, matcher)

    # -- the work tree

    def uncommitted(self) -> tuple[Change, ...]:
        """See `Repository`."""
        if self._dev:
            return ()
        with self._lock:
            if self._uncommitted is None:
                self._uncommitted = self._read_status()
            return self._uncommitted

    def _read_status(self) -> tuple[Change, ...]:
        if self._status is not None:
            with suppress(GitError):  # the directory is in no repository, and a variable names one
                return read_status(self._status)
        return read_status(ask_status(in_work_tree(self._found)))

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
        super().close()
