"""Which files .gitattributes of a commit gives to Git LFS. Other attributes are not applied: contents are as stored.

Read from the commit's trees, as git reads them from a work tree: deeper files have the last word, then later lines; macros
are defined by the file at the root. A submodule has attributes of its own. Files outside of the commit (`info/attributes`,
the user's own) do not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.matching import PathMatcher, compile_matcher
from conveyor.gitrepo.objects import GITLINK, LINK, TREE
from conveyor.gitrepo.plain_trees import PlainTrees
from conveyor.gitrepo.trees import Node, Trees
from conveyor.gitrepo.wildmatch import compile_pattern

_FILE = b".gitattributes"
_GIVES_LFS = b"filter=lfs"
_MOST_LINE_BYTES = 2048  # git ignores longer lines
_BLANK = b" \t\r\n"
_NAME = rb"[A-Za-z0-9_.][-A-Za-z0-9_.]*"
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}

States = tuple[tuple[bytes, bytes | bool | None], ...]  # attribute and value; None: taken back


class _Rule(Struct, frozen=True):
    """A line: which paths it means, and what it says of them."""

    pattern: re.Pattern[bytes]
    of_names: bool  # the pattern is held against the name alone, not the path
    states: States

    def means(self, below: bytes) -> bool:
        """Whether it means a file, by its path relative to the directory of the rule."""
        return self.pattern.fullmatch(below.rpartition(b"/")[2] if self.of_names else below) is not None


class _Stack(Struct, frozen=True):
    """What counts for the files of one directory: rules of its root first, its own last, and the root's macros."""

    rules: tuple[tuple[bytes, tuple[_Rule, ...]], ...] = ()
    macros: Mapping[bytes, States] | None = None
    gives_lfs: bool = False


class Attributes:
    """The attribute `filter` at a commit. Files of attributes are read once."""

    def __init__(self, trees: Trees, plain: PlainTrees) -> None:
        self._trees = trees
        self._plain = plain
        self._below: dict[tuple[PathMatcher | None, bytes, str, str], bool] = {}
        self._stacks: dict[tuple[str, bytes], _Stack] = {}

    def lfs_files(self, commit: str, selector: Selector) -> Iterator[bytes]:
        """The selected files with `filter=lfs`, relative to the root of the repository."""
        node = self._trees.find(commit, selector.add)
        if node is None:
            return
        matcher = compile_matcher(selector.include, selector.exclude, selector.within)
        parent = node.path.rpartition(b"/")[0] if not node.is_directory else node.path
        if not self._stack(commit, parent).gives_lfs and not (node.is_directory and self._gives_below(node, b"", matcher)):
            return
        for blob in self._trees.walk(commit, selector):
            path = b"/".join(part for part in (selector.add, blob.path) if part)
            if blob.mode != LINK and _filter(self._stack(commit, path.rpartition(b"/")[0]), path) == b"lfs":
                yield path

    def _gives_below(self, node: Node, path: bytes, matcher: PathMatcher | None) -> bool:
        """Whether a file of attributes in a selected directory gives anything to LFS. Most commits have none that does."""
        taken = matcher.directory(path) if matcher is not None else "all"
        if taken == "none":
            return False
        if taken == "all":
            matcher = None
        if node.store.name == "" and self._plain.has(node.oid):
            return False
        key = (matcher, path if matcher is not None else b"", node.store.name, node.oid)
        known = self._below.get(key)
        if known is not None:
            return known
        below = []
        for entry in node.store.tree(node.oid):
            inner = path + b"/" + entry.name if path else entry.name
            if entry.mode in (TREE, GITLINK) and (matcher is None or matcher.directory(inner) != "none"):
                below.append((entry, inner))
        is_own = node.store.name == ""
        unknown = [entry.oid for entry, _ in below if entry.mode == TREE and not (is_own and self._plain.has(entry.oid))]
        node.store.load_trees(unknown)
        found = _gives_lfs(node) or any(
            self._gives_below(self._trees.enter(node, entry), inner, matcher) for entry, inner in below
        )
        self._below[key] = found
        # A submodule's trees are not named by those above them, so these say nothing of what is in it.
        is_known = all(entry.mode == TREE and self._plain.has(entry.oid) for entry, _ in below)
        if matcher is None and not found and is_own and is_known:
            self._plain.add(node.oid)
        return found

    def _stack(self, commit: str, directory: bytes) -> _Stack:
        key = (commit, directory)
        known = self._stacks.get(key)
        if known is not None:
            return known
        node = self._trees.find(commit, directory)
        assert node is not None
        is_root = node.root_path == directory
        above = _Stack() if is_root else self._stack(commit, directory.rpartition(b"/")[0])
        lines = _lines(_read(node))
        macros = _macros(lines) if is_root else above.macros
        stack = self._stacks[key] = _Stack(
            (*above.rules, (directory, tuple(_rules(lines, macros or {})))), macros, above.gives_lfs or _gives_lfs(node)
        )
        return stack


