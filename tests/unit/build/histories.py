"""Histories of git as a plain graph, and real repositories that hold them.

A history is drawn as a list of steps. What comes of them is known without asking git: commits with their parents and files.
Only the merge of two is git's own to make.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st

Files = Mapping[str, str]  # path -> content
Listing = Mapping[str, str]  # path -> id of the blob

PATHS = ("a/x", "a/y", "a/sub/z", "b/x", "b/y", "other")
STEPS = (
    *("edit", "edit", "edit", "fork", "fork", "merge", "cross", "octopus", "evil"),
    *("amend", "reword", "rebase", "revert", "root", "pull", "pull"),
)
NOBODY = {f"GIT_{who}_{what}": "a" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@dataclass(eq=False, repr=False)
class Node:
    """A commit; `oid` once it is in a repository."""

    parents: tuple[Node, ...]
    files: Files
    time_s: int
    oid: str = ""

    def __repr__(self) -> str:
        return f"<{self.oid[:8]} of {[parent.oid[:8] for parent in self.parents]} at {self.time_s - 1_600_000_000}>"


@dataclass
class History:
    """Commits, oldest first. `branches` are tips; what was amended or rebased away is on none. `pulls`: base and head."""

    nodes: list[Node] = field(default_factory=list)
    branches: list[Node] = field(default_factory=list)
    pulls: list[tuple[Node, Node]] = field(default_factory=list)
    replaced: list[tuple[Node, Node]] = field(default_factory=list)

    def add(self, files: Files, *parents: Node, later_s: int = 60) -> Node:
        """A commit. Clocks are not to be trusted: `later_s` may be negative."""
        time_s = max((parent.time_s for parent in parents), default=1_600_000_000) + later_s
        node = Node(tuple(dict.fromkeys(parents)), dict(files), time_s)
        self.nodes.append(node)
        return node


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Lines of work that fork, merge, cross, and are rewritten."""
    history = History()
    history.branches.append(history.add(dict.fromkeys(PATHS, "0\n")))
    step = st.tuples(st.sampled_from(STEPS), st.integers(0, 7), st.integers(0, 7), st.integers(-200, 200))
    for what, one, other, later_s in draw(st.lists(step, min_size=3, max_size=30)):
        _STEPS[what](history, one % len(history.branches), other, later_s)
    for one, other in draw(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), min_size=2, max_size=5)):
        _pull(history, one % len(history.branches), other, 0)
    for one, other in draw(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=2)):
        tips = [*history.branches, *history.nodes]
        if tips[one % len(tips)] is not tips[other % len(tips)]:
            history.replaced.append((tips[one % len(tips)], tips[other % len(tips)]))
    return history


def _edited(files: Files, number: int) -> Files:
    return {**files, PATHS[number % len(PATHS)]: f"{number}\n"}


def _edit(history: History, at: int, number: int, later_s: int) -> None:
    tip = history.branches[at]
    history.branches[at] = history.add(_edited(tip.files, number), tip, later_s=later_s)


def _fork(history: History, at: int, number: int, later_s: int) -> None:
    history.branches.append(history.nodes[number % len(history.nodes)])
    _edit(history, len(history.branches) - 1, at + number, later_s)


def _merge(history: History, at: int, number: int, later_s: int) -> None:
    tip, other = history.branches[at], history.branches[number % len(history.branches)]
    history.branches[at] = history.add({**tip.files, "other": other.files["other"]}, tip, other, later_s=later_s)


def _cross(history: History, at: int, number: int, later_s: int) -> None:
    """Two branches, each merged into the other."""
    to = number % len(history.branches)
    one, other = history.branches[at], history.branches[to]
    files = {**one.files, "b/x": other.files["b/x"]}
    history.branches[at] = history.add(files, one, other, later_s=later_s)
    history.branches[to] = history.add(files, other, one, later_s=-later_s)


def _octopus(history: History, at: int, number: int, later_s: int) -> None:
    others = [history.branches[(number + step) % len(history.branches)] for step in range(3)]
    tip = history.branches[at]
    history.branches[at] = history.add({**tip.files, "b/y": others[0].files["b/y"]}, tip, *others, later_s=later_s)


def _evil(history: History, at: int, number: int, later_s: int) -> None:
    """A merge in which somebody changed more than its parents had."""
    _merge(history, at, number, later_s)
    tip = history.branches[at]
    tip.files = _edited(tip.files, number + 100)


