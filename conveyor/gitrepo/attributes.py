"""Which files .gitattributes of a commit gives to Git LFS. Other attributes are not applied: contents are as stored."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from conveyor.gitrepo.objects import TREE, Objects
from conveyor.gitrepo.trees import Node, Trees

_FILE = b".gitattributes"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A line that says something of `filter`: `value` is None where it takes the attribute back."""

    directory: bytes
    pattern: str
    anchored: bool
    value: str | None

    def matches(self, path: bytes) -> bool:
        """Whether a path, relative to the root of the repository, is meant."""
        if self.directory and not path.startswith(self.directory + b"/"):
            return False
        below = path[len(self.directory) + 1 :] if self.directory else path
        if not self.anchored:
            below = below.rpartition(b"/")[2]
        return _pattern(self.pattern).fullmatch(below.decode("utf-8", "surrogateescape")) is not None


class Attributes:
    """The attribute `filter` at a commit. Files of attributes are read once."""

    def __init__(self, trees: Trees) -> None:
        self._trees = trees
        self._files: dict[tuple[str, str], tuple[_Rule, ...]] = {}

    def lfs_paths(self, commit: str, directory: bytes, paths: Iterator[bytes]) -> Iterator[bytes]:
        """Those of `paths` (relative to the root of the repository, at or below `directory`) with `filter=lfs`."""
        root = self._trees.find(commit, b"")
        assert root is not None
        rules: dict[bytes, tuple[_Rule, ...]] = {}
        if not self._reaches(root, directory):
            return
        for path in paths:
            value: str | None = None
            for parent in _parents(path):
                if parent not in rules:
                    rules[parent] = self._rules(commit, parent)
                for rule in rules[parent]:
                    if rule.matches(path):
                        value = rule.value
            if value == "lfs":
                yield path

    def _reaches(self, root: Node, directory: bytes) -> bool:
        """Whether any file of attributes on the way to `directory` or below it gives anything to LFS."""
        node = root
        for name in [*directory.split(b"/"), b""] if directory else [b""]:
            if self._gives_lfs(node.store, node.oid):
                return True
            entry = next((item for item in node.store.tree(node.oid) if item.name == name), None)
            if entry is None or entry.mode != TREE:
                break
            node = self._trees.enter(node, entry)
        return self._gives_lfs_below(node.store, node.oid)

    def _gives_lfs_below(self, store: Objects, tree: str) -> bool:
        known = _LFS_BELOW.get(tree)
        if known is None:
            known = _LFS_BELOW[tree] = self._gives_lfs(store, tree) or any(
                self._gives_lfs_below(store, entry.oid) for entry in store.tree(tree) if entry.mode == TREE
            )
        return known

    def _gives_lfs(self, store: Objects, tree: str) -> bool:
        entry = next((item for item in store.tree(tree) if item.name == _FILE), None)
        return entry is not None and entry.mode != TREE and b"filter=lfs" in store.read_blob(entry.oid)

    def _rules(self, commit: str, directory: bytes) -> tuple[_Rule, ...]:
        node = self._trees.find(commit, directory + b"/" + _FILE if directory else _FILE)
        if node is None or node.is_directory or node.store.name:
            return ()
        key = (node.oid, directory.decode("utf-8", "surrogateescape"))
        if key not in self._files:
            macros = self._macros(commit)
            text = node.store.read_blob(node.oid).decode("utf-8", "surrogateescape")
            self._files[key] = tuple(_parse(text, directory, macros))
        return self._files[key]

    def _macros(self, commit: str) -> Mapping[str, str | None]:
        """Macros that say something of `filter`; only the root's file defines any."""
        node = self._trees.find(commit, _FILE)
        if node is None or node.is_directory:
            return {}
        macros: dict[str, str | None] = {}
        for line in node.store.read_blob(node.oid).decode("utf-8", "surrogateescape").splitlines():
            words = line.split()
            if words and words[0].startswith("[attr]"):
                said, value = _filter_of(words[1:], macros)
                if said:
                    macros[words[0].removeprefix("[attr]")] = value
        return macros


# Trees are named by their digests, so what is known of one is known in every repository.
_LFS_BELOW: dict[str, bool] = {}


def _parents(path: bytes) -> Iterator[bytes]:
    """The directories above a path, the root first: deeper ones have the last word."""
    yield b""
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _parse(text: str, directory: bytes, macros: Mapping[str, str | None]) -> Iterator[_Rule]:
    for line in text.splitlines():
        line = line.strip(" \t")
        if not line or line.startswith(("#", "[attr]", "!")):
            continue
        pattern, words = _split(line)
        said, value = _filter_of(words, macros)
        if said and not pattern.endswith("/"):
            yield _Rule(directory, pattern.lstrip("/"), "/" in pattern, value)


def _split(line: str) -> tuple[str, list[str]]:
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"\s*', line)
    if quoted:
        pattern = re.sub(r"\\([0-7]{3}|.)", _unquote, quoted[1])
        return pattern, line[quoted.end() :].split()
    pattern, *words = line.split()
    return pattern, words


def _unquote(match: re.Match[str]) -> str:
    text = match[1]
    if len(text) == 3:
        return bytes([int(text, 8) & 0xFF]).decode("latin-1")
    return {"n": "\n", "t": "\t", "r": "\r"}.get(text, text)


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str]:
    """A pattern of attributes: it matches whole paths, and what it says of a directory is not said of the files in it."""
    source = ""
    for component in text.split("/"):
        source += r"(?:.*/)?" if component == "**" else f"(?:{_component(component)})/"
    return re.compile(source[:-1] if not text.endswith("**") else source.removesuffix("(?:.*/)?") + ".+", re.DOTALL)


def _component(text: str) -> str:
    source = fnmatch.translate(text).removeprefix("(?s:").removesuffix(r")\Z")
    return source.replace(".*", "[^/]*")


def _filter_of(words: list[str], macros: Mapping[str, str | None]) -> tuple[bool, str | None]:
    """Whether words say anything of `filter`, and what; the last one counts."""
    said, value = False, None
    for word in words:
        if word.startswith("filter="):
            said, value = True, word.removeprefix("filter=")
        elif word in ("filter", "-filter", "!filter"):
            said, value = True, None
        elif word in macros:
            said, value = True, macros[word]
        elif word.lstrip("-!") in macros:
            said, value = True, None
    return said, value
