"""Places to mount at, in a merged tree. They come from a directory below all layers; where an image hides that, they are
made, and taken back when the container has ended, so that nothing of them is left in the image.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from stapel.sandbox.inside.syscalls import (
    MNT_DETACH,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    UMOUNT_NOFOLLOW,
    attach_tree,
    bind,
    clone_tree,
    mount,
    open_inside,
    unmount,
)

_LINKS_FOLLOWED = 40
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_ROOM_BYTES = 1 << 24  # for what commands write to texts


class NoMountPoint(Exception):
    """The image has no place where something must be mounted, and none can be made."""


class _Made(NamedTuple):
    path: bytes
    is_directory: bool
    before: os.stat_result  # of the parent
    after_ns: int  # the parent's time once it was made


class Texts:
    """Files in memory, by the places where they are to be mounted. Nobody but their container can write to them."""

    def __init__(self, texts: Mapping[bytes, bytes], directory: bytes) -> None:
        """`directory`: any, over which they are mounted for a moment."""
        self._files: dict[bytes, int] = {}
        size = b"size=%d" % (_ROOM_BYTES + sum(map(len, texts.values())))
        mount(b"tmpfs", directory, b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=755," + size)
        place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for number, (target, text) in enumerate(texts.items()):
                name = b"%d" % number
                with open(os.open(name, _NEW_FILE, 0o644, dir_fd=place), "wb") as out:
                    out.write(text)
                self._files[target] = clone_tree(name, directory_fd=place)
        finally:
            unmount(directory, MNT_DETACH)
            os.close(place)

    def __getitem__(self, target: bytes) -> int:
        """The one of a place."""
        return self._files[target]

    def close(self) -> None:
        """Those that nobody has mounted go."""
        for file in self._files.values():
            os.close(file)


class Points:
    """The mounts of one build container over the tree at `root`."""

    def __init__(self, root: bytes) -> None:
        self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._made: list[_Made] = []

    def mount(self, source: bytes, target: bytes, *, read_only: bool) -> None:
        """Mount what stands at `source`; links in the target are followed inside the tree. `NoMountPoint`."""
        point = self._point(target, os.path.isdir(source))
        try:
            bind(source, point, read_only=read_only)
        finally:
            os.close(point)

    def mount_text(self, text: int, target: bytes) -> None:
        """Mount a file of `Texts`; likewise."""
        point = self._point(target, False)
        try:
            attach_tree(text, point, target)
        finally:
            os.close(point)

    def mount_files(self, target: bytes, files: Mapping[bytes, bytes]) -> None:
        """Mount files that are in memory alone and that only root may read; likewise."""
        point = self._point(target, True)
        try:
            here = b"/proc/self/fd/%d" % point
            mount(b"tmpfs", here, b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, b"mode=755")
        finally:
            os.close(point)
        directory = open_inside(self._root_fd, target, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name, content in files.items():
                file = os.open(name, _NEW_FILE, 0o400, dir_fd=directory)
                with open(file, "wb") as out:
                    out.write(content)
        finally:
            os.close(directory)

    def check_directory(self, name: bytes) -> None:
        """What the runner itself mounts over must stand there itself: it would follow a link, out of the tree."""
        try:
            found: os.stat_result | None = os.lstat(name, dir_fd=self._root_fd)
        except FileNotFoundError:
            found = None
        if found is None:
            self._make(name, True)
        elif not stat.S_ISDIR(found.st_mode):
            raise NoMountPoint(f"/{name.decode()} is no directory in the image, and build containers mount over it")

    def open(self, path: bytes) -> int:
        """A file of the image. `OSError`."""
        return open_inside(self._root_fd, path, os.O_RDONLY | os.O_NONBLOCK)

    def take_back(self) -> None:
        """Remove the places that were made, where nothing is in them."""
        for made in reversed(self._made):
            try:
                parent_fd, name = self._parent(made.path)
            except OSError:
                continue  # the commands have put something else there
            with suppress(OSError):
                now = os.fstat(parent_fd)
                with suppress(OSError):
                    unmount(b"/proc/self/fd/%d/%b" % (parent_fd, name), MNT_DETACH | UMOUNT_NOFOLLOW)
                if made.is_directory:
                    os.rmdir(name, dir_fd=parent_fd)
                elif not os.lstat(name, dir_fd=parent_fd).st_size:
                    os.unlink(name, dir_fd=parent_fd)
                # Where the commands have made or removed something beside it, the time is theirs.
                old = made.before if now.st_mtime_ns == made.after_ns else now
                os.utime(parent_fd, ns=(old.st_atime_ns, old.st_mtime_ns))
            os.close(parent_fd)

    def close(self) -> None:
        """Forget the tree."""
        os.close(self._root_fd)

    def _point(self, target: bytes, is_directory: bool) -> int:
        """A descriptor of a place to mount at, which is made where there is none."""
        try:
            return open_inside(self._root_fd, target, os.O_PATH)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
        return open_inside(self._root_fd, self._make(target, is_directory), os.O_PATH | os.O_NOFOLLOW)

    def _make(self, target: bytes, is_directory: bool) -> bytes:
        """Make a place at a path, and the directories above it; where it stands, without links."""
        here: list[bytes] = []
        waiting = target.split(b"/")
        followed = 0
        while waiting:
            name = waiting.pop(0)
            if name in (b"", b"."):
                continue
            if name == b"..":
                here = here[:-1]
                continue
            parent_fd, _ = self._parent(b"/".join([*here, name]))
            try:
                link = self._step(parent_fd, b"/".join([*here, name]), bool(waiting) or is_directory, bool(waiting))
            finally:
                os.close(parent_fd)
            if link is None:
                here.append(name)
                continue
            followed += 1
            if followed > _LINKS_FOLLOWED:
                raise NoMountPoint(f"too many links on the way to the mount /{os.fsdecode(target)}")
            if link.startswith(b"/"):
                here = []
            waiting = [*link.split(b"/"), *waiting]
        return b"/".join(here)

    def _step(self, parent_fd: int, path: bytes, is_directory: bool, has_more: bool) -> bytes | None:
        """What a link says; None where a directory or file stands at a path, from now on at least."""
        name = path.rpartition(b"/")[2]
        try:
            found = os.lstat(name, dir_fd=parent_fd)
        except FileNotFoundError:
            before = os.fstat(parent_fd)
            if is_directory:
                os.mkdir(name, 0o755, dir_fd=parent_fd)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent_fd))
            self._made.append(_Made(path, is_directory, before, os.fstat(parent_fd).st_mtime_ns))
            return None
        if stat.S_ISLNK(found.st_mode):
            return os.readlink(name, dir_fd=parent_fd)
        if has_more and not stat.S_ISDIR(found.st_mode):
            raise NoMountPoint(f"/{os.fsdecode(path)} is no directory in the image, and something is to be mounted below it")
        return None

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        directory, _, name = path.rpartition(b"/")
        return open_inside(self._root_fd, directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW), name
