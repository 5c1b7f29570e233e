"""Objects of one store: the repository's, or a submodule's. Commits and trees are parsed here, each once."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from msgspec import Struct

from conveyor.errors import GitError
from conveyor.gitrepo.processes import LARGE_BYTES, CatFile, in_memory, missing_object

if TYPE_CHECKING:
    from conveyor.gitrepo.addresses import Address

TREE = 0o040000
LINK = 0o120000
GITLINK = 0o160000

_COMMIT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ENTRIES = {size: re.compile(rb"([0-7]+) ([^\0]+)\0(.{%d})" % size, re.DOTALL) for size in (20, 32)}
_MODES = {b"40000": TREE, b"100644": 0o100644, b"100755": 0o100755, b"120000": LINK, b"160000": GITLINK}
_MOST_KEPT = 1_000_000  # entries of trees; a few hundred bytes each


class TreeEntry(Struct, frozen=True, gc=False):
    """One entry of a tree, with a mode that git itself writes. There are many of them."""

    mode: int
    name: bytes
    oid: str


class Commit(Struct, frozen=True):
    """What a build needs of a commit."""

    tree: str
    parents: tuple[str, ...]
    time_s: int
    zone: str = "+0000"  # of the committer


class Objects:
    """What an object store holds. Thread-safe; everything in it is named by its digest, so nothing that is kept gets old."""

    def __init__(
        self,
        name: str,
        git_dir: bytes,
        environment: Mapping[str, str],
        supply: Callable[[Sequence[str]], None] | None = None,
        origin: Address | None = None,
    ) -> None:
        """`supply` brings blobs that are not here yet, many at once: those of a partial clone of `origin`."""
        self.name = name  # "" is the repository, else the path of a submodule
        self.git_dir = git_dir
        self.origin = origin  # None: its settings tell it
        self._supply = supply
        self._cat = CatFile(git_dir, environment)
        self._trees: dict[str, tuple[TreeEntry, ...]] = {}
        self._kept = 0
        self._commits: dict[str, Commit] = {}
        self._sizes: dict[str, int] = {}

    def expect_questions(self) -> None:
        """Start git now: it is there when it is asked."""
        self._cat.start()

    def tree(self, oid: str) -> tuple[TreeEntry, ...]:
        """The entries of a tree, in git's order."""
        found = self._trees.get(oid)
        return found if found is not None else self._load((oid,))[0]

    def load_trees(self, oids: Collection[str]) -> None:
        """Read trees that will be asked for, in one go."""
        missing = [oid for oid in dict.fromkeys(oids) if oid not in self._trees]
        if missing:
            self._load(missing)

    def tree_of(self, commit: str) -> str:
        """The id of a commit's tree."""
        return self.commit(commit).tree

    def commit(self, oid: str) -> Commit:
        """A commit. `GitError` where it is missing."""
        found = self._commits.get(oid) or self.commits((oid,)).get(oid)
        if found is None:
            raise missing_object(oid)
        return found

    def commits(self, oids: Iterable[str]) -> Mapping[str, Commit]:
        """Those that are commits here, by their full ids; anything else is none."""
        wanted = [oid for oid in dict.fromkeys(oids) if _COMMIT_ID.fullmatch(oid)]
        asked = [oid for oid in wanted if oid not in self._commits]
        for oid, read in zip(asked, self._cat.read_all(asked) if asked else (), strict=True):
            if read is not None and read[0] == "commit":
                self._commits[oid] = _parse_commit(read[1])
        return {oid: self._commits[oid] for oid in wanted if oid in self._commits}

    def sizes(self, oids: Sequence[str]) -> list[int]:
        """Sizes in bytes, in their order; `GitError` for what is missing."""
        asked = [oid for oid in dict.fromkeys(oids) if oid not in self._sizes]
        if asked:
            self._have(asked)
            self._sizes.update(zip(asked, self._cat.sizes(asked), strict=True))
        return [self._sizes[oid] for oid in oids]

    def read_blob(self, oid: str) -> bytes:
        """A whole blob, for one that is held in memory."""
        with self.open(oid) as content:
            return content.read()

    def open(self, oid: str) -> BinaryIO:
        """A blob to be read; a large one from a process of its own."""
        size = self._sizes.get(oid)
        if size is None or size <= LARGE_BYTES:
            content = self._read((oid,), "blob")[0]
            if content or not self.sizes((oid,))[0]:
                return in_memory(content)
        return self._cat.stream(oid)

    def read_ahead(self, oids: Sequence[str]) -> Iterator[bytes]:
        """Contents of blobs in their order; one that is too large to be held in memory is b"", and `open` reads it."""
        self._have(oids)
        return self._cat.read_ahead(oids)

    def see(self, more: Mapping[str, str]) -> None:
        """Read with further variables for git from now on: other directories of objects."""
        self._cat.see(more)

    def close(self) -> None:
        """End git's processes."""
        self._cat.close()

    def _load(self, oids: Sequence[str]) -> list[tuple[TreeEntry, ...]]:
        if self._kept > _MOST_KEPT:
            self._trees, self._kept = {}, 0
        loaded = [_parse_tree(data, len(oids[0]) // 2) for data in self._read(oids, "tree")]
        self._trees.update(zip(oids, loaded, strict=True))
        self._kept += sum(map(len, loaded))
        return loaded

    def _have(self, oids: Sequence[str]) -> None:
        """Have blobs here, in one go for all that are not."""
        if self._supply is not None:
            distinct = list(dict.fromkeys(oids))
            missing = [oid for oid, found in zip(distinct, self._cat.check(distinct), strict=True) if found is None]
            if missing:
                self._supply(missing)

    def _read(self, oids: Sequence[str], kind: str) -> list[bytes]:
        if kind == "blob":
            self._have(oids)
        contents = []
        for oid, read in zip(oids, self._cat.read_all(oids), strict=True):
            if read is None:
                raise missing_object(oid)
            if read[0] != kind:
                raise GitError(f"{oid} is a {read[0]}, and a {kind} is asked for", reason="git_failed")
            contents.append(read[1])
        return contents


def _parse_tree(data: bytes, id_bytes: int) -> tuple[TreeEntry, ...]:
    return tuple(
        [
            TreeEntry(_MODES.get(mode) or _written_mode(mode), name, oid.hex())
            for mode, name, oid in _ENTRIES[id_bytes].findall(data)
        ]
    )


def _written_mode(text: bytes) -> int:
    """The mode that git makes of one that it does not write itself, as very old versions did."""
    mode = int(text, 8)
    kind = mode & 0o170000
    if kind == 0o100000:
        return 0o100755 if mode & 0o100 else 0o100644
    return kind if kind in (TREE, LINK) else GITLINK


def _parse_commit(data: bytes) -> Commit:
    tree, time_s, zone = "", 0, b"+0000"
    parents = []
    for line in data.partition(b"\n\n")[0].split(b"\n"):
        name, _, value = line.partition(b" ")
        if name == b"tree":
            tree = value.decode()
        elif name == b"parent":
            parents.append(value.decode())
        elif name == b"committer":
            seconds = re.search(rb"> (-?\d+)(?: ([-+]\d{4}))?[^>]*$", value)
            time_s = int(seconds[1]) if seconds else 0
            zone = (seconds[2] if seconds else None) or zone
    return Commit(tree, tuple(parents), time_s, zone.decode())
