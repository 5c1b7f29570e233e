"""Walking, comparing and digesting what a selector means of a commit.

A walk enters only directories that the globs reach, a comparison only those that differ. Submodules are directories here.
The digest of a selection is the id that git itself would give to a tree of just the selected files: equal exactly when path,
mode and blob of all of them are, whatever else the repository holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from msgspec import Struct

from conveyor.gitrepo.api import Blob, Selector
from conveyor.gitrepo.matching import PathMatcher, compile_matcher
from conveyor.gitrepo.objects import GITLINK, LINK, TREE, Objects, TreeEntry
from conveyor.gitrepo.submodules import Submodules, has_submodules


class Node(Struct, frozen=True):
    """Something of a commit: an entry, the store that has it, and the root of that store's commit."""

    store: Objects
    mode: int
    oid: str
    path: bytes  # relative to the root of the repository
    root_path: bytes  # where the commit of the store stands: b"" or the path of a submodule
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
        self._digests: dict[tuple[PathMatcher, str, bytes, str], str] = {}

    def root(self, commit: str) -> Node:
        """The root of a commit of the repository."""
        tree = self._submodules.own.tree_of(commit)
        return Node(self._submodules.own, TREE, tree, b"", b"", tree)

    def find(self, commit: str, path: bytes) -> Node | None:
        """What stands at a path, links not followed; submodules entered."""
        node = self.root(commit)
        for name in path.split(b"/") if path else []:
            found = self.child(node, name) if node.is_directory else None
            if found is None:
                return None
            node = found
        return node

    def child(self, node: Node, name: bytes) -> Node | None:
        """What a directory has under a name; a submodule is entered."""
        entry = next((item for item in node.store.tree(node.oid) if item.name == name), None)
        return self.enter(node, entry) if entry is not None else None

    def enter(self, parent: Node, entry: TreeEntry) -> Node:
        """An entry of a directory; a submodule is entered. `GitError` for one that is not here."""
        path = _below(parent.path, entry.name)
        if entry.mode == GITLINK:
            below = path[len(parent.root_path) :].lstrip(b"/")
            store, tree = self._submodules.enter(parent.store, path, below, entry.oid, parent.root_tree)
            return Node(store, TREE, tree, path, path, tree)
        return Node(parent.store, entry.mode, entry.oid, path, parent.root_path, parent.root_tree)

    def walk(self, commit: str, selector: Selector) -> Iterator[Blob]:
        """The selected files and links, in git's order."""
        node = self.find(commit, selector.add)
        matcher = _matcher(selector)
        if node is None:
            return
        if node.is_directory:
            yield from self._walk(node, b"", matcher)
        elif matcher.matches(b""):
            yield Blob(b"", node.mode, node.oid, node.store.name)

    def reach(self, commit: str, place: bytes, at: bytes, matcher: PathMatcher) -> Iterator[Blob]:
        """See `Repository`."""
        node = self.find(commit, place)
        if node is not None and node.is_directory:
            yield from self._walk(node, at, matcher, crosses=True)

    def _walk(self, node: Node, path: bytes, matcher: PathMatcher | None, crosses: bool = False) -> Iterator[Blob]:
        """The files below a directory; without a matcher all of them. `crosses`: links on the way to others, too."""
        taken = matcher.directory(path) if matcher is not None else "all"
        if taken == "none":
            return
        if taken == "all":
            matcher = None
        entries = node.store.tree(node.oid)
        self._load(node, entries, path, matcher)
        store = node.store.name
        for entry in entries:
            mode = entry.mode
            below = path + b"/" + entry.name if path else entry.name
            if mode in (TREE, GITLINK):
                if matcher is None or matcher.directory(below) != "none":
                    yield from self._walk(self.enter(node, entry), below, matcher, crosses)
            elif (
                matcher is None
                or matcher.matches(below)
                or (crosses and mode == LINK and matcher.directory(below) != "none")
            ):
                yield Blob(below, mode, entry.oid, store)

    def _load(self, node: Node, entries: tuple[TreeEntry, ...], path: bytes, matcher: PathMatcher | None) -> None:
        """Read the trees of the next level together: one question at a time would take most of a walk."""
        node.store.load_trees(
            [
                entry.oid
                for entry in entries
                if entry.mode == TREE and (matcher is None or matcher.directory(_below(path, entry.name)) != "none")
            ]
        )

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
            if node is not None and node.is_directory:
                found.update((blob.path, blob) for blob in self._walk(node, path, matcher))
            elif node is not None and matcher.matches(path):
                found[path] = Blob(path, node.mode, node.oid, node.store.name)

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
        taken = matcher.directory(path)
        if taken == "none":
            return ""
        if taken == "all":
            return self._merge(node)
        # The same directory of another commit is most often the same tree.
        key = (matcher, node.store.name, path, node.oid)
        digest = self._digests.get(key)
        if digest is not None:
            return digest
        selected: list[tuple[bytes, int, str]] = []
        entries = node.store.tree(node.oid)
        self._load_partial(node, entries, path, matcher)
        for entry in entries:
            below = _below(path, entry.name)
            if entry.mode in (TREE, GITLINK):
                if matcher.directory(below) != "none" and (oid := self._digest(self.enter(node, entry), below, matcher)):
                    selected.append((entry.name, TREE, oid))
            elif matcher.matches(below):
                selected.append((entry.name, entry.mode, entry.oid))
        digest = self._digests[key] = tree_id(selected, node.oid)
        return digest

    def _load_partial(self, node: Node, entries: tuple[TreeEntry, ...], path: bytes, matcher: PathMatcher) -> None:
        """Read the trees of the next level together, but those of which an earlier digest is known."""
        wanted = []
        for entry in entries:
            below = _below(path, entry.name)
            known = (matcher, node.store.name, below, entry.oid) in self._digests
            if entry.mode == TREE and not known and matcher.directory(below) == "partial":
                wanted.append(entry.oid)
        node.store.load_trees(wanted)

    def _merge(self, node: Node) -> str:
        """The id of a whole directory with its submodules in place of their links."""
        if not has_submodules(node.store, node.root_tree):
            # Git itself writes no empty directories below, so that nothing need be read.
            return "" if node.oid in _EMPTY_TREES else node.oid
        key = (node.store.name, node.oid, node.path)
        known = self._merged.get(key)
        if known is not None:
            return known
        merged: list[tuple[bytes, int, str]] = []
        entries = node.store.tree(node.oid)
        self._load(node, entries, b"", None)
        for entry in entries:
            if entry.mode in (TREE, GITLINK):
                oid = self._merge(self.enter(node, entry))
                if oid:
                    merged.append((entry.name, TREE, oid))
            else:
                merged.append((entry.name, entry.mode, entry.oid))
        is_as_stored = merged == [(entry.name, entry.mode, entry.oid) for entry in entries]
        oid = self._merged[key] = node.oid if is_as_stored else tree_id(merged, node.oid)
        return oid


_EMPTY_TREES = (hashlib.sha1(b"tree 0\0", usedforsecurity=False).hexdigest(), hashlib.sha256(b"tree 0\0").hexdigest())


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
