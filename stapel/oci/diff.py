"""Layers out of directories: what an overlay's upper directory holds, and what differs between two plain trees.

Entries come as `write_layer` wants them: sorted, files with several names once with their content and then as hard links,
times in whole seconds. Small contents come with their entry; larger ones are opened by `Entry.open`, which is valid until
the next entry is taken. Sockets are left out, for no layer holds them. Nothing may change in the directories meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, cast

from msgspec import Struct
from msgspec.structs import replace

from stapel.oci.directories import OpenDirectory
from stapel.oci.layer import OPAQUE, WHITEOUT, Entry, Extents, LayerError, opaque, whiteout
from stapel.oci.overlay import DEVICE_XATTR, KINDS, LowerTree, is_whiteout, kept_xattrs, overlay_mark, parse_device

Owners = Callable[[int, int], tuple[int, int]]

_INLINE_BYTES = 1 << 18
_READ_BYTES = 1 << 20
_WORTHY_HOLES_BYTES = 256 << 20  # below that zeros cost half a second, and Docker can pass the layer on
_SMALL_HOLE_BYTES = 1 << 20
_MOST_PATH_BYTES = 4095
_NO_XATTRS: Mapping[str, bytes] = {}
_FILE = Entry(b"", "file")  # in the place of a mark: nothing but a file
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class RootMetadata(Struct, frozen=True):
    """What the root directory was before: its entry is in a layer only where these differ."""

    mode: int = 0o755
    uid: int = 0
    gid: int = 0


def diff_upper(
    upper: int,
    *,
    root: RootMetadata = RootMetadata(),
    below: LowerTree | None = None,
    owners: Owners | None = None,
) -> Iterator[Entry]:
    """The layer that an overlay's upper directory is. Whiteouts and opaque directories are known in all their forms.

    `below`: asked where a socket stands, whether it hides something. `owners` maps what is stored to what the image shall
    have (a user namespace seen from outside). `LayerError` where an upper directory holds what no layer can: a redirect,
    a name that would mark a removal, a path longer than Linux takes.
    """
    with OpenDirectory(upper) as walk:
        reading = _Reading(owners)
        yield from _changed_root(walk, root, reading)
        waiting = [_upper_names(walk, below)]
        while waiting:
            item = next(waiting[-1], None)
            if item is None:
                waiting.pop()
                walk.leave_to(max(0, len(waiting) - 1))
                continue
            name, mark = item
            if mark is _FILE:
                yield reading.file(walk, name)
                continue
            if mark is not None:
                yield mark
                continue
            entry = reading.entry(walk, name)
            if entry is not None:
                yield entry
                if entry.kind == "directory":
                    walk.enter(name)
                    waiting.append(_upper_names(walk, below))


def diff_trees(
    old: int,
    new: int,
    *,
    since_ns: int | None = None,
    owners: Owners | None = None,
) -> Iterator[Entry]:
    """The layer that makes the tree `old` the tree `new`.

    A file is the same where inode and ctime are (a snapshot of the same file system), or where nothing has touched it since
    `since_ns`, when the copy was complete; else where its metadata, links and content are. `LayerError` as `diff_upper`.
    """
    with OpenDirectory(old) as before, OpenDirectory(new) as after:
        reading = _Reading(owners)
        info = os.fstat(old)
        yield from _changed_root(after, RootMetadata(stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid), reading)
        yield from _Comparison(before, after, reading, since_ns).entries()


class _Reading:
    """Entries of what stands in a tree. Remembers the files that have several names."""

    def __init__(self, owners: Owners | None) -> None:
        self._owners = owners
        self._first: dict[tuple[int, int], bytes] = {}
        self._flags = _OPEN | os.O_NOATIME

    def entry(self, walk: OpenDirectory, name: bytes, info: os.stat_result | None = None) -> Entry | None:
        """The entry of a name in the directory; None for a socket."""
        info = info or os.stat(name, dir_fd=walk.fd, follow_symlinks=False)
        if stat.S_ISREG(info.st_mode):
            return self.file(walk, name)
        path = _checked_path(walk, name)
        kind = KINDS.get(stat.S_IFMT(info.st_mode))
        if kind is None:
            return None
        mode, mtime_s = stat.S_IMODE(info.st_mode), info.st_mtime_ns // 1_000_000_000
        uid, gid = (info.st_uid, info.st_gid) if self._owners is None else self._owners(info.st_uid, info.st_gid)
        if kind == "directory":
            place = f"/proc/self/fd/{walk.fd}/{os.fsdecode(name)}"
            if os.listxattr(place) and overlay_mark(place, "redirect"):
                raise LayerError(
                    f"{path!r} has its content elsewhere (redirect_dir), which no layer can say: mount without it"
                )
            return Entry(path, kind, mode, uid, gid, mtime_s, xattrs=kept_xattrs(place))
        if info.st_nlink > 1 and (first := self._first_name(info, path)):
            return Entry(path, "hardlink", mode, uid, gid, mtime_s, link=first)
        if kind == "symlink":
            return Entry(path, kind, mode, uid, gid, mtime_s, link=os.readlink(name, dir_fd=walk.fd))
        device = (os.major(info.st_rdev), os.minor(info.st_rdev)) if kind != "fifo" else (0, 0)
        return Entry(path, kind, mode, uid, gid, mtime_s, device=device)

    def file(self, walk: OpenDirectory, name: bytes) -> Entry:
        """The entry of a regular file: its content, a hard link, or the device that it stands for."""
        path = _checked_path(walk, name)
        directory = walk.fd
        fd = self.open(name, directory)
        try:
            info = os.fstat(fd)
            size, mode, mtime_s = info.st_size, stat.S_IMODE(info.st_mode), info.st_mtime_ns // 1_000_000_000
            uid, gid = (info.st_uid, info.st_gid) if self._owners is None else self._owners(info.st_uid, info.st_gid)
            if info.st_nlink > 1 and (first := self._first_name(info, path)):
                return Entry(path, "hardlink", mode, uid, gid, mtime_s, link=first)
            xattrs: Mapping[str, bytes] = _NO_XATTRS
            if keys := os.listxattr(fd):
                if overlay_mark(fd, "metacopy"):
                    raise LayerError(f"{path!r} has its content in another layer (metacopy): mount without it")
                xattrs = kept_xattrs(fd)
                if DEVICE_XATTR in keys and not size and (device := parse_device(os.getxattr(fd, DEVICE_XATTR))):
                    return Entry(path, device[0], mode, uid, gid, mtime_s, device=device[1], xattrs=xattrs)
            if size <= _INLINE_BYTES:
                content = os.read(fd, size + 1) if size else b""
                return Entry(path, "file", mode, uid, gid, mtime_s, size, xattrs=xattrs, content=content)
            holes = size - info.st_blocks * 512
            extents = _find_extents(fd, size) if holes >= _WORTHY_HOLES_BYTES else None

            def open_content() -> BinaryIO:
                return cast(BinaryIO, os.fdopen(self.open(name, directory), "rb", buffering=0))

            return Entry(path, "file", mode, uid, gid, mtime_s, size, xattrs=xattrs, open=open_content, extents=extents)
        finally:
            os.close(fd)

    def _first_name(self, info: os.stat_result, path: bytes) -> bytes:
        """The name under which this file is in the layer already; b"": this is the first."""
        first = self._first.setdefault((info.st_dev, info.st_ino), path)
        return b"" if first is path else first

    def open(self, name: bytes, directory: int) -> int:
        """Open a file to be read, without a trace in its times where we may."""
        try:
            return os.open(name, self._flags, dir_fd=directory)
        except PermissionError:
            if self._flags == _OPEN:
                raise
            self._flags = _OPEN
            return os.open(name, _OPEN, dir_fd=directory)


def _checked_path(walk: OpenDirectory, name: bytes) -> bytes:
    path = walk.path + b"/" + name if walk.path else name
    if len(path) > _MOST_PATH_BYTES:
        raise LayerError(f"a path of {len(path)} bytes is longer than an image can hold: {path[:60]!r}...")
    if name.startswith(WHITEOUT):
        raise LayerError(f"{path!r} has a name that marks a removal in layers, so no image can hold it")
    return path


def _find_extents(fd: int, size: int) -> Extents | None:
    """The pieces of a file that are no holes, small holes counted as content; None where its holes are not worth it."""
    extents: list[tuple[int, int]] = []
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # ENXIO: a hole up to the end
            break
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if extents and start - sum(extents[-1]) < _SMALL_HOLE_BYTES:
            start = extents.pop()[0]
        extents.append((start, at - start))
    if size - sum(length for _, length in extents) < _WORTHY_HOLES_BYTES:
        return None
    if not extents or sum(extents[-1]) < size:
        extents.append((size, 0))  # GNU tar ends a file where its map ends
    return extents


def _changed_root(walk: OpenDirectory, before: RootMetadata, reading: _Reading) -> Iterator[Entry]:
    info = os.fstat(walk.fd)
    now = RootMetadata(stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid)
    if now != before:
        entry = reading.entry(walk, b".")
        assert entry is not None
        yield replace(entry, path=b"")


# -- upper directories


def _upper_names(walk: OpenDirectory, below: LowerTree | None) -> Iterator[tuple[bytes, Entry | None]]:
    """The names in a directory of an upper one, and the marks among them as entries, sorted by the entries' names."""
    path = walk.path
    names: list[tuple[bytes, bytes, Entry | None]] = []
    state = overlay_mark(walk.fd, "opaque") if path else b""
    if state == b"y":
        names.append((OPAQUE, b"", opaque(path)))
    with os.scandir(walk.fd) as items:
        for item in items:
            name = os.fsencode(item.name)
            if item.is_dir(follow_symlinks=False) or item.is_symlink():
                names.append((name, name, None))
                continue
            place = path + b"/" + name if path else name
            if item.is_file(follow_symlinks=False):
                hides = state == b"x" and bool(overlay_mark(f"/proc/self/fd/{walk.fd}/{item.name}", "whiteout"))
            else:
                info = item.stat(follow_symlinks=False)
                hides = is_whiteout(info)
                if stat.S_ISSOCK(info.st_mode):
                    if below is None or below.find(place) is None:
                        continue
                    hides = True
                elif not hides:
                    names.append((name, name, None))
                    continue
            names.append((WHITEOUT + name, name, whiteout(place)) if hides else (name, name, _FILE))
    names.sort(key=lambda item: item[0])
    return iter([(name, mark) for _, name, mark in names])


