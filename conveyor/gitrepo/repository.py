"""Opening a repository, and the answers of one run: the door of this room."""

from __future__ import annotations

import os
import posixpath
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from conveyor.errors import GitError
from conveyor.gitrepo.api import Blob, Change, Delta, Repository, Selector
from conveyor.gitrepo.attributes import Attributes
from conveyor.gitrepo.matching import compile_matcher
from conveyor.gitrepo.objects import LINK
from conveyor.gitrepo.processes import git_environment, run_git
from conveyor.gitrepo.submodules import Submodules
from conveyor.gitrepo.trees import Trees

_LINKS_FOLLOWED = 40
_FETCH_TIMEOUT_S = 1800.0
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class _Found:
    """What git says of a place: its work tree, its git directories, its HEAD."""

    root: bytes
    git_dir: bytes
    common_dir: bytes
    shallow: bool
    head: str


def open_repository(directory: str, *, dev: bool = False, home_dir: str) -> Repository:
    """The repository of a directory at HEAD; with `dev`, at a commit made of the work tree, kept below `home_dir`.

    `GitError` (`not_a_repository`, `no_commits`, `safe_directory`, `bare`, `git_missing`, `git_too_old`).
    """
    return GitRepository(_find(directory), dev=dev, home_dir=home_dir)


