"""Standing in the directories that the paths of a layer lead to, inside the root, whatever the layer says."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from stapel.oci.archive import Member
from stapel.oci.directories import OpenDirectory
from stapel.oci.errors import BadLayer
from stapel.oci.metadata import MADE, Metadata, metadata_of, show
from stapel.oci.overlay import LowerTree, is_whiteout

MOST_PATH_BYTES = 4095
_MOST_LINKS = 40


class Parents:
    """The directory that entries are put into, and what is known of all that were passed.

    `overlay` is the prefix of overlayfs's attributes in an upper directory, "" on a plain tree. `directories` are those
    that the layer describes or that were made for it, with the metadata that they shall have; `touched` those of a plain
    tree that were there, with the times that they had.
    """

    def __init__(self, at: OpenDirectory, overlay: str, below: LowerTree | None) -> None:
        self.at = at
        self.overlay = overlay
        self.below = below if overlay else None
        self.directories: dict[bytes, Metadata] = {}
        self.touched: dict[bytes, int] = {}
        self._hidden: set[bytes] = set()  # directories where nothing of below is left

    def path(self, name: bytes) -> bytes:
        """The path of a name in the directory."""
        at = self.at.path
        return at + b"/" + name if at else name

    def stand(self, components: Sequence[bytes], path: bytes, *, marks: bool) -> bool:
        """Stand in the directory that `components` lead to (those of `path`, for messages); missing ones are made.

        Links are resolved inside the root. For `marks`, and for targets of hard links, nothing is made where nothing is
        below either: False then. `BadLayer` where the way leads through something else than directories.
        """
        at = self.at
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
                target = self._make(name, path, marks=marks)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                target = self._look_through(name, path, marks=marks)
            else:
                continue
            if target is None:
                return False
            if target == b"":
                at.enter(name)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise BadLayer(f"{show(path)} leads through more than {_MOST_LINKS} links")
            if target.startswith(b"/"):
                at.leave_to(0)
            waiting += [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]
        self._touch()
        return True

    def find_below(self, path: bytes) -> Member | None:
        """What the layers below have at a path, as far as this layer has not hidden it."""
        if self.below is None:
            return None
        if self._hidden:
            parent = path
            while parent:
                parent = parent.rpartition(b"/")[0]
                if parent in self._hidden:
                    return None
        return self.below.find(path)

    def hide_below(self, name: bytes = b"") -> None:
        """Hide what the layers below have in a directory of this name, or in the one that is stood in.

        Overlayfs looks for no mark at its root: there each name has to be hidden by itself.
        """
        if not self.overlay:
            return
        path = self.path(name) if name else self.at.path
        self._hidden.add(path)
        if path:
            with OpenDirectory(self.at.fd) as inner:
                if name:
                    inner.enter(name)
                os.setxattr(inner.fd, f"{self.overlay}overlay.opaque", b"y")

    def _make(self, name: bytes, path: bytes, *, marks: bool) -> bytes | None:
        """Make a parent that is not here: b"". The target of what is a link below; None: nothing to make it for."""
        place = self.path(name)
        lower = self.find_below(place)
        if lower is None:
            if marks and not (self.overlay and self.below is None):
                return None
            metadata = MADE
        elif lower.kind == "symlink":
            return lower.link
        elif lower.kind == "directory":
            metadata = metadata_of(lower)
        elif marks:
            return None
        else:
            raise BadLayer(f"{show(path)} leads through {show(place)}, which is a {lower.kind}")
        self._touch()
        os.mkdir(name, 0o700, dir_fd=self.at.fd)
        self.directories[place] = metadata
        return b""

    def _look_through(self, name: bytes, path: bytes, *, marks: bool) -> bytes | None:
        """The target of a link in the way; b"" where a whiteout was, and is an opaque directory now.

        None for `marks`, where nothing can be below.
        """
        try:
            return os.readlink(name, dir_fd=self.at.fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
        if marks:
            return None
        if not self.overlay or not is_whiteout(os.stat(name, dir_fd=self.at.fd, follow_symlinks=False)):
            raise BadLayer(f"{show(path)} leads through {show(self.path(name))}, which is no directory")
        os.unlink(name, dir_fd=self.at.fd)
        os.mkdir(name, 0o700, dir_fd=self.at.fd)
        self.hide_below(name)
        self.directories[self.path(name)] = MADE
        return b""

    def _touch(self) -> None:
        """Remember the time of a directory that was there, before something is put into it."""
        path = self.at.path
        if not self.overlay and path not in self.touched and path not in self.directories:
            self.touched[path] = os.fstat(self.at.fd).st_mtime_ns


def split_path(path: bytes) -> list[bytes]:
    """The names of a path in a layer, from the root on. `BadLayer` where it is too long or leads upwards."""
    if len(path) > MOST_PATH_BYTES:
        raise too_long(path)
    components = [component for component in path.split(b"/") if component not in (b"", b".")]
    if b".." in components:
        raise BadLayer(f"{show(path)} leads upwards: `..` has no place in a layer")
    return components


def too_long(path: bytes) -> BadLayer:
    """The error for a path that Linux does not take."""
    return BadLayer(f"a path of {len(path)} bytes is longer than Linux takes: {show(path[:60])}...")
