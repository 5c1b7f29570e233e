"""Planning a Lay against the merged tree of what is below: pure rules, the same for every engine.

Files are laid where links in their parents lead; parents keep the base's metadata, missing ones are made 0755; a directory
is removed only when the merged tree has nothing left in it. (A layer with only `bin/tool` over `/bin -> usr/bin` would
destroy `/bin/sh`; a 1777 parent would become 0755.)
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack
from itertools import pairwise
from typing import BinaryIO, cast

from msgspec import Struct
from msgspec.structs import replace

from stapel.api import File, Lay, Tree
from stapel.errors import BadLay, FileChanged
from stapel.oci.layer import Entry, opaque, whiteout
from stapel.places import Places, ancestors_of, check_name, check_path, join, parent_of, show

_CHUNK = 1 << 20
_EXPECTED_ONE_BY_ONE = 8


class _Made(Struct, frozen=True):
    """A directory that is not there yet."""

    uid: int
    gid: int
    mtime_s: int


class LayPlan(Struct, frozen=True):
    """What Lays do to a tree. Paths are resolved, relative to the root."""

    lays: tuple[Lay, ...]
    laid: Mapping[bytes, tuple[int, int, int]]  # path -> (lay, number in it, uid and gid are in `owners`)
    owners: Mapping[bytes, tuple[int, int]]
    directories: Mapping[bytes, Entry]  # parents that exist, with their metadata, and those that are made
    made: frozenset[bytes]
    removals: tuple[bytes, ...]  # files and links, and whole directories that are left empty, topmost only
    emptied: tuple[bytes, ...]  # directories whose content goes
    now_s: int

    def entries(self) -> Iterator[Entry]:
        """The whole layer, sorted: parents, laid files, whiteouts, opaque marks."""
        extra = [*self.directories.values(), *map(whiteout, self.removals), *map(opaque, self.emptied)]
        return self._merge(extra)

    def archive(self) -> Iterator[Entry]:
        """What must be laid into a container: missing parents and files. `removals` are for others to do."""
        return self._merge([self.directories[path] for path in self.made])

    def emptied_paths(self, tree: Tree) -> tuple[bytes, ...]:
        """What stands in emptied directories and is not laid, topmost only: for a container, where no mark hides it."""
        kept = {*self.laid, *self.emptied, *self.made}
        kept |= {parent for path in kept for parent in ancestors_of(path)}
        found: dict[bytes, None] = {}
        for directory in self.emptied:
            for file in tree.walk(directory):
                path = join(directory, file.path)
                if file.path and path not in kept and not any(parent in found for parent in ancestors_of(path)):
                    found[path] = None
        return tuple(found)

    def _merge(self, extra: Sequence[Entry]) -> Iterator[Entry]:
        with ExitStack() as resources:
            streams = [self._stream(index, resources) for index in range(len(self.lays))]
            plain = iter(sorted(extra, key=_order))
            yield from heapq.merge(plain, *streams, key=_order)

    def _stream(self, index: int, resources: ExitStack) -> Iterator[Entry]:
        mine = {number: path for path, (lay, number, _) in self.laid.items() if lay == index}
        order = [_order_of(path) for _, path in sorted(mine.items())]
        entries = self._entries_of(index, mine)
        if all(one < other for one, other in pairwise(order)):
            return entries
        import tempfile

        spool = resources.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 -- the stack closes it
        return iter(sorted([_spooled(entry, spool) for entry in entries], key=_order))

    def _entries_of(self, index: int, mine: Mapping[int, bytes]) -> Iterator[Entry]:
        lay = self.lays[index]
        for number, file in enumerate(lay.files()):
            path = mine.get(number)
            if path is not None:
                uid, gid = self.owners[path]
                yield _entry(file, path, uid, gid, _time(file, lay, self.now_s))


def plan_lays(lays: Sequence[Lay], tree: Tree, *, now_s: int) -> LayPlan:
    """Plan several Lays of one layer: what they remove goes first, then what they empty, then files are laid.

    Of two that lay one path the later wins, and what is laid is never removed. Reads metadata of the parents of what is
    laid, and contents of `expected` files only. `FileChanged`, `BadLay`.
    """
    before = Places(tree)
    _check_expected(lays, tree, before)
    # A link that goes does not lead anywhere: a delta may replace it by a directory of its name.
    removed = _removed(lays, before)
    mounts = Places(tree, removed.keys())
    emptied_by = [[mounts.directory(path) for path in lay.empty] for lay in lays]
    emptied = {path for paths in emptied_by for path in paths}
    places = Places(tree, removed.keys(), emptied)
    names = _Names(tree)
    laid: dict[bytes, tuple[int, int, int]] = {}
    owners: dict[bytes, tuple[int, int]] = {}
    kinds: dict[bytes, str] = {}
    for index, lay in enumerate(lays):
        for number, file in enumerate(lay.files()):
            check_path(file.path)
            check_name(file.path)
            path = places.directory(file.path) if file.kind == "directory" else places.place(file.path)
            if not path:
                continue
            laid[path] = (index, number, 0)
            kinds[path] = file.kind
            owners[path] = (
                names.uid(file.owner) if file.owner else file.uid,
                names.gid(file.group) if file.group else file.gid,
            )
    _check_nesting(kinds, emptied, mounts.followed | places.followed)
    removals = _plan_removals(removed, emptied, tree, kinds)
    directories: dict[bytes, Entry] = {}
    made: set[bytes] = set()
    for index, lay in enumerate(lays):
        root = places.directory(lay.root) if lay.root else b""
        own = [path for path, (owner, _, _) in laid.items() if owner == index]
        own += [join(places.directory(path), b"x") for path in emptied_by[index]]
        for path in dict.fromkeys(map(parent_of, own)):
            for parent in (path, *ancestors_of(path)) if path else ():
                if parent in directories:
                    break
                if parent not in kinds:
                    directories[parent] = _directory(parent, places, lay, root, names, now_s)
                    if parent in places.missing:
                        made.add(parent)
    for path in [*removals, *(join(item, b"x") for item in emptied)]:
        for parent in ancestors_of(path):
            if parent not in kinds and parent not in directories:
                directories[parent] = _existing(parent, places)
    return LayPlan(
        lays=tuple(lays),
        laid=laid,
        owners=owners,
        directories=directories,
        made=frozenset(made),
        removals=removals,
        emptied=tuple(sorted(emptied - places.missing)),
        now_s=now_s,
    )


def _order(entry: Entry) -> bytes:
    return _order_of(entry.path)


def _order_of(path: bytes) -> bytes:
    """Orders paths as their lists of components do: no other byte is less than what stands between these here."""
    return path.replace(b"/", b"\0")


def _time(file: File, lay: Lay, now_s: int) -> int:
    if file.mtime_s is not None:
        return file.mtime_s
    return now_s if lay.mtime_s is None else lay.mtime_s


def _entry(file: File, path: bytes, uid: int, gid: int, mtime_s: int) -> Entry:
    return Entry(
        path,
        file.kind,
        file.mode,
        uid,
        gid,
        mtime_s,
        file.size if file.kind == "file" else 0,
        file.link,
        file.device,
        file.xattrs,
        file.open,
    )


def _spooled(entry: Entry, spool: BinaryIO) -> Entry:
    if entry.kind != "file" or entry.open is None:
        return entry
    start = spool.seek(0, 2)
    with entry.open() as content:
        while data := content.read(_CHUNK):
            spool.write(data)
    size = spool.tell() - start
    return replace(entry, open=lambda: cast(BinaryIO, _Part(spool, start, size)))


class _Part:
    """A piece of a spool, as a content to be read."""

    def __init__(self, spool: BinaryIO, start: int, size: int) -> None:
        self._spool, self._at, self._left = spool, start, size

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        wanted = self._left if size < 0 else min(size, self._left)
        self._spool.seek(self._at)
        data = self._spool.read(wanted)
        self._at += len(data)
        self._left -= len(data)
        return data

    def __enter__(self) -> _Part:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _check_nesting(kinds: Mapping[bytes, str], emptied: Set[bytes], followed: Set[bytes]) -> None:
    for link in followed:
        if kinds.get(link, "directory") != "directory":
            raise BadLay(f"files are laid through the link {show(link)}, which is replaced by a {kinds[link]}")
    above = {*map(parent_of, kinds), *emptied} - {b""}
    for path in list(above):
        above.update(ancestors_of(path))
    for parent in sorted(above & kinds.keys()):
        if kinds[parent] != "directory":
            below = [*kinds, *(join(directory, b".") for directory in emptied)]
            path = next(path for path in below if path.startswith(parent + b"/"))
            raise BadLay(f"{show(path)} is laid below {show(parent)}, which is laid as a {kinds[parent]}")


def _directory(path: bytes, places: Places, lay: Lay, root: bytes, names: _Names, now_s: int) -> Entry:
    if path not in places.missing:
        return _existing(path, places)
    inside = bool(root) and (path == root or path.startswith(root + b"/"))
    uid = names.uid(lay.owner) if inside and lay.owner else 0
    gid = names.gid(lay.group) if inside and lay.group else 0
    return Entry(path, "directory", 0o755, uid, gid, now_s if lay.mtime_s is None else lay.mtime_s)


def _existing(path: bytes, places: Places) -> Entry:
    file = places.stat(path)
    assert file is not None
    return _entry(file, path, file.uid, file.gid, file.mtime_s or 0)


def _removed(lays: Sequence[Lay], places: Places) -> dict[bytes, set[bytes]]:
    """The files and links to remove, and the directories above each that go where they are left empty."""
    removed: dict[bytes, set[bytes]] = {}
    for lay in lays:
        root = places.directory(lay.root) if lay.root else b""
        for path in lay.remove:
            check_path(path)
            place = places.place(path)
            file = places.stat(place)
            if file is None or file.kind == "directory":
                continue
            above = removed.setdefault(place, set())
            for parent in ancestors_of(place):
                if root and not parent.startswith(root + b"/"):
                    break
                above.add(parent)
    return removed


def _plan_removals(
    removed: Mapping[bytes, set[bytes]], emptied: Set[bytes], tree: Tree, kinds: Mapping[bytes, str]
) -> tuple[bytes, ...]:
    if not removed:
        return ()
    kept = {*kinds, *emptied}
    kept |= {parent for path in kept for parent in ancestors_of(path)}
    candidates = set().union(*removed.values()) - kept
    gone: set[bytes] = set()
    for directory in sorted(candidates, key=lambda path: -path.count(b"/")):
        if _is_left_empty(directory, tree, removed.keys(), gone):
            gone.add(directory)
    # What is hidden by something laid over its directory, or emptied with it, needs no removal.
    hidden = gone | {path for path, kind in kinds.items() if kind != "directory"} | emptied
    topmost = [path for path in (removed.keys() | gone) - kept if hidden.isdisjoint(ancestors_of(path))]
    return tuple(sorted(topmost, key=_order_of))


def _is_left_empty(directory: bytes, tree: Tree, removed: Set[bytes], gone: Set[bytes]) -> bool:
    for file in tree.walk(directory):
        path = join(directory, file.path)
        if file.path and path not in removed and path not in gone:
            return False
    return True


def _check_expected(lays: Sequence[Lay], tree: Tree, places: Places) -> None:
    changed: list[bytes] = []
    for lay in lays:
        expected = {places.place(path): oid for path, oid in lay.expected.items()}
        found = _blob_ids(expected, tree)
        changed += [b"/" + path for path, oid in expected.items() if found.get(path) != oid]
    if changed:
        raise FileChanged(sorted(changed))


def _blob_ids(expected: Mapping[bytes, str], tree: Tree) -> dict[bytes, str]:
    """The git blob ids of what stands at these places; a path where no file or link stands is left out."""
    found: dict[bytes, str] = {}
    common = parent_of(next(iter(expected), b""))
    while common and not all(path.startswith(common + b"/") for path in expected):
        common = parent_of(common)
    if len(expected) <= _EXPECTED_ONE_BY_ONE or not common:
        for path, oid in expected.items():
            # One question, where asking what it is and then for its content would be two.
            for file in tree.walk(path):
                found[path] = _identify(file, oid)
                break
        return found
    # Many files: one walk over their common directory costs less than a question each.
    for file in tree.walk(common):
        path = join(common, file.path) if common else file.path
        if path in expected:
            found[path] = _identify(file, expected[path])
    return found


def _identify(file: File, like: str) -> str:
    """The id of a file of the same kind as `like`: a git blob's, or `sha256:` and that of the content; "" for none."""
    if like.startswith("sha256:"):
        return f"sha256:{_hash_content(file, hashlib.sha256())}" if file.kind == "file" and file.open is not None else ""
    digest = hashlib.sha1(usedforsecurity=False) if len(like) == 40 else hashlib.sha256()
    if file.kind == "symlink":
        digest.update(b"blob %d\0%b" % (len(file.link), file.link))
        return digest.hexdigest()
    if file.kind != "file" or file.open is None:
        return ""
    digest.update(b"blob %d\0" % file.size)
    return _hash_content(file, digest)


