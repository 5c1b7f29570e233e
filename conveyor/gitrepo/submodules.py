"""Where the objects of submodules are: in the work tree's checkout of them, or below `modules` of the git directory."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from conveyor.errors import GitError
from conveyor.gitrepo.objects import TREE, Objects
from conveyor.gitrepo.processes import run_git

_MOST_POINTER_BYTES = 65536


class FetchSubmodule(Protocol):
    """Brings a commit of a submodule that is not here."""

    def __call__(self, path: str, parent: Objects, name: bytes, url: str, commit: str) -> Objects:
        """The objects of the submodule `name` of `parent`, which .gitmodules says is at `url`. `GitError`.

        The store is called `path`, and closed by who asks.
        """


class _Settings(Struct, frozen=True):
    """What .gitmodules says of a path: the name (the directory below `modules`) and the address."""

    name: bytes
    url: str


_NOTHING = _Settings(b"", "")


class Submodules:
    """The object stores of one repository: its own and those of its submodules, found when a selection touches them."""

    def __init__(
        self,
        root: bytes,
        git_dirs: Sequence[bytes],
        environment: Mapping[str, str],
        fetch: FetchSubmodule | None = None,
        own: Objects | None = None,
    ) -> None:
        """`git_dirs`: the one of the work tree, and the common one where that is another; `own`: their objects.

        `root` is b"" where there is no work tree. `fetch` brings what is not here.
        """
        self._root = root
        self._git_dirs = tuple(dict.fromkeys(git_dirs))
        self._environment = environment
        self._lock = threading.Lock()
        self._stores = {"": own or Objects("", self._git_dirs[0], environment)}
        self._entered: dict[tuple[bytes, str, str], Objects] = {}
        self._settings: dict[str, Mapping[bytes, _Settings]] = {}
        self._fetch = fetch

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
        settings = self._configured(parent, below, root_tree)
        failed = ""
        if self._fetch is not None and settings.url:
            try:
                store = self._fetch(os.fsdecode(path), parent, settings.name, settings.url, commit)
            except GitError as error:
                failed = str(error)
            else:
                return self._add(store)
        shown = path.decode("utf-8", "backslashreplace")
        above = os.fsdecode(path[: len(path) - len(below)].rstrip(b"/"))
        at = f"git -C {shlex.quote(above)}" if above else "git"
        update = f"{at} submodule update --init --recursive -- {shlex.quote(os.fsdecode(below))}"
        if is_there:
            raise GitError(
                f"the submodule {shown} has not the commit {commit} that the commit of the repository names{_and(failed)}",
                reason="submodule_commit_missing",
                hint=f"{update}\nor fetch that commit alone: git -C {shlex.quote(os.fsdecode(path))} fetch origin {commit}",
            )
        if not settings.name:
            raise GitError(
                f"{shown} is a submodule that .gitmodules does not name, and files of it are used",
                reason="submodule_not_initialised",
                hint=f"name it by `{at} submodule add URL {shlex.quote(os.fsdecode(below))}`, remove it by "
                f"`{at} rm --cached -- {shlex.quote(os.fsdecode(below))}`, or leave it out by excludePaths",
            )
        raise GitError(
            f"the submodule {shown} is not initialised, and files of it are used{_and(failed)}",
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
        return self._add(Objects(os.fsdecode(path), git_dir, self._environment))

    def _add(self, store: Objects) -> Objects:
        for known in self._stores.values():
            if known.git_dir == store.git_dir:
                return known
        if store.name in self._stores and self._stores[store.name] is not store:
            store.name = os.fsdecode(store.git_dir)
        return self._stores.setdefault(store.name, store)

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
        name = self._configured(parent, below, root_tree).name
        if name:
            for git_dir in self._git_dirs if not parent.name else (parent.git_dir,):
                module = os.path.realpath(os.path.join(git_dir, b"modules", name))
                if os.path.isdir(module):
                    yield module

    def _configured(self, parent: Objects, path: bytes, root_tree: str) -> _Settings:
        """What .gitmodules says of a path."""
        entry = next((item for item in parent.tree(root_tree) if item.name == b".gitmodules"), None)
        if entry is None or entry.mode not in (0o100644, 0o100755):
            return _NOTHING
        if entry.oid not in self._settings:
            self._settings[entry.oid] = _read_settings(parent.read_blob(entry.oid), self._environment)
        return self._settings[entry.oid].get(path, _NOTHING)


def has_submodules(store: Objects, root_tree: str) -> bool:
    """Whether a commit names submodules."""
    for entry in store.tree(root_tree):  # by their names
        if entry.name >= b".gitmodules":
            return entry.name == b".gitmodules" and entry.mode != TREE
    return False


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


def _read_settings(text: bytes, environment: Mapping[str, str]) -> Mapping[bytes, _Settings]:
    """Names and addresses of submodules by their paths; names that would lead out of `modules` are left out, as git does."""
    listed = run_git(
        ["config", "--file", "-", "--null", "--get-regexp", r"^submodule\..*\.(path|url)$"],
        environment=environment,
        feed=text,
    )
    paths: dict[bytes, bytes] = {}
    urls: dict[bytes, str] = {}
    for item in listed.stdout.split(b"\0"):
        key, _, value = item.partition(b"\n")
        name, _, field = key.removeprefix(b"submodule.").rpartition(b".")
        if value and name and b".." not in name.split(b"/") and not name.startswith(b"/"):
            if field == b"path":
                paths[value.rstrip(b"/")] = name
            else:
                urls[name] = os.fsdecode(value)
    return {path: _Settings(name, urls.get(name, "")) for path, name in paths.items()}


def _and(failed: str) -> str:
    return f"; it could not be fetched either: {failed}" if failed else ""
