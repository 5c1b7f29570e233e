"""The merged files of an image, read from a container that is created and never started.

Into every container the engine puts places to mount over, whatever the image has there: they are not the image's and are
not seen here, and neither are the times of the directories that it puts them into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import BinaryIO, cast

from msgspec.structs import replace

from stapel.api import File
from stapel.docker.archives import Archives, Content, describe
from stapel.docker.client import Clients
from stapel.errors import BadLay, NotFound
from stapel.places import Places, parent_of, show

_MARK = b".dockerenv"
MOUNTED_OVER = frozenset({b"etc/hostname", b"etc/hosts", b"etc/resolv.conf"})
_OWN_FILES = MOUNTED_OVER | {_MARK, b"dev/console"}
_OWN_LINKS = {b"etc/mtab": b"/proc/mounts"}
_OWN_DIRECTORIES = frozenset({b"dev", b"dev/pts", b"dev/shm", b"etc", b"proc", b"sys"})
_TOUCHED = frozenset({b"", b"dev", b"etc"})
_CLOCK_STEP_S = 1  # the engine makes them one after another


class DockerTree:
    """The files of an image. Used by one thread at a time; `open_container` makes a container of it."""

    def __init__(self, clients: Clients, open_container: Callable[[], str]) -> None:
        self._archives = Archives(clients, open_container)
        self._places = Places(self._archives)  # type: ignore[arg-type] # it asks for nothing but `stat`
        self._stats: dict[bytes, File | None] = {}

    def stat(self, path: bytes) -> File | None:
        """What stands at a path."""
        if path not in self._stats:
            place = self._place(path)
            self._stats[path] = self.stat(place) if place is not None and place != path else self._stat(place)
        return self._stats[path]

    def walk(self, path: bytes) -> Iterator[File]:
        """All at a path and below it in one stream; hard links are read by a question of their own."""
        top = self._place(path)
        if top is None or self._archives.stat(top) is None:
            return
        start = len(top) + 1 if top else 0
        for file in self._shown(top):
            self._stats[file.path] = replace(file, open=None)
            yield replace(file, path=file.path[start:])

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file."""
        place = self._place(path)
        if place is None or (place in _OWN_FILES and self.stat(place) is None):
            raise NotFound(f"there is no file {show(path)}")
        return self._content(place)

    def _content(self, place: bytes) -> BinaryIO:
        return cast(BinaryIO, Content(self._archives, place))

    def _place(self, path: bytes) -> bytes | None:
        """Where a path leads; None where nothing can stand, which the engine would call an error."""
        try:
            place = self._places.place(path) if path else b""
        except BadLay:
            return None  # links that lead in a circle
        return None if path and parent_of(place) in self._places.missing else place

    def _stat(self, place: bytes | None) -> File | None:
        if place is None or self._archives.stat(place) is None:
            return None
        file = self._archives.header(place)
        if file is None or not self._may_be_own(file):
            return _as_seen(file) if file is not None else None
        return next(self._shown(place), None) if file.kind == "directory" else None

    def _shown(self, top: bytes) -> Iterator[File]:
        """What the image has at a place and below it; `File.path` is the place."""
        waiting: list[File] = []  # directories of the engine's, unless something of the image follows in them
        for file in self._stream(top):
            if not self._may_be_own(file):
                yield from (_as_seen(above) for above in waiting if file.path.startswith(above.path + b"/"))
                waiting.clear()
                yield _as_seen(file)
            elif file.kind == "directory":
                waiting.append(file)

    def _stream(self, top: bytes) -> Iterator[File]:
        self._archives.stat(_MARK)  # in the middle of the stream another container would be made for it
        sizes: dict[str, int] = {}
        with closing(self._archives.members(top)) as members:
            for place, member, archive in members:
                file = describe(member, place)
                if member.islnk():
                    size = sizes.get(member.linkname, 0)
                    yield replace(file, size=size, open=partial(self._content, place))
                elif file.kind == "file":
                    sizes[member.name] = member.size
                    yield replace(file, open=cast(Callable[[], BinaryIO], partial(archive.extractfile, member)))
                else:
                    yield file

    def _may_be_own(self, file: File) -> bool:
        """Whether this is what the engine puts there: of a directory, where nothing of the image is in it."""
        if file.path not in _OWN_FILES | _OWN_LINKS.keys() | _OWN_DIRECTORIES or (file.uid, file.gid) != (0, 0):
            return False
        if file.path in _OWN_LINKS:
            return file.link == _OWN_LINKS[file.path]
        mark = self._archives.stat(_MARK)
        if mark is None or file.mode != 0o755 or file.size:
            return False
        if file.path in _OWN_FILES:
            return file.kind == "file"
        return file.kind == "directory" and abs((file.mtime_s or 0) - (mark.mtime_s or 0)) <= _CLOCK_STEP_S


def _as_seen(file: File) -> File:
    return replace(file, mtime_s=None) if file.path in _TOUCHED else file