def _hash_content(file: File, digest: hashlib._Hash) -> str:
    assert file.open is not None
    with file.open() as content:
        while data := content.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest()


class _Names:
    """Owner names of the image, read when one is asked for."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._read: dict[bytes, dict[str, int]] = {}

    def uid(self, owner: str) -> int:
        """A number, or the uid of a name in the image's passwd; "" is root. `BadLay`."""
        return self._number(owner, b"etc/passwd", "user")

    def gid(self, group: str) -> int:
        """Likewise by the image's group."""
        return self._number(group, b"etc/group", "group")

    def _number(self, name: str, path: bytes, what: str) -> int:
        if not name or name.isdigit():
            return int(name or 0)
        if path not in self._read:
            self._read[path] = self._parse(path)
        if name not in self._read[path]:
            raise BadLay(
                f"there is no {what} {name} in {show(path)} of the image", hint=f"add the {what} before, or use a number"
            )
        return self._read[path][name]

    def _parse(self, path: bytes) -> dict[str, int]:
        places = Places(self._tree)
        file = places.stat(places.place(path))
        if file is None or file.kind != "file":
            return {}
        with self._tree.open(places.place(path)) as content:
            lines = content.read().decode("utf-8", "replace").splitlines()
        fields = [line.split(":") for line in lines]
        return {entry[0]: int(entry[2]) for entry in reversed(fields) if len(entry) > 2 and entry[2].isdigit()}
