"""Applying layers: the one way by which files of a layer get into a directory.

A layer is written by anybody. Nothing of it leads out of the root: each parent is opened name by name in an open directory,
without following links; a link in a parent is resolved by us, inside the root, where `/` and `..` end at the root. The last
name of a path is never followed. What a path replaces is removed first, what is there twice is as the later entry says
(as containerd and Docker do it), and whiteouts remove what the layers below have, wherever they stand in the layer.

Two forms of the result: a plain tree, and the upper directory of an overlay.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Literal, NamedTuple, NoReturn, Protocol

from stapel.oci.archive import NO_LIMITS, LayerReader, Limits, Member
from stapel.oci.compress import Readable
from stapel.oci.directories import OpenDirectory, remove_tree
from stapel.oci.errors import BadLayer
from stapel.oci.layer import OPAQUE, OVERLAY_XATTRS, WHITEOUT
from stapel.oci.overlay import DEVICE_XATTR, is_whiteout

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_PATH_BYTES = 4095
_MOST_LINKS = 40
_WHOLE_BYTES = 1 << 18
_AUFS = b".wh..wh."  # what aufs kept for itself: nothing of an image
_LAYERS_FAULT = frozenset(
    {
        *(errno.ENAMETOOLONG, errno.EFBIG, errno.EMLINK, errno.ENOTDIR, errno.ELOOP, errno.EINVAL, errno.EOVERFLOW),
        *(errno.ERANGE, errno.E2BIG),  # extended attributes
    }
)
_NOT_HERE = frozenset({errno.ENOTSUP, errno.EPERM})


class LowerTree(Protocol):
    """The merged tree of the layers below an upper directory (`overlay.OverlayLayers`). No link in a parent is followed."""

    def find(self, path: bytes) -> Member | None:
        """What stands at a path, itself not followed; None: nothing."""

    def names(self, path: bytes) -> Iterable[bytes]:
        """The names in a directory."""

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file."""


@dataclass(frozen=True, slots=True)
class Form:
    """How a layer is applied.

    `overlay`: into the upper directory of an overlay, empty before: a whiteout becomes a device 0/0, an opaque directory
    gets the extended attribute `<overlay>overlay.opaque`. "": onto a plain tree, where they remove.

    `below`: the layers under the upper directory. Links in parents are resolved there too, parents and the root come with
    their metadata, and what removes nothing is left out; without it nothing is known of what is below.

    `devices`: make them, or put empty files with `DEVICE_XATTR` in their place (a user namespace makes none). `owners`: give
    every file its owner; else all belong to the user who applies.
    """

    overlay: Literal["", "user.", "trusted."] = ""
    below: LowerTree | None = None
    devices: Literal["make", "placeholder"] = "make"
    owners: bool = True


@dataclass(frozen=True, slots=True)
class AppliedLayer:
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
) -> AppliedLayer:
    """Apply a layer (a tar, plain or compressed by gzip or zstd) to the open directory `root`.

    The stream is read to its end, and its diff id compared with the one expected. `BadLayer` names the entry and its fault;
    `OSError` (a full disk) is passed on. Both leave a part of the layer behind: apply to a place that can be thrown away.
    """
    reader = LayerReader(layer, limits)
    with OpenDirectory(root) as at:
        applying = _Applying(reader, root, at, form)
        for member in reader.members():
            try:
                applying.lay(member)
            except OSError as error:
                _raise_for(member.path, error)
        found = reader.finish()
        if diff_id and found != diff_id:
            raise BadLayer(f"the layer is not the one that was asked for: its diff id is {found}, not {diff_id}")
        applying.settle()
    return AppliedLayer(found, reader.size_bytes, reader.entries, tuple(sorted(applying.dropped_xattrs)))


class _Metadata(NamedTuple):
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: Mapping[str, bytes]


_MADE = _Metadata(0o755, 0, 0, 0, {})


