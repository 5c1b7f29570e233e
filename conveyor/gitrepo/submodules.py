"""Where the objects of submodules are: in the work tree's checkout of them, or below `modules` of the git directory."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence

from conveyor.errors import GitError
from conveyor.gitrepo.objects import TREE, Objects
from conveyor.gitrepo.processes import run_git

_MOST_POINTER_BYTES = 65536


class Submodules:
    """The object stores of one repository: its own and those of its submodules, found when a selection touches them."""

    def __init__(
        self, root: bytes, git_dirs: Sequence[bytes], environment: Mapping[str, str], own: Objects | None = None
    ) -> None:
        """`git_dirs`: the one of the work tree, and the common one where that is another; `own`: their objects.

        `root` is b"" where there is no work tree.
        """
        self._root = root
        self._git_dirs = tuple(dict.fromkeys(git_dirs))
        self._environment = environment
        self._lock = threading.Lock()
        self._stores = {"": own or Objects("", self._git_dirs[0], environment)}
        self._entered: dict[tuple[bytes, str, str], Objects] = {}
        self._names: dict[str, Mapping[bytes, bytes]] = {}

    @property
    def own(self) -> Objects:
        """The repository's objects."""
        return self._stores[""]

    @property
    def environment(self) -> Mapping[str, str]:
        """That of git's processes."""
        return self._environment

    def store(self, name: str) -> Objects:
        """A store by its name; the store of a submodule has been entered before."""
        return self._stores[name]

    def enter(self, parent: Objects, path: bytes, below: bytes, commit: str, root_tree: str) -> tuple[Objects, str]:
        """The store of the submodule at `path`, and the tree of its commit.

        `path` is relative to the root of the repository, `below` to the root of `parent`. `root_tree` is the tree of the
        parent's commit, where .gitmodules stands. `GitError` (`submodule_not_initialised`, `submodule_commit_missing`).
        """
        key = (path, commit, parent.name)
        with self._lock:
            store = self._entered.get(key) or self._find(parent, path, below, commit, root_tree)
            self._entered[key] = store
        return store, store.tree_of(commit)

    def close(self) -> None:
        """End git's processes."""
        for store in list(self._stores.values()):
            store.close()

    def _find(self, parent: Objects, path: bytes, below: bytes, commit: str, root_tree: str) -> Objects:
        is_there = False
        for git_dir in self._candidates(parent, path, below, root_tree):
            store = self._open(path, git_dir)
            if commit in store.commits((commit,)):
                return store
            is_there = True
        shown = path.decode("utf-8", "backslashreplace")
        above = os.fsdecode(path[: len(path) - len(below)].rstrip(b"/"))
        at = f"git -C {shlex.quote(above)}" if above else "git"
        update = f"{at} submodule update --init --recursive -- {shlex.quote(os.fsdecode(below))}"
        if is_there:
            raise GitError(
                f"the submodule {shown} has not the commit {commit} that the commit of the repository names",
                reason="submodule_commit_missing",
                hint=f"{update}\nor fetch that commit alone: git -C {shlex.quote(os.fsdecode(path))} fetch origin {commit}",
            )
        if not self._configured_name(parent, below, root_tree):
            raise GitError(
                f"{shown} is a submodule that .gitmodules does not name, and files of it are used",
                reason="submodule_not_initialised",
                hint=f"name it by `{at} submodule add URL {shlex.quote(os.fsdecode(below))}`, remove it by "
                f"`{at} rm --cached -- {shlex.quote(os.fsdecode(below))}`, or leave it out by excludePaths",
            )
        raise GitError(
            f"the submodule {shown} is not initialised, and files of it are used",
            reason="submodule_not_initialised",
            hint=f"{update}\n"
            "GitHub Actions: `submodules: recursive` under `with:` of actions/checkout\n"
            "GitLab CI:      `GIT_SUBMODULE_STRATEGY: recursive` under `variables:`",
        )

    def _open(self, path: bytes, git_dir: bytes) -> Objects:
        """A store, one for each git directory; the name is the path, unless another submodule stood there before."""
        for store in self._stores.values():
            if store.git_dir == git_dir:
                return store
        name = os.fsdecode(path)
        if name in self._stores:
            name = os.fsdecode(git_dir)
        store = self._stores[name] = Objects(name, git_dir, self._environment)
        return store

    def _candidates(self, parent: Objects, path: bytes, below: bytes, root_tree: str) -> Iterator[bytes]:
        checkout = os.path.join(self._root, path, b".git")
        if not self._root:
            return
        if os.path.isdir(checkout):
            yield os.path.realpath(checkout)
        else:
            pointed = _pointed(checkout)
            if pointed is not None:
                yield pointed
        name = self._configured_name(parent, below, root_tree)
        if name:
            for git_dir in self._git_dirs if not parent.name else (parent.git_dir,):
                module = os.path.realpath(os.path.join(git_dir, b"modules", name))
                if os.path.isdir(module):
                    yield module

    def _configured_name(self, parent: Objects, path: bytes, root_tree: str) -> bytes:
        """The name that .gitmodules gives to a path: the directory below `modules`."""
        entry = next((item for item in parent.tree(root_tree) if item.name == b".gitmodules"), None)
        if entry is None or entry.mode not in (0o100644, 0o100755):
            return b""
        if entry.oid not in self._names:
            self._names[entry.oid] = _read_names(parent.read_blob(entry.oid), self._environment)
        return self._names[entry.oid].get(path, b"")


def has_submodules(store: Objects, root_tree: str) -> bool:
    """Whether a commit names submodules."""
    return any(entry.name == b".gitmodules" and entry.mode != TREE for entry in store.tree(root_tree))


def _pointed(checkout: bytes) -> bytes | None:
    """The git directory that a file `.git` points to."""
    try:
        with open(checkout, "rb") as pointer:
            text = pointer.read(_MOST_POINTER_BYTES)
    except OSError:
        return None
    if not text.startswith(b"gitdir: "):
        return None
    git_dir = os.path.realpath(os.path.join(os.path.dirname(checkout), text[8:].rstrip(b"\r\n")))
    return git_dir if os.path.isdir(git_dir) else None


def _read_names(text: bytes, environment: Mapping[str, str]) -> Mapping[bytes, bytes]:
    """The names of submodules by their paths; names that would lead out of `modules` are left out, as git does."""
    listed = run_git(
        ["config", "--file", "-", "--null", "--get-regexp", r"^submodule\..*\.path$"], environment=environment, feed=text
    )
    names = {}
    for item in listed.stdout.split(b"\0"):
        key, _, path = item.partition(b"\n")
        name = key.removeprefix(b"submodule.").removesuffix(b".path")
        if path and name and b".." not in name.split(b"/") and not name.startswith(b"/"):
            names[path.rstrip(b"/")] = name
    return names