class GitRepository:
    """See `Repository`. What was asked once is remembered: a run sees one state."""

    def __init__(self, found: _Found, *, dev: bool, home_dir: str) -> None:
        self._found = found
        self._dev = dev
        self._shallow = found.shallow
        self._lock = threading.Lock()
        self._head, more = found.head, dict[str, str]()
        if dev:
            from conveyor.gitrepo.status import commit_work_tree

            with_head = Submodules(found.root, found.git_dir, git_environment())
            try:
                tree = with_head.own.tree_of(found.head)
            finally:
                with_head.close()
            self._head, more = commit_work_tree(found.root, found.git_dir, found.head, tree, home_dir)
        self._environment = git_environment(more)
        self._submodules = Submodules(found.root, found.git_dir, self._environment)
        self._trees = Trees(self._submodules)
        self._attributes = Attributes(self._trees)
        self._known: dict[str, bool] = {self._head: True}
        self._ancestry: dict[str, dict[str, bool]] = {}
        self._digests: dict[tuple[str, Selector], str] = {}
        self._files: dict[tuple[str, Selector], tuple[Blob, ...]] = {}
        self._uncommitted: tuple[Change, ...] | None = None

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

    # -- history

    def commit_time_s(self, commit: str) -> int:
        """See `Repository`."""
        return self._submodules.own.commit_time_s(commit)

    def exists(self, commits: Iterable[str]) -> frozenset[str]:
        """See `Repository`."""
        wanted = {commit for commit in commits if _COMMIT.fullmatch(commit)}
        with self._lock:
            unknown = sorted(wanted - self._known.keys())
            if unknown:
                there = set(self._submodules.own.commits_among(unknown))
                self._known.update({commit: commit in there for commit in unknown})
            return frozenset(commit for commit in wanted if self._known[commit])

    def ancestors(self, commits: Iterable[str], of: str) -> frozenset[str]:
        """See `Repository`. What git does not list as outside of the history of `of` is inside."""
        wanted = self.exists(commits)
        with self._lock:
            known = self._ancestry.setdefault(of, {of: True})
            unknown = sorted(wanted - known.keys())
            if unknown:
                feed = "".join(f"{commit}\n" for commit in [*unknown, f"^{of}"]).encode()
                outside = set(self._ask(["rev-list", "--stdin"], feed).decode().split())
                known.update({commit: commit not in outside for commit in unknown})
            return frozenset(commit for commit in wanted if known[commit])

    def first_parents(self, commit: str, limit: int) -> tuple[str, ...]:
        """See `Repository`."""
        listed = self._ask(["rev-list", "--first-parent", f"--max-count={limit + 1}", commit])
        return tuple(listed.decode().split())

    def is_shallow(self) -> bool:
        """See `Repository`."""
        return self._shallow

    def deepen(self) -> bool:
        """See `Repository`."""
        import subprocess

        try:
            done = run_git(
                [
                    b"--git-dir=" + self._found.git_dir,
                    "fetch",
                    "--quiet",
                    "--unshallow",
                    "--no-recurse-submodules",
                    "origin",
                ],
                environment=git_environment({"GIT_SSH_COMMAND": os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")}),
                timeout_s=_FETCH_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return False
        if done.returncode == 0:
            self._shallow = False
        return not self._shallow

    # -- files of a commit

    def read_file(self, commit: str, path: bytes) -> bytes | None:
        """See `Repository`."""
        for _ in range(_LINKS_FOLLOWED):
            node = self._trees.find(commit, path)
            if node is None:
                link = self._link_above(commit, path)
                if link is None:
                    return None
                path = link
            elif node.mode == LINK:
                target = os.path.join(posixpath.dirname(path), node.store.read_blob(node.oid))
                path = posixpath.normpath(target)
            else:
                return None if node.is_directory else node.store.read_blob(node.oid)
            if path.startswith((b"/", b"../")) or path == b"..":
                return None
        return None

    def _link_above(self, commit: str, path: bytes) -> bytes | None:
        """The path with the first link in its parents followed, None where there is none."""
        parts = path.split(b"/")
        for count in range(1, len(parts)):
            parent = b"/".join(parts[:count])
            node = self._trees.find(commit, parent)
            if node is None:
                return None
            if node.mode == LINK:
                target = os.path.join(posixpath.dirname(parent), node.store.read_blob(node.oid))
                return posixpath.normpath(b"/".join([target, *parts[count:]]))
        return None

    def files(self, commit: str, selector: Selector) -> tuple[Blob, ...]:
        """See `Repository`."""
        key = (commit, selector)
        if key not in self._files:
            self._files[key] = tuple(sorted(self._trees.walk(commit, selector), key=lambda blob: blob.path))
        return self._files[key]

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

    def sizes(self, blobs: Iterable[Blob]) -> Mapping[tuple[str, str], int]:
        """See `Repository`."""
        wanted: dict[str, set[str]] = {}
        for blob in blobs:
            wanted.setdefault(blob.store, set()).add(blob.oid)
        return {
            (name, oid): size
            for name, oids in wanted.items()
            for oid, size in self._submodules.store(name).sizes(sorted(oids)).items()
        }

    def open(self, blob: Blob) -> BinaryIO:
        """See `Repository`."""
        return self._submodules.store(blob.store).open(blob.oid)

    def lfs_files(self, commit: str, selector: Selector) -> tuple[bytes, ...]:
        """See `Repository`."""
        paths = (
            b"/".join(part for part in (selector.add, blob.path) if part)
            for blob in self._trees.walk(commit, selector)
            if not blob.store and not blob.is_link
        )
        return tuple(self._attributes.lfs_paths(commit, selector.add, paths))

    # -- the work tree

    def uncommitted(self) -> tuple[Change, ...]:
        """See `Repository`."""
        if self._dev:
            return ()
        with self._lock:
            if self._uncommitted is None:
                from conveyor.gitrepo.status import read_status

                self._uncommitted = read_status(self._found.root, self._found.git_dir)
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
            elif selector.add.startswith(path + b"/"):
                # A directory that git does not look into holds what is added, or a file stands in its way.
                yield change
                continue
            else:
                continue
            if matcher.matches(below) or (whole and matcher.directory(below) != "none"):
                yield change

    def close(self) -> None:
        """See `Repository`."""
        self._submodules.close()

    def _ask(self, arguments: list[str | bytes], feed: bytes = b"") -> bytes:
        done = run_git([b"--git-dir=" + self._found.git_dir, *arguments], environment=self._environment, feed=feed)
        if done.returncode:
            doing = " ".join(os.fsdecode(argument) for argument in arguments[:2])
            raise GitError(f"git {doing} failed: {done.stderr.decode('utf-8', 'replace').strip()}")
        return done.stdout


def _find(directory: str) -> _Found:
    question: list[str | bytes] = [
        "rev-parse",
        "--is-bare-repository",
        "--is-shallow-repository",
        "--absolute-git-dir",
        "--git-common-dir",
        "--show-toplevel",
        "HEAD^{commit}",
    ]
    done = run_git(["-C", directory, *question])
    if done.returncode and os.environ.get("GIT_DIR") and b"not a git repository" in done.stderr:
        # The git directory stands elsewhere, and the caller says where.
        done = run_git(question, environment=git_environment({"GIT_DIR": os.environ["GIT_DIR"], **_work_tree_variable()}))
    lines = done.stdout.split(b"\n")
    if done.returncode:
        raise _refusal(directory, lines, done.stderr.decode("utf-8", "replace"))
    bare, shallow, git_dir, common_dir, root, head = lines[:6]
    if bare == b"true" or len(lines) != 7:
        raise _bare(directory)
    base = os.path.normpath(os.path.join(os.fsencode(os.path.abspath(directory)), common_dir))
    return _Found(root, git_dir, base, shallow == b"true", head.decode())


def _work_tree_variable() -> dict[str, str]:
    return {"GIT_WORK_TREE": os.environ["GIT_WORK_TREE"]} if "GIT_WORK_TREE" in os.environ else {}


def _refusal(directory: str, lines: list[bytes], said: str) -> GitError:
    if "dubious ownership" in said or "unsafe repository" in said:
        named = re.search(r"safe\.directory (.*)", said)
        place = named[1].strip() if named else directory
        return GitError(
            f"the repository of {directory} belongs to another user, and git refuses to read it",
            reason="safe_directory",
            hint=f"git config --global --add safe.directory {place}",
        )
    if "not a git repository" in said:
        return GitError(
            f"{directory} is not in a git repository",
            reason="not_a_repository",
            hint="conveyor builds what is committed: git init, git add and git commit, or name the project by --dir",
        )
    if "work tree" in said or lines[0] == b"true":
        return _bare(directory)
    if "HEAD" in said:
        return GitError(
            f"the repository of {directory} has no commits",
            reason="no_commits",
            hint="conveyor builds what is committed: git add and git commit",
        )
    return GitError(
        f"git cannot read the repository of {directory}: {said.strip()}",
        reason="git_too_old" if "unknown option" in said or "usage:" in said else "git",
        hint="git 2.25 or newer is needed" if "usage:" in said else "",
    )


def _bare(directory: str) -> GitError:
    return GitError(
        f"the repository of {directory} has no work tree",
        reason="bare",
        hint="run in a clone with a work tree, or in one made by `git worktree add`",
    )
