"""Objects of one store: the repository's, or a submodule's. Commits and trees are parsed here, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from conveyor.errors import GitError
from conveyor.gitrepo.processes import CatFile, missing_object

TREE = 0o040000
LINK = 0o120000
GITLINK = 0o160000


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One entry of a tree, as git has it."""

    mode: int
    name: bytes
    oid: str


class Objects:
    """What an object store holds. Thread-safe; everything in it is named by its digest, so nothing that is kept gets old."""

    def __init__(self, name: str, git_dir: bytes, environment: dict[str, str]) -> None:
        self.name = name  # "" is the repository, else the path of a submodule
        self.git_dir = git_dir
        self._cat = CatFile(git_dir, environment)
        self._trees: dict[str, tuple[TreeEntry, ...]] = {}
        self._commits: dict[str, bytes] = {}

    def tree(self, oid: str) -> tuple[TreeEntry, ...]:
        """The entries of a tree, in git's order."""
        found = self._trees.get(oid)
        if found is None:
            found = self._trees[oid] = _parse_tree(self._read(oid, "tree"), len(oid) // 2)
        return found

    def tree_of(self, commit: str) -> str:
        """The id of a commit's tree."""
        return self._commit(commit).split(b"\n", 1)[0].removeprefix(b"tree ").decode()

    def commit_time_s(self, commit: str) -> int:
        """The committer's time."""
        for line in self._commit(commit).split(b"\n\n", 1)[0].split(b"\n"):
            if line.startswith(b"committer "):
                return int(line.rsplit(b" ", 2)[1])
        raise GitError(f"commit {commit} has no committer", hint="`git fsck` tells what is damaged")

    def commits_among(self, oids: Sequence[str]) -> list[str]:
        """Those that are commits here."""
        return [
            oid for oid, found in zip(oids, self._cat.check(oids), strict=True) if found is not None and found[0] == "commit"
        ]

    def sizes(self, oids: Sequence[str]) -> dict[str, int]:
        """Sizes in bytes; `GitError` for what is missing."""
        sizes = {}
        for oid, found in zip(oids, self._cat.check(oids), strict=True):
            if found is None:
                raise missing_object(oid)
            sizes[oid] = found[1]
        return sizes

    def read_blob(self, oid: str) -> bytes:
        """A whole blob, for small ones."""
        return self._read(oid, "blob")

    def open(self, oid: str) -> BinaryIO:
        """A blob to be read."""
        return self._cat.open(oid)

    def close(self) -> None:
        """End git's processes."""
        self._cat.close()

    def _commit(self, commit: str) -> bytes:
        found = self._commits.get(commit)
        if found is None:
            found = self._commits[commit] = self._read(commit, "commit")
        return found

    def _read(self, oid: str, kind: str) -> bytes:
        read = self._cat.read(oid)
        if read is None:
            raise missing_object(oid)
        if read[0] != kind:
            raise GitError(f"{oid} is a {read[0]}, and a {kind} is asked for")
        return read[1]


def _parse_tree(data: bytes, id_bytes: int) -> tuple[TreeEntry, ...]:
    entries, at = [], 0
    while at < len(data):
        space = data.index(b" ", at)
        end = data.index(b"\0", space)
        oid = data[end + 1 : end + 1 + id_bytes].hex()
        entries.append(TreeEntry(int(data[at:space], 8), data[space + 1 : end], oid))
        at = end + 1 + id_bytes
    return tuple(entries)