def _amend(history: History, at: int, number: int, later_s: int) -> None:
    tip = history.branches[at]
    history.branches[at] = history.add(_edited(tip.files, number), *tip.parents, later_s=later_s)


def _reword(history: History, at: int, number: int, later_s: int) -> None:
    tip = history.branches[at]
    history.branches[at] = history.add(tip.files, *tip.parents, later_s=later_s + number + 1)


def _rebase(history: History, at: int, number: int, later_s: int) -> None:
    """Up to three commits, made again upon another branch."""
    onto = history.branches[number % len(history.branches)]
    line: list[Node] = []
    node = history.branches[at]
    while node.parents and len(line) < 3:
        line.append(node)
        node = node.parents[0]
    for node in reversed(line):
        before = node.parents[0].files
        changes = {path: content for path, content in node.files.items() if before.get(path) != content}
        onto = history.add({**onto.files, **changes}, onto, later_s=later_s)
    history.branches[at] = onto


def _revert(history: History, at: int, number: int, later_s: int) -> None:
    files = history.nodes[number % len(history.nodes)].files
    history.branches[at] = history.add(files, history.branches[at], later_s=later_s)


def _root(history: History, at: int, number: int, later_s: int) -> None:
    """A history that begins anew, with the files of another one."""
    history.branches.append(history.add(_edited(history.branches[at].files, number), later_s=later_s))


def _pull(history: History, at: int, number: int, later_s: int) -> None:
    base, head = history.branches[at], history.branches[number % len(history.branches)]
    if base is not head:
        history.pulls.append((base, head))


_STEPS = {
    "edit": _edit,
    "fork": _fork,
    "merge": _merge,
    "cross": _cross,
    "octopus": _octopus,
    "evil": _evil,
    "amend": _amend,
    "reword": _reword,
    "rebase": _rebase,
    "revert": _revert,
    "root": _root,
    "pull": _pull,
}


def blob_id(content: str) -> str:
    """What git calls a blob."""
    raw = content.encode()
    return hashlib.sha1(b"blob %d\0%s" % (len(raw), raw)).hexdigest()


@dataclass
class Planted:
    """A real repository with a history. `refs`: what it names; `pulls`: merges of pull requests, made as git makes them."""

    path: Path
    history: History
    refs: dict[str, Node] = field(default_factory=dict)
    pulls: list[Node] = field(default_factory=list)
    source: Planted | None = None  # what a shallow clone was made of
    _merges: dict[tuple[str, str], str | None] = field(default_factory=dict)

    def git(self, *arguments: str, feed: str = "", fails: bool = False) -> str:
        """Git's output, of objects as they are."""
        env = {**os.environ, **NOBODY, "GIT_NO_REPLACE_OBJECTS": "1"}
        ran = subprocess.run(["git", "-C", self.path, *arguments], input=feed, capture_output=True, text=True, env=env)
        assert fails or ran.returncode == 0, (arguments, ran.stderr)
        return ran.stdout if ran.returncode == 0 else ""

    def name_refs(self, refs: Mapping[str, Node]) -> None:
        """Write refs."""
        self.git("update-ref", "--stdin", feed="".join(f"update {name} {node.oid}\n" for name, node in refs.items()))
        self.refs.update(refs)

    def point_head(self, node: Node) -> None:
        """Detach HEAD at a commit. No work tree is needed to select."""
        self.path.joinpath(".git/HEAD").write_text(f"{node.oid}\n")

    def known(self) -> frozenset[str]:
        """The commits that are here."""
        asked = "".join(f"{node.oid}\n" for node in (*self.history.nodes, *self.pulls))
        answers = self.git("cat-file", "--batch-check", feed=asked).splitlines()
        return frozenset(oid for oid, kind, *_ in map(str.split, answers) if kind == "commit")

    def merge(self, one: str, other: str) -> str | None:
        """The tree that git makes of two commits, None where it cannot."""
        if (one, other) not in self._merges:
            tree = self.git("merge-tree", "--write-tree", "--no-messages", one, other, fails=True)
            self._merges[one, other] = tree.strip() or None
        return self._merges[one, other]

    def list_tree(self, tree: str) -> Listing:
        """What a tree holds."""
        lines = self.git("ls-tree", "-r", tree).splitlines()
        return {path: about.split()[2] for about, _, path in (line.partition("\t") for line in lines)}


