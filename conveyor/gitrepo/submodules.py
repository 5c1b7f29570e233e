"""Where the objects of submodules are: in the work tree's checkout of them, or below `modules` of the git directory."""

from __future__ import annotations

import os
import threading

from conveyor.errors import GitError
from conveyor.gitrepo.objects import GITLINK, Objects
from conveyor.gitrepo.processes import run_git


class Submodules:
    """The object stores of one repository: its own and those of its submodules, found when a selection touches them."""

    def __init__(self, root: bytes, git_dir: bytes, environment: dict[str, str]) -> None:
        self._root = root
        self._environment = environment
        self._lock = threading.Lock()
        self._stores = {"": Objects("", git_dir, environment)}

    @property
    def own(self) -> Objects:
        """The repository's objects."""
        return self._stores[""]

    def store(self, name: str) -> Objects:
        """A store by the path of its submodule, which has been entered."""
        return self._stores[name]

    def enter(self, parent: Objects, path: bytes, commit: str, root_tree: str) -> tuple[Objects, str]:
        """The store of the submodule at `path` (relative to the root of the repository), and the tree of its commit.

        `root_tree` is the tree of the parent's commit, where .gitmodules stands. `GitError` (`submodule_not_initialised`,
        `submodule_commit_missing`).
        """
        name = os.fsdecode(path)
        with self._lock:
            if name not in self._stores:
                self._stores[name] = Objects(name, self._find(parent, path, root_tree), self._environment)
        store = self._stores[name]
        if not store.commits_among([commit]):
            raise GitError(
                f"the submodule {name} does not have its commit {commit[:12]}",
                reason="submodule_commit_missing",
                hint=f"git submodule update --init --recursive -- {name}",
            )
        return store, store.tree_of(commit)

    def close(self) -> None:
        """End git's processes."""
        for store in self._stores.values():
            store.close()

    def _find(self, parent: Objects, path: bytes, root_tree: str) -> bytes:
        checkout = os.path.join(self._root, path, b".git")
        if os.path.isdir(checkout):
            return checkout
        try:
            with open(checkout, "rb") as pointer:
                text = pointer.read(4096)
        except OSError:
            text = b""
        if text.startswith(b"gitdir: "):
            git_dir = os.path.normpath(os.path.join(os.path.dirname(checkout), text[8:].rstrip(b"\n")))
            if os.path.isdir(git_dir):
                return git_dir
        below = path[len(os.fsencode(parent.name)) :].strip(b"/")
        name = self._configured_name(parent, below, root_tree)
        if name:
            git_dir = os.path.join(parent.git_dir, b"modules", name)
            if os.path.isdir(git_dir):
                return git_dir
        raise GitError(
            f"the submodule {os.fsdecode(path)} is not initialised, and files of it are used",
            reason="submodule_not_initialised",
            hint=f"git submodule update --init --recursive -- {os.fsdecode(path)}\n"
            "GitHub Actions: `submodules: recursive` under `with:` of actions/checkout\n"
            "GitLab CI:      `GIT_SUBMODULE_STRATEGY: recursive` under `variables:`",
        )

    def _configured_name(self, parent: Objects, path: bytes, root_tree: str) -> bytes:
        """The name that .gitmodules gives to a path: the directory below `modules`."""
        entry = next((item for item in parent.tree(root_tree) if item.name == b".gitmodules"), None)
        if entry is None or entry.mode == GITLINK:
            return b""
        listed = run_git(
            ["config", "--file", "-", "--null", "--get-regexp", r"^submodule\..*\.path$"],
            feed=parent.read_blob(entry.oid),
        )
        for item in listed.stdout.split(b"\0"):
            key, _, value = item.partition(b"\n")
            if value == path:
                name = key.removeprefix(b"submodule.").removesuffix(b".path")
                return b"" if b".." in name.split(b"/") else name
        return b""