def _read(node: Node) -> bytes:
    """The attributes of a directory; links are not followed, as git does not."""
    for entry in node.store.tree(node.oid):
        if entry.name == _FILE and entry.mode not in (TREE, GITLINK, LINK):
            return node.store.read_blob(entry.oid)
    return b""


def _gives_lfs(node: Node) -> bool:
    return _GIVES_LFS in _read(node)


def _filter(stack: _Stack, path: bytes) -> bytes | bool | None:
    """The value of `filter`. What is said first counts, going from the deepest file up and from the last line up."""
    values: dict[bytes, bytes | bool | None] = {}
    for directory, rules in reversed(stack.rules):
        below = path[len(directory) :].lstrip(b"/") if directory else path
        for rule in reversed(rules):
            if rule.means(below):
                _fill(values, rule.states, stack.macros or {})
    return values.get(b"filter")


def _fill(values: dict[bytes, bytes | bool | None], states: States, macros: Mapping[bytes, States]) -> None:
    for name, value in reversed(states):
        if name not in values:
            values[name] = value
            if value is True and name in macros:
                _fill(values, macros[name], macros)


def _lines(text: bytes) -> list[tuple[bytes, States]]:
    """Pattern (or `[attr]` and name) and states of the lines that git would not ignore."""
    found = []
    for whole in text.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        line = whole.split(b"\0")[0].strip(_BLANK)
        if line and not line.startswith(b"#") and len(whole) < _MOST_LINE_BYTES:
            pattern, rest = _take_pattern(line)
            states = _states(rest)
            if states is not None:
                found.append((pattern, states))
    return found


def _macros(lines: Sequence[tuple[bytes, States]]) -> Mapping[bytes, States]:
    return {name[6:]: states for name, states in lines if _is_macro(name)}


def _rules(lines: Sequence[tuple[bytes, States]], macros: Mapping[bytes, States]) -> Iterator[_Rule]:
    """The lines that may say something of `filter`."""
    for pattern, states in lines:
        is_wanted = any(name == b"filter" or name in macros for name, _ in states)
        if is_wanted and not _is_macro(pattern) and not pattern.startswith(b"!") and not pattern.endswith(b"/"):
            yield _Rule(compile_pattern(pattern.removeprefix(b"/")), b"/" not in pattern, states)


def _is_macro(pattern: bytes) -> bool:
    return pattern.startswith(b"[attr]") and len(pattern) > 6


def _take_pattern(line: bytes) -> tuple[bytes, bytes]:
    quoted = re.match(rb'"((?:[^"\\]|\\[abfnrtv"\\]|\\[0-3][0-7]{2})*)"', line)
    if quoted:
        return re.sub(rb"\\([0-3][0-7]{2}|.)", _unquote, quoted[1]), line[quoted.end() :]
    pattern = re.split(rb"[ \t\r]", line, maxsplit=1)[0]
    return pattern, line[len(pattern) :]


def _unquote(match: re.Match[bytes]) -> bytes:
    text = match[1]
    return bytes([int(text, 8)]) if len(text) == 3 else _ESCAPES.get(text, text)


def _states(text: bytes) -> States | None:
    """What a line says; None where a name is none, for which git ignores the line."""
    states: list[tuple[bytes, bytes | bool | None]] = []
    for word in re.split(rb"[ \t\r]+", text):
        name, equals, value = word.partition(b"=")
        sign = name[:1] if name[:1] in (b"-", b"!") else b""
        name = name[len(sign) :]
        if not word:
            continue
        if not re.fullmatch(_NAME, name):
            return None
        states.append((name, {b"-": False, b"!": None}.get(sign, value if equals else True)))
    return tuple(states)
