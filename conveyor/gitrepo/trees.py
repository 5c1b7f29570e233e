"""Walking, comparing and digesting what a selector means of a commit.

A walk enters only directories that the globs reach, a comparison only those that differ. Submodules are directories here.
The digest of a selection is the id that git itself would give to a tree of just the selected files: equal exactly when path,
mode and blob of all of them are, whatever else the repository holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from conveyor.errors import GitError
from conveyor.gitrepo.api import Blob, Selector
from conveyor.gitrepo.matching import PathMatcher, compile_matcher
from conveyor.gitrepo.objects import GITLINK, LINK, TREE, Objects, TreeEntry
from conveyor.gitrepo.submodules import Submodules


@dataclass(frozen=True, slots=True)
class Node:
    """Something of a commit: an entry, the store that has it, and the root tree of that store's commit."""

    store: Objects
    mode: int
    oid: str
    path: bytes  # relative to the root of the repository
    root_tree: str

    @property
    def is_directory(self) -> bool:
        """Whether files may stand below it."""
        return self.mode == TREE


class Trees:
    """The trees of a repository and its submodules. Thread-safe."""

    def __init__(self, submodules: Submodules) -> None:
        self._submodules = submodules
        self._merged: dict[tuple[str, str, bytes], str] = {}

    def find(self, commit: str, path: bytes) -> Node | None:
        """What stands at a path, links not followed; submodules entered."""
        tree = self._submodules.own.tree_of(commit)
        node = Node(self._submodules.own, TREE, tree, b"", tree)
        for name in path.split(b"/") if path else []:
            if not node.is_directory:
                return None
            entry = next((item for item in node.store.tree(node.oid) if item.name == name), None)
            if entry is None:
                return None
            node = self.enter(node, entry)
        return node

    def enter(self, parent: Node, entry: TreeEntry) -> Node:
        """An entry of a directory; a submodule is entered. `GitError` for one that is not here."""
        path = parent.path + b"/" + entry.name if parent.path else entry.name
        if entry.mode == GITLINK:
            store, tree = self._submodules.enter(parent.store, path, entry.oid, parent.root_tree)
            return Node(store, TREE, tree, path, tree)
        mode = entry.mode if entry.mode in (TREE, LINK) else (0o100755 if entry.mode & 0o100 else 0o100644)
        return Node(parent.store, mode, entry.oid, path, parent.root_tree)

    def walk(self, commit: str, selector: Selector) -> Iterator[Blob]:
        """The selected files and links, in git's order."""
        node = self.find(commit, selector.add)
        if node is not None:
            yield from self._walk(node, b"", _matcher(selector))

    def _walk(self, node: Node, path: bytes, matcher: PathMatcher) -> Iterator[Blob]:
        if not node.is_directory:
            if matcher.matches(path):
                yield Blob(path, node.mode, node.oid, node.store.name)
            return
        if matcher.directory(path) == "none":
            return
        for entry in node.store.tree(node.oid):
            below = _below(path, entry.name)
            if entry.mode in (TREE, GITLINK):
                if matcher.directory(below) != "none":
                    yield from self._walk(self.enter(node, entry), below, matcher)
            elif matcher.matches(below):
                mode = LINK if entry.mode == LINK else (0o100755 if entry.mode & 0o100 else 0o100644)
                yield Blob(below, mode, entry.oid, node.store.name)

    def compare(self, old: str, new: str, selector: Selector) -> tuple[dict[bytes, Blob], dict[bytes, Blob]]:
        """The selected files by path that one commit has and the other has not, or not so."""
        gone: dict[bytes, Blob] = {}
        came: dict[bytes, Blob] = {}
        self._compare(self.find(old, selector.add), self.find(new, selector.add), b"", _matcher(selector), gone, came)
        return gone, came

    def _compare(
        self,
        old: Node | None,
        new: Node | None,
        path: bytes,
        matcher: PathMatcher,
        gone: dict[bytes, Blob],
        came: dict[bytes, Blob],
    ) -> None:
        if old is not None and new is not None and (old.mode, old.oid) == (new.mode, new.oid):
            return
        if old is not None and new is not None and old.is_directory and new.is_directory:
            if matcher.directory(path) == "none":
                return
            entries_old = {entry.name: entry for entry in old.store.tree(old.oid)}
            entries_new = {entry.name: entry for entry in new.store.tree(new.oid)}
            for name in entries_old.keys() | entries_new.keys():
                below = _below(path, name)
                one, other = entries_old.get(name), entries_new.get(name)
                if one != other:
                    entered_old = self._enter_selected(old, one, below, matcher)
                    entered_new = self._enter_selected(new, other, below, matcher)
                    self._compare(entered_old, entered_new, below, matcher, gone, came)
            return
        for node, found in ((old, gone), (new, came)):
            if node is not None:
                for blob in self._walk(node, path, matcher):
                    found[blob.path] = blob

    def _enter_selected(self, parent: Node, entry: TreeEntry | None, path: bytes, matcher: PathMatcher) -> Node | None:
        if entry is None or (entry.mode in (TREE, GITLINK) and matcher.directory(path) == "none"):
            return None
        return self.enter(parent, entry)

    def digest(self, commit: str, selector: Selector) -> str:
        """The digest of a selection; "" where nothing is selected."""
        node = self.find(commit, selector.add)
        if node is None:
            return ""
        matcher = _matcher(selector)
        if not node.is_directory:
            return f"{node.mode:o} {node.oid}" if matcher.matches(b"") else ""
        return self._digest(node, b"", matcher)

    def _digest(self, node: Node, path: bytes, matcher: PathMatcher) -> str:
        coverage = matcher.directory(path)
        if coverage == "none":
            return ""
        if coverage == "all":
            return self._merge(node)
        selected: list[tuple[bytes, int, str]] = []
        for entry in node.store.tree(node.oid):
            below = _below(path, entry.name)
            if entry.mode in (TREE, GITLINK):
                if matcher.directory(below) != "none" and (oid := self._digest(self.enter(node, entry), below, matcher)):
                    selected.append((entry.name, TREE, oid))
            elif matcher.matches(below):
                selected.append((entry.name, self.enter(node, entry).mode, entry.oid))
        return tree_id(selected, node.oid)

    def _merge(self, node: Node) -> str:
        """The id of a whole directory with its submodules in place of their links."""
        if not any(entry.name == b".gitmodules" for entry in node.store.tree(node.root_tree)):
            if any(entry.mode == GITLINK for entry in node.store.tree(node.oid)):
                raise _unlisted(node)
            return node.oid
        key = (node.store.name, node.oid, node.path)
        if key not in self._merged:
            entries = []
            merged = False
            for entry in node.store.tree(node.oid):
                if entry.mode in (TREE, GITLINK):
                    oid = self._merge(self.enter(node, entry))
                    merged = merged or oid != entry.oid
                    if oid:
                        entries.append((entry.name, TREE, oid))
                else:
                    entries.append((entry.name, entry.mode, entry.oid))
            self._merged[key] = tree_id(entries, node.oid) if merged else node.oid
        return self._merged[key]


def tree_id(entries: list[tuple[bytes, int, str]], like: str) -> str:
    """The id of a tree with these entries, in the hash of the id `like`; "" for none."""
    if not entries:
        return ""
    ordered = sorted(entries, key=lambda entry: entry[0] + b"/" if entry[1] == TREE else entry[0])
    body = b"".join(b"%o %b\0%b" % (mode, name, bytes.fromhex(oid)) for name, mode, oid in ordered)
    data = b"tree %d\0%b" % (len(body), body)
    return hashlib.sha1(data, usedforsecurity=False).hexdigest() if len(like) == 40 else hashlib.sha256(data).hexdigest()


def _below(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _matcher(selector: Selector) -> PathMatcher:
    return compile_matcher(selector.include, selector.exclude, selector.within)


def _unlisted(node: Node) -> GitError:
    return GitError(
        f"the directory /{node.path.decode('utf-8', 'backslashreplace')} holds a submodule that .gitmodules does not name",
        reason="submodule_not_initialised",
        hint="add it to .gitmodules, or remove it by `git rm --cached`",
    )
