"""Where the paths of a Lay come to stand in a merged tree: links in parents followed inside the root."""

from __future__ import annotations

from collections.abc import Set

from stapel.api import File, Tree
from stapel.errors import BadLay

_LINKS_FOLLOWED = 40


class Places:
    """Resolves directories of one tree, each once, as if the files and links `gone` and all in `emptied` were not there.

    What it finds out is kept in `missing` and `followed` (links).
    """

    def __init__(self, tree: Tree, gone: Set[bytes] = frozenset(), emptied: Set[bytes] = frozenset()) -> None:
        self._tree = tree
        self._gone = gone
        self._emptied = emptied
        self._resolved: dict[bytes, bytes] = {b"": b""}
        self._stats: dict[bytes, File | None] = {}
        self.missing: set[bytes] = set()
        self.followed: set[bytes] = set()

    def stat(self, path: bytes) -> File | None:
        """What stands at a resolved path."""
        if path not in self._stats:
            parent = parent_of(path)
            absent = path and (path in self._gone or parent in self.missing or parent in self._emptied)
            self._stats[path] = None if absent else self._tree.stat(path)
        return self._stats[path]

    def place(self, path: bytes) -> bytes:
        """Where a path stands: its parents resolved, its last component as it is."""
        return join(self.directory(parent_of(path)), path.rpartition(b"/")[2])

    def directory(self, path: bytes, followed: int = 0) -> bytes:
        """The resolved path of a directory; one that is not there (or is no directory) is noted in `missing`.

        `BadLay` for a loop of links.
        """
        if path in self._resolved:
            return self._resolved[path]
        if followed > _LINKS_FOLLOWED:
            raise BadLay(f"too many links on the way to {show(path)}")
        here = join(self.directory(parent_of(path), followed), path.rpartition(b"/")[2])
        file = self.stat(here)
        if file is not None and file.kind == "symlink":
            self.followed.add(here)
            here = self._follow(here, file.link, followed + 1)
        elif file is None or file.kind != "directory":
            self.missing.add(here)
        self._resolved[path] = here
        return here

    def _follow(self, link_path: bytes, target: bytes, followed: int) -> bytes:
        here = b"" if target.startswith(b"/") else parent_of(link_path)
        for component in target.split(b"/"):
            if component == b"..":
                here = parent_of(here)
            elif component not in (b"", b"."):
                here = self.directory(join(here, component), followed)
        return here


def parent_of(path: bytes) -> bytes:
    """The directory that holds a path; b"" is its own."""
    return path.rpartition(b"/")[0]


def join(directory: bytes, name: bytes) -> bytes:
    """A path below a directory."""
    return directory + b"/" + name if directory else name


def ancestors_of(path: bytes) -> list[bytes]:
    """The directories above a path, the nearest first, the root left out."""
    found = []
    while path := parent_of(path):
        found.append(path)
    return found


def check_name(path: bytes) -> None:
    """Refuse to lay what a layer cannot hold: in it, a name like this one takes something away. `BadLay`."""
    if path.startswith(b".wh.") or b"/.wh." in path:
        raise BadLay(
            f"{show(path)} cannot be in an image: names that start with `.wh.` say in a layer what is removed",
            hint="leave it out by excludePaths",
        )


def check_path(path: bytes) -> None:
    """Refuse a path that is not plainly below the root. `BadLay`."""
    odd = b"//" in path or b"/." in path or path.startswith((b"/", b".")) or path.endswith(b"/")
    if not path or b"\0" in path or (odd and not {b"", b".", b".."}.isdisjoint(path.split(b"/"))):
        raise BadLay(f"{path!r} is no path below the root of an image")


def show(path: bytes) -> str:
    """A path for people."""
    return "/" + path.decode("utf-8", "backslashreplace")