# -- two trees


class _Level(Struct):
    """A directory that is compared. `waiting`: its own entry, as long as nothing in it asks for it."""

    names: Iterator[tuple[bytes, os.stat_result | None, os.stat_result | None]]
    waiting: Entry | None
    added: bool  # all of it is new


class _Comparison:
    def __init__(self, before: OpenDirectory, after: OpenDirectory, reading: _Reading, since_ns: int | None) -> None:
        self._before = before
        self._after = after
        self._reading = reading
        self._since_ns = since_ns
        self._inodes: dict[int, int] = {}  # of files with several names: old -> new

    def entries(self) -> Iterator[Entry]:
        """What differs."""
        levels = [_Level(self._names(added=False), None, False)]
        while levels:
            item = next(levels[-1].names, None)
            if item is None:
                level = levels.pop()
                depth = max(0, len(levels) - 1)
                self._after.leave_to(depth)
                if not level.added:
                    self._before.leave_to(depth)
                continue
            name, old, new = item
            path = self._path(name)
            if new is None:
                yield from self._with_parents(levels, whiteout(path))
                continue
            entry = None
            directory = stat.S_ISDIR(new.st_mode)
            added = old is None or not stat.S_ISDIR(old.st_mode)
            if directory or old is None or not self._is_same(name, old, new):
                entry = self._reading.entry(self._after, name, new)
            if entry is None:
                continue
            if not directory:
                yield from self._with_parents(levels, entry)
                continue
            waits = not added and old is not None and self._is_same_directory(name, old, new)
            if not waits:
                yield from self._with_parents(levels, entry)
            self._after.enter(name)
            if not added:
                self._before.enter(name)
            levels.append(_Level(self._names(added=added), entry if waits else None, added))

    def _path(self, name: bytes) -> bytes:
        return self._after.path + b"/" + name if self._after.path else name

    def _with_parents(self, levels: list[_Level], entry: Entry) -> Iterator[Entry]:
        for level in levels:
            if level.waiting is not None:
                yield level.waiting
                level.waiting = None
        yield entry

    def _names(self, *, added: bool) -> Iterator[tuple[bytes, os.stat_result | None, os.stat_result | None]]:
        """The names in both directories, by the names of their entries."""
        new = _stats(self._after.fd)
        old = {} if added else _stats(self._before.fd)
        found = [(name, old.get(name), info if not stat.S_ISSOCK(info.st_mode) else None) for name, info in new.items()]
        found = [item for item in found if item[1] is not None or item[2] is not None]
        found += [(name, info, None) for name, info in old.items() if name not in new]
        # A socket that was there is no change and no part of an image.
        found = [item for item in found if not (item[2] is None and item[1] and stat.S_ISSOCK(item[1].st_mode))]
        found.sort(key=lambda item: item[0] if item[2] is not None else WHITEOUT + item[0])
        return iter(found)

    def _is_same(self, name: bytes, old: os.stat_result, new: os.stat_result) -> bool:
        if (old.st_mode, old.st_uid, old.st_gid, old.st_nlink) != (new.st_mode, new.st_uid, new.st_gid, new.st_nlink):
            return False
        if (old.st_size, old.st_mtime_ns, old.st_rdev) != (new.st_size, new.st_mtime_ns, new.st_rdev):
            return False
        if new.st_nlink > 1 and self._inodes.setdefault(old.st_ino, new.st_ino) != new.st_ino:
            return False
        if (old.st_ino, old.st_ctime_ns) == (new.st_ino, new.st_ctime_ns):
            return True
        if self._since_ns is not None and new.st_ctime_ns < self._since_ns:
            return True
        if stat.S_ISLNK(new.st_mode):
            return os.readlink(name, dir_fd=self._before.fd) == os.readlink(name, dir_fd=self._after.fd)
        return not stat.S_ISREG(new.st_mode) or self._is_same_content(name)

    def _is_same_content(self, name: bytes) -> bool:
        before = self._reading.open(name, self._before.fd)
        try:
            after = self._reading.open(name, self._after.fd)
            try:
                if _all_xattrs(before) != _all_xattrs(after):
                    return False
                while True:
                    data = os.read(before, _READ_BYTES)
                    if data != os.read(after, _READ_BYTES):
                        return False
                    if not data:
                        return True
            finally:
                os.close(after)
        finally:
            os.close(before)

    def _is_same_directory(self, name: bytes, old: os.stat_result, new: os.stat_result) -> bool:
        if (old.st_mode, old.st_uid, old.st_gid, old.st_mtime_ns) != (new.st_mode, new.st_uid, new.st_gid, new.st_mtime_ns):
            return False
        places = [f"/proc/self/fd/{walk.fd}/{os.fsdecode(name)}" for walk in (self._before, self._after)]
        return _all_xattrs(places[0]) == _all_xattrs(places[1])


def _all_xattrs(target: int | str) -> dict[str, bytes]:
    kept = kept_xattrs(target)
    if DEVICE_XATTR in os.listxattr(target):
        kept[DEVICE_XATTR] = os.getxattr(target, DEVICE_XATTR)
    return kept


def _stats(directory: int) -> dict[bytes, os.stat_result]:
    with os.scandir(directory) as items:
        return {os.fsencode(item.name): item.stat(follow_symlinks=False) for item in items}
