"""A tree of files in memory: what plans are made against, what layers are applied to, and what they are compared with."""

import io

from msgspec import Struct, field
from msgspec.structs import replace

from stapel.api import File
from stapel.errors import NotFound


class Node(Struct):
    kind: str
    content: bytes = b""
    link: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0
    children: dict[bytes, "Node"] = field(default_factory=dict)

    def copy(self):
        return replace(self, children={name: child.copy() for name, child in self.children.items()})

    def at(self, path):
        """What stands at a path whose parents are directories; None where nothing does."""
        node = self
        for name in path.split(b"/") if path else ():
            if node is None or node.kind != "directory":
                return None
            node = node.children.get(name)
        return node

    def put(self, path, node):
        parent, _, name = path.rpartition(b"/")
        holder = self.at(parent)
        assert holder is not None and holder.kind == "directory", f"{parent!r} is no directory"
        holder.children[name] = node

    def drop(self, path):
        parent, _, name = path.rpartition(b"/")
        del self.at(parent).children[name]

    def flat(self, prefix=b""):
        """{path: everything about it but the children}"""
        found = {prefix: (self.kind, self.content, self.link, self.mode, self.uid, self.gid, self.mtime_s)}
        for name, child in self.children.items():
            found |= child.flat(prefix + b"/" + name if prefix else name)
        return found


def directory(mode=0o755, **fields):
    return Node("directory", mode=mode, **fields)


def file(content=b"", **fields):
    return Node("file", content, **fields)


def symlink(target, **fields):
    return Node("symlink", link=target, mode=0o777, **fields)


def tree_of(nodes):
    """A tree out of {path: node}; missing parents are made; what lies below something else than a directory is left out."""
    root = directory(mtime_s=1)
    for path, node in sorted(nodes.items(), key=lambda item: item[0].split(b"/")):
        here = b""
        for name in path.split(b"/")[:-1]:
            here = here + b"/" + name if here else name
            if root.at(here) is None and root.at(here.rpartition(b"/")[0]).kind == "directory":
                root.put(here, directory(0o711, mtime_s=2))
        if root.at(path.rpartition(b"/")[0]) is not None and root.at(path.rpartition(b"/")[0]).kind == "directory":
            root.put(path, node)
    return root


class MemoryTree:
    """The `Tree` of a node."""

    def __init__(self, root):
        self.root = root
        self.opened = []

    def _resolve(self, path, follow_last, depth=0):
        """The resolved path, None where it leads through nothing or through a file."""
        assert depth < 100, "a loop of links"
        here = b""
        names = path.split(b"/") if path else []
        for number, name in enumerate(names):
            if name == b"..":
                here = here.rpartition(b"/")[0]
                continue
            if name in (b"", b"."):
                continue
            there = here + b"/" + name if here else name
            node = self.root.at(there)
            last = number == len(names) - 1
            if node is not None and node.kind == "symlink" and (follow_last or not last):
                target = node.link if node.link.startswith(b"/") else here + b"/" + node.link
                resolved = self._resolve(target.strip(b"/"), True, depth + 1)
                if resolved is None:
                    return None
                there = resolved
            elif node is None and not last:
                return None
            here = there
        return here

    def stat(self, path):
        resolved = self._resolve(path, False)
        node = None if resolved is None else self.root.at(resolved)
        return None if node is None else self._file(node, resolved, resolved)

    def walk(self, path):
        start = self.stat(path)
        if start is None:
            return
        resolved = start.path
        for below in sorted(self.root.at(resolved).flat(), key=lambda name: name.split(b"/") if name else []):
            place = b"/".join(part for part in (resolved, below) if part)
            yield self._file(self.root.at(place), below, place)

    def open(self, path):
        resolved = self._resolve(path, False)
        node = None if resolved is None else self.root.at(resolved)
        if node is None or node.kind != "file":
            raise NotFound(f"no file {path!r}")
        self.opened.append(resolved)
        return io.BytesIO(node.content)

    def _file(self, node, path, place):
        return File(
            path,
            node.kind,
            node.mode,
            size=len(node.content),
            uid=node.uid,
            gid=node.gid,
            link=node.link,
            mtime_s=node.mtime_s,
            open=(lambda: self.open(place)) if node.kind == "file" else None,
        )


def apply_layer(base, entries):
    """The tree that a layer makes of a base, as OCI has it; strict about what readers do not agree on.

    Whiteouts and opaque marks hide what the base has, entries are put on top. No entry may lead through a link, a removal
    must hit something, and a path is never both removed and laid.
    """
    entries = [_read(entry) for entry in entries]
    lower = base.copy()
    marks = [entry for entry in entries if entry.path.rpartition(b"/")[2].startswith(b".wh.")]
    paths = {entry.path for entry in entries}
    for mark in marks:
        parent, _, name = mark.path.rpartition(b"/")
        assert not parent or parent in paths, f"{mark.path!r} without its directory"
        assert lower.at(parent) is not None and lower.at(parent).kind == "directory", f"{mark.path!r} is in no directory"
        if name == b".wh..wh..opq":
            lower.at(parent).children.clear()
    for mark in marks:
        parent, _, name = mark.path.rpartition(b"/")
        if name != b".wh..wh..opq":
            hidden = b"/".join(part for part in (parent, name.removeprefix(b".wh.")) if part)
            assert lower.at(hidden) is not None, f"{hidden!r} is removed and is not there"
            assert hidden not in paths, f"{hidden!r} is removed and laid"
            lower.drop(hidden)
    for entry in entries:
        if entry in marks:
            continue
        parent = entry.path.rpartition(b"/")[0]
        assert not parent or parent in paths, f"{entry.path!r} without its directory"
        put_entry(lower, entry)
    return lower


def _read(entry):
    """An entry whose content can be read at any time."""
    if entry.kind != "file" or entry.open is None:
        return entry
    with entry.open() as content:
        data = content.read()
    return replace(entry, open=lambda: io.BytesIO(data))


def put_entry(root, entry):
    """Put one entry, as extraction does: a directory over a directory keeps its content, all else is replaced."""
    old = root.at(entry.path)
    node = Node(entry.kind, b"", entry.link, entry.mode, entry.uid, entry.gid, entry.mtime_s)
    if entry.kind == "file":
        with entry.open() as content:
            node.content = content.read()
        assert len(node.content) == entry.size
    if entry.kind == "directory" and old is not None and old.kind == "directory":
        node.children = old.children
    root.put(entry.path, node)