def plant(path: Path, history: History, *, is_remote: bool) -> Planted:
    """A repository in an empty place. Branches are the remote's or local ones; pull requests have refs or none."""
    path.mkdir(parents=True)
    planted = Planted(path, history)
    planted.git("init", "--quiet", "--initial-branch=main", "--object-format=sha1")
    _import(planted, history.nodes)
    below = "refs/remotes/origin" if is_remote else "refs/heads"
    planted.name_refs({f"{below}/b{number}": node for number, node in enumerate(history.branches)})
    merged: dict[Node, str] = {}
    for base, head in history.pulls:
        tree = planted.merge(base.oid, head.oid)
        if tree is not None:
            node = Node((base, head), {}, max(base.time_s, head.time_s) + 1)
            merged[node] = tree
    _import(planted, list(merged), merged)
    for number, node in enumerate(merged):
        planted.pulls.append(node)
        if number % 2:
            planted.name_refs({f"refs/remotes/pull/{number}/merge": node})
    planted.name_refs({f"refs/replace/{old.oid}": new for old, new in history.replaced})
    return planted


def clone_shallow(source: Planted, path: Path, depth: int) -> Planted:
    """A clone that was cut off, with all branches and with the merges of pull requests, as CI systems fetch them."""
    for number, node in enumerate(source.pulls):
        source.git("update-ref", f"refs/pull/{number}/merge", node.oid)
    path.mkdir(parents=True)
    clone = Planted(path, source.history, source=source)
    clone.git("init", "--quiet", "--initial-branch=main", "--object-format=sha1")
    clone.git("remote", "add", "origin", f"file://{source.path}")
    specs = ["+refs/heads/*:refs/remotes/origin/*", "+refs/remotes/origin/*:refs/remotes/origin/*"]
    specs.append("+refs/pull/*:refs/remotes/pull/*")
    clone.git("fetch", "--quiet", f"--depth={depth}", "origin", *specs)
    for number, node in enumerate(source.history.branches):
        clone.refs[f"refs/remotes/origin/b{number}"] = node
    for number, node in enumerate(source.pulls):
        clone.refs[f"refs/remotes/pull/{number}/merge"] = node
    clone.pulls = list(source.pulls)
    known = clone.known()
    clone.name_refs({f"refs/replace/{old.oid}": new for old, new in source.history.replaced if new.oid in known})
    return clone


def _import(planted: Planted, nodes: Sequence[Node], trees: Mapping[Node, str] | None = None) -> None:
    """Write commits; each gets its id. `trees`: whole trees that are there already."""
    if not nodes:
        return
    marks = {node: number for number, node in enumerate(nodes, 1)}
    feed = []
    for node, mark in marks.items():
        feed.append("reset refs/import\n" if not node.parents else "")
        # The mark in the message makes commits of equal files and times different ones.
        feed.append(f"commit refs/import\nmark :{mark}\ncommitter a <a> {node.time_s} +0000\n{_data(f'{mark}')}")
        for number, parent in enumerate(node.parents):
            feed.append(f"{'merge' if number else 'from'} {f':{marks[parent]}' if parent in marks else parent.oid}\n")
        feed.append("deleteall\n")
        if trees is not None:
            feed.append(f'M 040000 {trees[node]} ""\n')
        feed += [f"M 100644 inline {path}\n{_data(content)}" for path, content in node.files.items()]
    exported = planted.path / ".git/marks"
    planted.git("fast-import", "--quiet", "--force", f"--export-marks={exported}", feed="".join(feed))
    planted.git("update-ref", "-d", "refs/import")
    oids = dict(line.split() for line in exported.read_text().splitlines())
    for node, mark in marks.items():
        node.oid = oids[f":{mark}"]


def _data(text: str) -> str:
    return f"data {len(text)}\n{text}\n"


def reachable(tips: Iterable[Node], known: frozenset[str]) -> set[Node]:
    """The tips and all that lies before them, as far as it is known."""
    met: set[Node] = set()
    left = [tip for tip in tips if tip.oid in known]
    while left:
        node = left.pop()
        if node not in met:
            met.add(node)
            left += [parent for parent in node.parents if parent.oid in known]
    return met