class _Applying:
    def __init__(self, reader: LayerReader, root: int, at: OpenDirectory, form: Form) -> None:
        self._reader = reader
        self._root = root
        self._at = at
        self._form = form
        self._below = form.below if form.overlay else None
        self._opaque_xattr = f"{form.overlay}overlay.opaque"
        self._parent_written: bytes | None = None  # of the last entry; None: `at` is somewhere else
        self._laid: set[bytes] = set()
        self._directories: dict[bytes, _Metadata] = {}
        self._touched: dict[bytes, int] = {}  # directories of a plain tree that were there, and their times
        self._merged: set[bytes] = set()  # directories that were there, and are in the layer
        self._hidden: set[bytes] = set()  # directories where nothing of below is left
        self.dropped_xattrs: set[str] = set()

    # -- one entry

    def lay(self, member: Member) -> None:
        parent, _, name = member.path.rpartition(b"/")
        plain = name not in (b"", b".", b"..")
        if not plain or parent != self._parent_written:
            components = _split(member.path)
            if not components:
                self._lay_root(member)
                return
            name = components.pop()
            if any(component.startswith(WHITEOUT) for component in components):
                if any(component.startswith(_AUFS) and component != OPAQUE for component in components):
                    return
                raise BadLayer(f"{_show(member.path)} stands in a directory whose name marks a removal")
            if name.startswith(_AUFS) and name != OPAQUE:
                return
            if not self._stand(components, member.path, marks=name.startswith(WHITEOUT)):
                return
            # Where a link was followed, the next entry may replace it: it is followed anew.
            self._parent_written = parent if plain and components == self._at.names else None
        elif len(member.path) > _MOST_PATH_BYTES:
            raise _too_long(member.path)
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
            if not member.link or len(member.link) > _MOST_PATH_BYTES:
                raise BadLayer(f"{_show(member.path)} is a link to {'nothing' if not member.link else 'a name too long'}")
            self._make(name, member, lambda: os.symlink(member.link, name, dir_fd=self._at.fd))
        elif kind == "fifo":
            self._make(name, member, lambda: os.mkfifo(name, 0o600, dir_fd=self._at.fd))
        else:
            self._lay_device(name, member)
        at = self._at.path
        self._laid.add(at + b"/" + name if at else name)

    def _lay_root(self, member: Member) -> None:
        if member.kind != "directory":
            raise BadLayer(f"{_show(member.path)} is the root itself, which cannot be a {member.kind}")
        self._directories[b""] = _Metadata(member.mode, member.uid, member.gid, member.mtime_ns, member.xattrs)

    def _lay_file(self, name: bytes, member: Member, device: bytes = b"") -> None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=self._at.fd)
        except FileExistsError:
            self._remove(name)
            fd = os.open(name, _CREATE, 0o600, dir_fd=self._at.fd)
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
            if self._form.owners:
                try:
                    os.fchown(fd, member.uid, member.gid)
                except OSError as error:
                    _raise_for_owner(member.path, member.uid, member.gid, error)
            os.fchmod(fd, member.mode)
            if member.xattrs:
                self._set_xattrs(fd, member.xattrs)
            if device:
                os.setxattr(fd, DEVICE_XATTR, device)
            os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
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
        path = self._path(name)
        try:
            os.mkdir(name, 0o700, dir_fd=self._at.fd)
        except FileExistsError:
            found = os.stat(name, dir_fd=self._at.fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                # What this layer had here before, or its whiteout, has replaced all that is below.
                self._remove(name)
                os.mkdir(name, 0o700, dir_fd=self._at.fd)
                self._hide_below(name, path)
            else:
                self._merged.add(path)
        self._directories[path] = _Metadata(member.mode, member.uid, member.gid, member.mtime_ns, member.xattrs)

    def _lay_hardlink(self, name: bytes, member: Member) -> None:
        target = _split(member.link)
        if not target:
            raise BadLayer(f"{_show(member.path)} is a hard link to the root")
        where = self._at.path
        self._parent_written = None
        target_name = target.pop()
        if not self._stand(target, member.link, marks=True):
            raise _no_target(member)
        if (self._at.path, target_name) == (where, name):
            raise BadLayer(f"{_show(member.path)} is a hard link to itself")
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
            path = self._path(name)
            lower = self._find_below(path)
            if lower is None:
                raise _no_target(member) from None
            if lower.kind == "file":
                assert self._below is not None
                self._copy_up(name, path, lower, self._below)
                return
            if lower.kind == "symlink":
                self._make(name, lower, lambda: os.symlink(lower.link, name, dir_fd=self._at.fd))
                return
            what = f"a {lower.kind} of a layer below"
            raise BadLayer(f"{_show(member.path)} is a hard link to {_show(member.link)}, {what}") from None
        if stat.S_ISDIR(found.st_mode):
            raise BadLayer(f"{_show(member.path)} is a hard link to the directory {_show(member.link)}")
        if self._form.overlay and is_whiteout(found):
            raise _no_target(member)

    def _copy_up(self, name: bytes, path: bytes, lower: Member, below: LowerTree) -> None:
        fd = os.open(name, _CREATE, 0o600, dir_fd=self._at.fd)
        try:
            with below.open(path) as content:
                while piece := content.read(_WHOLE_BYTES):
                    _write(fd, piece)
            self._set_all(fd, path, _Metadata(lower.mode, lower.uid, lower.gid, lower.mtime_ns, lower.xattrs))
        finally:
            os.close(fd)

    def _lay_device(self, name: bytes, member: Member) -> None:
        major, minor = member.device
        if (major, minor) == (0, 0) and member.kind == "character":
            raise BadLayer(f"{_show(member.path)} is the character device 0/0, by which overlayfs marks what is removed")
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
            raise BadLayer(f"{_show(member.path)} is a device of impossible numbers, {major}/{minor}")
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
        fd = self._at.fd
        if self._form.owners:
            try:
                os.chown(name, member.uid, member.gid, dir_fd=fd, follow_symlinks=False)
            except OSError as error:
                _raise_for_owner(member.path, member.uid, member.gid, error)
        if member.kind != "symlink":
            os.chmod(name, member.mode, dir_fd=fd)  # just made by us: no link
        if member.xattrs:
            self._set_xattrs(b"/proc/self/fd/%d/%b" % (fd, name), member.xattrs)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=fd, follow_symlinks=False)

    # -- removal

    def _mark(self, name: bytes, path: bytes) -> None:
        if name == OPAQUE:
            self._mark_opaque()
            return
        if name.startswith(_AUFS):
            return
        victim = name[len(WHITEOUT) :]
        if victim in (b"", b".", b".."):
            raise BadLayer(f"{_show(path)} would remove no file but a directory's own entry")
        self._take_away(victim)

    def _mark_opaque(self) -> None:
        at = self._at
        with os.scandir(at.fd) as items:
            names = {os.fsencode(item.name) for item in items}
        below = self._below.names(b"") if self._below is not None and not at.path else ()
        for name in names.union(below):
            # Overlayfs looks for no mark at its root: there each name is hidden by itself.
            self._take_away(name, hide=not at.path)
        if self._form.overlay and at.path:
            os.setxattr(at.fd, self._opaque_xattr, b"y")
        self._hidden.add(at.path)

    def _take_away(self, name: bytes, *, hide: bool = True) -> None:
        """Remove what is below at a name; what this layer has laid there stays, wherever its mark stands."""
        self._parent_written = None
        place = self._path(name)
        info = _stat(name, self._at.fd)
        if info is not None and self._form.overlay and is_whiteout(info):
            return
        if info is not None:
            remove_tree(self._at.fd, name, lambda inner: self._path(inner) in self._laid)
            info = _stat(name, self._at.fd)
        if not self._form.overlay or not hide:
            return
        if info is None:
            if self._below is None or self._find_below(place) is not None:
                os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self._at.fd)
        elif stat.S_ISDIR(info.st_mode):
            self._hide_below(name, place)

    def _hide_below(self, name: bytes, path: bytes) -> None:
        if self._form.overlay:
            with OpenDirectory(self._at.fd) as inner:
                inner.enter(name)
                os.setxattr(inner.fd, self._opaque_xattr, b"y")
            self._hidden.add(path)

    def _remove(self, name: bytes) -> None:
        self._parent_written = None
        remove_tree(self._at.fd, name)

    # -- parents

    def _stand(self, components: Sequence[bytes], path: bytes, *, marks: bool) -> bool:
        """Stand in the directory that parents lead to; missing ones are made.

        For `marks` (and targets of hard links) they are not, where nothing is below either: False then.
        """
        at = self._at
        self._parent_written = None
        shared = 0
        for one, other in zip(components, at.names, strict=False):
            if one != other:
                break
            shared += 1
        if shared < len(at.names):
            at.leave_to(shared)
        waiting = list(reversed(components[shared:]))
        links = 0
        while waiting:
            name = waiting.pop()
            if name == b"..":
                at.leave_to(max(0, len(at.names) - 1))
                continue
            try:
                at.enter(name)
            except FileNotFoundError:
                target = self._make_parent(name, path, marks=marks)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                target = self._link_or_whiteout(name, path, marks=marks)
            else:
                continue
            if target is None:
                return False
            if target == b"":
                at.enter(name)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise BadLayer(f"{_show(path)} leads through more than {_MOST_LINKS} links")
            if target.startswith(b"/"):
                at.leave_to(0)
            waiting += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
        if not self._form.overlay and at.path not in self._touched and at.path not in self._directories:
            self._touched[at.path] = os.fstat(at.fd).st_mtime_ns
        return True

    def _make_parent(self, name: bytes, path: bytes, *, marks: bool) -> bytes | None:
        """Make a parent that is not here: b"". The target of what is a link below; None: nothing to make it for."""
        place = self._path(name)
        lower = self._find_below(place)
        if lower is None:
            if marks and not (self._form.overlay and self._below is None):
                return None
            metadata = _MADE
        elif lower.kind == "symlink":
            return lower.link
        elif lower.kind == "directory":
            metadata = _Metadata(lower.mode, lower.uid, lower.gid, lower.mtime_ns, lower.xattrs)
        elif marks:
            return None
        else:
            raise BadLayer(f"{_show(path)} leads through {_show(place)}, which is a {lower.kind}")
        if not self._form.overlay and self._at.path not in self._touched and self._at.path not in self._directories:
            self._touched[self._at.path] = os.fstat(self._at.fd).st_mtime_ns
        os.mkdir(name, 0o700, dir_fd=self._at.fd)
        self._directories[place] = metadata
        return b""

    def _link_or_whiteout(self, name: bytes, path: bytes, *, marks: bool) -> bytes | None:
        """The target of a link in the way; b"" where a whiteout was, and is an opaque directory now.

        None for `marks`, where nothing can be below.
        """
        try:
            return os.readlink(name, dir_fd=self._at.fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        if marks:
            return None
        found = os.stat(name, dir_fd=self._at.fd, follow_symlinks=False)
        if not self._form.overlay or not is_whiteout(found):
            raise BadLayer(f"{_show(path)} leads through {_show(self._path(name))}, which is no directory")
        place = self._path(name)
        os.unlink(name, dir_fd=self._at.fd)
        os.mkdir(name, 0o700, dir_fd=self._at.fd)
        self._hide_below(name, place)
        self._directories[place] = _MADE
        return b""

    def _find_below(self, path: bytes) -> Member | None:
        if self._below is None:
            return None
        if self._hidden:
            parent = path
            while parent:
                parent = parent.rpartition(b"/")[0]
                if parent in self._hidden:
                    return None
        return self._below.find(path)

    def _path(self, name: bytes) -> bytes:
        at = self._at.path
        return at + b"/" + name if at else name

    # -- metadata

    def settle(self) -> None:
        """Owners, modes and times of directories, when nothing is put into them any more; the deepest first."""
        if b"" not in self._directories and self._below is not None and (root := self._below.find(b"")):
            # The root of an upper directory is that of the merged tree, though no layer below has been asked for it.
            self._directories[b""] = _Metadata(root.mode, root.uid, root.gid, root.mtime_ns, root.xattrs)
        order = sorted(self._directories.keys() | self._touched.keys(), key=lambda path: path.split(b"/"), reverse=True)
        for path in order:
            try:
                self._at.go(path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # replaced by a later entry
            metadata = self._directories.get(path)
            if metadata is not None:
                if path in self._merged:
                    self._drop_xattrs(self._at.fd, metadata.xattrs)
                try:
                    self._set_all(self._at.fd, path, metadata)
                except OSError as error:
                    _raise_for(path, error)
            else:
                mtime_ns = self._touched[path]
                os.utime(self._at.fd, ns=(mtime_ns, mtime_ns))

    def _set_all(self, fd: int, path: bytes, metadata: _Metadata) -> None:
        if self._form.owners:
            try:
                os.fchown(fd, metadata.uid, metadata.gid)
            except OSError as error:
                _raise_for_owner(path, metadata.uid, metadata.gid, error)
        os.fchmod(fd, metadata.mode)
        if metadata.xattrs:
            self._set_xattrs(fd, metadata.xattrs)
        os.utime(fd, ns=(metadata.mtime_ns, metadata.mtime_ns))

    def _drop_xattrs(self, fd: int, kept: Mapping[str, bytes]) -> None:
        """What a directory had before: the layer says all about it."""
        for key in os.listxattr(fd):
            if key.startswith("user.") and key not in kept and not key.startswith(OVERLAY_XATTRS):
                os.removexattr(fd, key)

    def _set_xattrs(self, target: int | bytes, xattrs: Mapping[str, bytes]) -> None:
        for key, value in xattrs.items():
            if key.startswith(OVERLAY_XATTRS) or key == DEVICE_XATTR:
                continue
            try:
                if isinstance(target, int):
                    os.setxattr(target, key, value)
                else:
                    os.setxattr(target, key, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                self.dropped_xattrs.add(key)


def _split(path: bytes) -> list[bytes]:
    if len(path) > _MOST_PATH_BYTES:
        raise _too_long(path)
    components = [component for component in path.split(b"/") if component not in (b"", b".")]
    if b".." in components:
        raise BadLayer(f"{_show(path)} leads upwards: `..` has no place in a layer")
    return components


def _write(fd: int, data: bytes | memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _stat(name: bytes, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _no_target(member: Member) -> BadLayer:
    return BadLayer(f"{_show(member.path)} is a hard link to {_show(member.link)}, which is not there")


def _too_long(path: bytes) -> BadLayer:
    return BadLayer(f"a path of {len(path)} bytes is longer than Linux takes: {_show(path[:60])}...")


def _raise_for(path: bytes, error: OSError) -> NoReturn:
    if error.errno in _LAYERS_FAULT:
        raise BadLayer(f"{_show(path)} cannot be made: {error.strerror}") from error
    raise error


def _raise_for_owner(path: bytes, uid: int, gid: int, error: OSError) -> NoReturn:
    if error.errno != errno.EINVAL:
        raise error
    raise BadLayer(
        f"{_show(path)} belongs to {uid}:{gid}, which there is not in this user namespace",
        hint="give the user a larger range of ids in /etc/subuid and /etc/subgid",
    ) from error


def _show(path: bytes) -> str:
    return "/" + path.decode("utf-8", "backslashreplace").lstrip("/")
