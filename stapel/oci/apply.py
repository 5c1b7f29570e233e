"""Applying layers: the one way by which files of a layer get into a directory.

A layer is written by anybody. Nothing of it leads out of the root: each parent is opened name by name in an open directory,
without following links; a link in a parent is resolved by us, inside the root, where `/` and `..` end at the root. The last
name of a path is never followed. What a path replaces is removed first, what is there twice is as the later entry says
(as containerd and Docker do it), and whiteouts remove what the layers below have, wherever they stand in the layer.

Two forms of the result: a plain tree, and the upper directory of an overlay.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import closing
from typing import Literal

from msgspec import Struct

from stapel.oci.archive import NO_LIMITS, LayerReader, Limits, Member
from stapel.oci.compress import Readable
from stapel.oci.directories import OpenDirectory, remove_tree
from stapel.oci.errors import BadLayer
from stapel.oci.layer import OPAQUE, WHITEOUT
from stapel.oci.metadata import Settings, drop_xattrs, metadata_of, raise_for, show
from stapel.oci.nursery import Nursery
from stapel.oci.overlay import LowerTree, is_whiteout
from stapel.oci.parents import MOST_PATH_BYTES, Parents, split_path, too_long

_WHOLE_BYTES = 1 << 18
_AUFS = b".wh..wh."  # what aufs kept for itself: nothing of an image


class Form(Struct, frozen=True):
    """How a layer is applied.

    `overlay`: into the upper directory of an overlay, empty before: a whiteout becomes a device 0/0, an opaque directory
    gets the extended attribute `<overlay>overlay.opaque`. "": onto a plain tree, where they remove.

    `below`: the layers under the upper directory. Links in parents are resolved there too, parents and the root come with
    their metadata, and what removes nothing is left out; without it nothing is known of what is below, and a layer that
    empties the root is not taken.

    `devices`: make them, or put empty files with `overlay.DEVICE_XATTR` in their place (a user namespace makes none).
    `owners`: give every file its owner; else all belong to the user who applies.
    """

    overlay: Literal["", "user.", "trusted."] = ""
    below: LowerTree | None = None
    devices: Literal["make", "placeholder"] = "make"
    owners: bool = True


class AppliedLayer(Struct, frozen=True):
    """What was applied. `dropped_xattrs`: extended attributes that the file system or the kernel does not take here."""

    diff_id: str
    tar_bytes: int
    entries: int
    dropped_xattrs: tuple[str, ...]


def apply_layer(
    layer: Readable,
    root: int,
    form: Form = Form(),
    *,
    diff_id: str = "",
    limits: Limits = NO_LIMITS,
    on_member: Callable[[Member], None] | None = None,
    place: bytes = b"",
) -> AppliedLayer:
    """Apply a layer (a tar, plain or compressed by gzip or zstd) to the open directory `root`.

    The stream is read to its end, and its diff id compared with the one expected. `on_member` is told of each entry as it
    stands in the tar; `place` is that of `Nursery`. `BadLayer` names the entry and its fault;
    `OSError` (a full disk) is passed on. Both leave a part of the layer behind: apply to a place that can be thrown away.
    """
    reader = LayerReader(layer, limits)
    with OpenDirectory(root) as at, closing(Nursery(place)) as nursery:
        applying = _Applying(reader, at, form, nursery)
        for member in reader.members():
            if on_member is not None:
                on_member(member)
            try:
                applying.lay(member)
            except OSError as error:
                raise_for(member.path, error)
        found = reader.finish()
        if diff_id and found != diff_id:
            raise BadLayer(f"the layer is not the one that was asked for: its diff id is {found}, not {diff_id}")
        applying.settle()
    return AppliedLayer(found, reader.size_bytes, reader.entries, applying.dropped_xattrs)


class _Applying:
    def __init__(self, reader: LayerReader, at: OpenDirectory, form: Form, nursery: Nursery) -> None:
        self._reader = reader
        self._at = at
        self._form = form
        self._nursery = nursery
        self._parents = Parents(at, form.overlay, form.below)
        self._settings = Settings(owners=form.owners)
        self._parent_written: bytes | None = None  # of the last entry; None: `at` is somewhere else
        self._laid: set[bytes] = set()
        self._merged: set[bytes] = set()  # directories that were there, and are in the layer

    @property
    def dropped_xattrs(self) -> tuple[str, ...]:
        return tuple(sorted(self._settings.dropped))

    # -- one entry

    def lay(self, member: Member) -> None:
        parent, _, name = member.path.rpartition(b"/")
        plain = name not in (b"", b".", b"..")
        if not plain or parent != self._parent_written:
            components = split_path(member.path)
            if not components:
                self._lay_root(member)
                return
            name = components.pop()
            if any(component.startswith(WHITEOUT) for component in components):
                if any(component.startswith(_AUFS) and component != OPAQUE for component in components):
                    return
                raise BadLayer(f"{show(member.path)} stands in a directory whose name marks a removal")
            if name.startswith(_AUFS) and name != OPAQUE:
                return
            self._parent_written = None
            if not self._parents.stand(components, member.path, marks=name.startswith(WHITEOUT)):
                return
            # Where a link was followed, the next entry may replace it: it is followed anew.
            self._parent_written = parent if plain and components == self._at.names else None
        elif len(member.path) > MOST_PATH_BYTES:
            raise too_long(member.path)
        if name.startswith(WHITEOUT):
            self._mark(name, member.path)
            return
        kind = member.kind
        if kind == "file":
            self._lay_file(name, member)
        elif kind == "directory":
            self._lay_directory(name, member)
        elif kind == "hardlink":
            self._lay_hardlink(name, member)
        elif kind == "symlink":
            if not member.link or len(member.link) > MOST_PATH_BYTES:
                raise BadLayer(f"{show(member.path)} is a link to {'nothing' if not member.link else 'a name too long'}")
            self._make(name, member, lambda: os.symlink(member.link, name, dir_fd=self._at.fd))
        elif kind == "fifo":
            self._make(name, member, lambda: os.mkfifo(name, 0o600, dir_fd=self._at.fd))
        else:
            self._lay_device(name, member)
        at = self._at.path
        self._laid.add(at + b"/" + name if at else name)

    def _lay_root(self, member: Member) -> None:
        if member.kind != "directory":
            raise BadLayer(f"{show(member.path)} is the root itself, which cannot be a {member.kind}")
        self._parents.directories[b""] = metadata_of(member)

    def _lay_file(self, name: bytes, member: Member, device: bytes = b"") -> None:
        try:
            fd = self._nursery.make_file(name, self._at.fd)
        except FileExistsError:
            self._remove(name)
            fd = self._nursery.make_file(name, self._at.fd)
        try:
            if member.extents is not None:
                self._write_extents(fd, member)
            elif member.size <= _WHOLE_BYTES:
                if member.size:
                    data = self._reader.whole(member.size)
                    if (written := os.write(fd, data)) != len(data):
                        _write(fd, memoryview(data)[written:])
            else:
                for piece in self._reader.content():
                    _write(fd, piece)
            self._settings.set_open(fd, member.path, member, device)
        finally:
            os.close(fd)

    def _write_extents(self, fd: int, member: Member) -> None:
        pieces = self._reader.content()
        piece = b""
        assert member.extents is not None
        for offset, length in member.extents:
            if not length:
                continue
            os.lseek(fd, offset, os.SEEK_SET)
            while length:
                piece = piece or next(pieces)
                _write(fd, piece[:length])
                piece, length = piece[length:], max(0, length - len(piece))
        os.ftruncate(fd, member.size)

    def _lay_directory(self, name: bytes, member: Member) -> None:
        path = self._parents.path(name)
        try:
            self._nursery.make_directory(name, self._at.fd)
        except FileExistsError:
            found = os.stat(name, dir_fd=self._at.fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                # What this layer had here before, or its whiteout, has replaced all that is below.
                self._remove(name)
                self._nursery.make_directory(name, self._at.fd)
                self._parents.hide_below(name)
            else:
                self._merged.add(path)
        self._parents.directories[path] = metadata_of(member)

    def _lay_hardlink(self, name: bytes, member: Member) -> None:
        target = split_path(member.link)
        if not target:
            raise BadLayer(f"{show(member.path)} is a hard link to the root")
        where = self._at.path
        self._parent_written = None
        target_name = target.pop()
        if not self._parents.stand(target, member.link, marks=True):
            raise _no_target(member)
        if (self._at.path, target_name) == (where, name):
            raise BadLayer(f"{show(member.path)} is a hard link to itself")
        self._bring_up(target_name, member)
        source = os.dup(self._at.fd)
        try:
            self._at.go(where)
            try:
                self._link(source, target_name, name)
            except FileExistsError:
                self._remove(name)
                self._link(source, target_name, name)
        except FileNotFoundError as error:
            raise _no_target(member) from error
        finally:
            os.close(source)

    def _link(self, source: int, target: bytes, name: bytes) -> None:
        # A link is not followed: the new name is then another name of the link.
        os.link(target, name, src_dir_fd=source, dst_dir_fd=self._at.fd, follow_symlinks=False)

    def _bring_up(self, name: bytes, member: Member) -> None:
        """The target of a hard link: it is here, or it is copied from below as overlayfs does."""
        try:
            found = os.stat(name, dir_fd=self._at.fd, follow_symlinks=False)
        except FileNotFoundError:
            path = self._parents.path(name)
            lower = self._parents.find_below(path)
            if lower is None:
                raise _no_target(member) from None
            if lower.kind == "file":
                assert self._parents.below is not None
                self._copy_up(name, path, lower, self._parents.below)
                return
            if lower.kind == "symlink":
                self._make(name, lower, lambda: os.symlink(lower.link, name, dir_fd=self._at.fd))
                return
            what = f"a {lower.kind} of a layer below"
            raise BadLayer(f"{show(member.path)} is a hard link to {show(member.link)}, {what}") from None
        if stat.S_ISDIR(found.st_mode):
            raise BadLayer(f"{show(member.path)} is a hard link to the directory {show(member.link)}")
        if self._form.overlay and is_whiteout(found):
            raise _no_target(member)

    def _copy_up(self, name: bytes, path: bytes, lower: Member, below: LowerTree) -> None:
        fd = self._nursery.make_file(name, self._at.fd)
        try:
            with below.open(path) as content:
                while piece := content.read(_WHOLE_BYTES):
                    _write(fd, piece)
            self._settings.set_open(fd, path, lower)
        finally:
            os.close(fd)

    def _lay_device(self, name: bytes, member: Member) -> None:
        major, minor = member.device
        if (major, minor) == (0, 0) and member.kind == "character":
            raise BadLayer(f"{show(member.path)} is the character device 0/0, by which overlayfs marks what is removed")
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise BadLayer(f"{show(member.path)} is a device of impossible numbers, {major}/{minor}")
        if self._form.devices == "placeholder":
            letter = b"c" if member.kind == "character" else b"b"
            self._lay_file(name, member, b"%b %d %d" % (letter, major, minor))
            return
        kind = stat.S_IFCHR if member.kind == "character" else stat.S_IFBLK
        self._make(name, member, lambda: os.mknod(name, kind | 0o600, os.makedev(major, minor), dir_fd=self._at.fd))

    def _make(self, name: bytes, member: Member, make: Callable[[], None]) -> None:
        """A thing that is not opened: a link, a device, a pipe."""
        try:
            make()
        except FileExistsError:
            self._remove(name)
            make()
        self._settings.set_named(self._at.fd, name, member)

    # -- removal

    def _mark(self, name: bytes, path: bytes) -> None:
        if name == OPAQUE:
            self._mark_opaque()
            return
        if name.startswith(_AUFS):
            return
        victim = name[len(WHITEOUT) :]
        if victim in (b"", b".", b".."):
            raise BadLayer(f"{show(path)} would remove no file but a directory's own entry")
        self._take_away(victim)

    def _mark_opaque(self) -> None:
        at, below = self._at, self._parents.below
        if self._form.overlay and below is None and not at.path:
            raise BadLayer("it empties the root, which an upper directory cannot do without the layers below")
        with os.scandir(at.fd) as items:
            names = {os.fsencode(item.name) for item in items}
        for name in names.union(below.names(b"") if below is not None and not at.path else ()):
            self._take_away(name, hide=not at.path)
        self._parents.hide_below()

    def _take_away(self, name: bytes, *, hide: bool = True) -> None:
        """Remove what is below at a name; what this layer has laid there stays, wherever its mark stands."""
        self._parent_written = None
        place = self._parents.path(name)
        info = _stat(name, self._at.fd)
        if info is not None and self._form.overlay and is_whiteout(info):
            return
        if info is not None:
            remove_tree(self._at.fd, name, lambda inner: self._parents.path(inner) in self._laid)
            info = _stat(name, self._at.fd)
        if not self._form.overlay or not hide:
            return
        if info is None:
            if self._parents.below is None or self._parents.find_below(place) is not None:
                os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self._at.fd)
        elif stat.S_ISDIR(info.st_mode):
            self._parents.hide_below(name)

    def _remove(self, name: bytes) -> None:
        self._parent_written = None
        remove_tree(self._at.fd, name)

    # -- metadata

    def settle(self) -> None:
        """Owners, modes and times of directories, when nothing is put into them any more; the deepest first."""
        directories, touched, below = self._parents.directories, self._parents.touched, self._parents.below
        if b"" not in directories and below is not None and (root := below.find(b"")):
            # The root of an upper directory is that of the merged tree, though no layer below has been asked for it.
            directories[b""] = metadata_of(root)
        for path in sorted(directories.keys() | touched.keys(), key=lambda path: path.split(b"/"), reverse=True):
            try:
                self._at.go(path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # replaced by a later entry
            metadata = directories.get(path)
            if metadata is None:
                os.utime(self._at.fd, ns=(touched[path], touched[path]))
                continue
            if path in self._merged:
                drop_xattrs(self._at.fd, metadata.xattrs)
            try:
                self._settings.set_open(self._at.fd, path, metadata)
            except OSError as error:
                raise_for(path, error)


def _write(fd: int, data: bytes | memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _stat(name: bytes, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _no_target(member: Member) -> BadLayer:
    return BadLayer(f"{show(member.path)} is a hard link to {show(member.link)}, which is not there")
