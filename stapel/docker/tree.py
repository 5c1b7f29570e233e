"""The merged files of an image, read from a container that is created and never started.

The engine gives a path as a tar stream: the first header alone tells what stands there, with its owner, which the engine's
own stat does not. (Asking for the header and closing the connection costs about as much as the stat.)
"""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, BinaryIO, cast

from stapel.api import File, Kind
from stapel.docker.client import Clients, engine_errors
from stapel.errors import NotFound
from stapel.places import join

_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.GNUTYPE_SPARSE: "file",
    tarfile.LNKTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "symlink",
    tarfile.CHRTYPE: "character",
    tarfile.BLKTYPE: "block",
    tarfile.FIFOTYPE: "fifo",
}
_XATTR = "SCHILY.xattr."


class DockerTree:
    """The files of an image. Used by one thread at a time.

    The engine locks a container while it streams from it, so what is asked in the middle of a walk is asked of another
    container of the same image: `open_container` makes one.
    """

    def __init__(self, clients: Clients, open_container: Callable[[], str]) -> None:
        self._clients = clients
        self._open_container = open_container
        self._containers: list[str] = []
        self._streams = 0
        self._stats: dict[bytes, File | None] = {}

    def stat(self, path: bytes) -> File | None:
        """What stands at a path; the engine follows links in its parents inside the root."""
        if path not in self._stats:
            self._stats[path] = self._stat(path) if path else File(b"", "directory", 0o755)
        return self._stats[path]

    def _stat(self, path: bytes) -> File | None:
        try:
            with self._archive(path) as stream, tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as archive:
                member = archive.next()
        except NotFound:
            return None
        return _file(member, path) if member is not None else None

    def walk(self, path: bytes) -> Iterator[File]:
        """All below a path in one stream; hard links are read by a question of their own."""
        with self._archive(path) as stream, tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape") as archive:
            top = b""
            for number, member in enumerate(archive):
                name = member.name.encode("utf-8", "surrogateescape").strip(b"/")
                if number == 0:
                    top = name
                relative = name if not path or top in (b"", b".") else name[len(top) + 1 :]
                relative = b"" if relative == b"." else relative.removeprefix(b"./")
                file = _file(member, relative)
                if member.islnk():
                    place = join(path, relative)
                    known = self._stat(place)
                    yield replace(file, size=known.size if known else 0, open=lambda place=place: self.open(place))  # type: ignore[misc]
                elif file.kind == "file":
                    yield replace(file, open=lambda member=member: cast(BinaryIO, archive.extractfile(member)))  # type: ignore[misc]
                else:
                    yield file

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file."""
        return cast(BinaryIO, _Content(self, path))

    @contextmanager
    def _archive(self, path: bytes) -> Iterator[BinaryIO]:
        if len(self._containers) == self._streams:
            self._containers.append(self._open_container())
        container = self._containers[self._streams]
        self._streams += 1
        name = b"/" + path
        client = self._clients.get()
        try:
            with engine_errors(f"reading {name!r}"):
                # The SDK's own method asks for a compressed stream where it may and cannot take any bytes as a name.
                response: Any = client._get(  # type: ignore[attr-defined]
                    client._url("/containers/{0}/archive", container),  # type: ignore[attr-defined]
                    params={"path": name},
                    headers={"Accept-Encoding": "identity"},
                    stream=True,
                )
                with closing(response):
                    client._raise_for_status(response)  # type: ignore[attr-defined]
                    yield cast(BinaryIO, response.raw)
        finally:
            self._streams -= 1


class _Content:
    """The content of one file, a stream of its own."""

    def __init__(self, tree: DockerTree, path: bytes) -> None:
        self._manager = tree._archive(path)
        stream = self._manager.__enter__()
        self._archive = tarfile.open(fileobj=stream, mode="r|", errors="surrogateescape")  # noqa: SIM115 -- close does
        member = self._archive.next()
        content = self._archive.extractfile(member) if member is not None and member.isreg() else None
        if content is None:
            self.close()
            raise NotFound(f"there is no file /{path.decode('utf-8', 'backslashreplace')}")
        self._content = content

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        return self._content.read(size)

    def close(self) -> None:
        """Leave the rest unread."""
        self._archive.close()
        self._manager.__exit__(None, None, None)

    def __enter__(self) -> _Content:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _file(member: tarfile.TarInfo, path: bytes) -> File:
    xattrs = {
        key.removeprefix(_XATTR): value.encode("utf-8", "surrogateescape")
        for key, value in member.pax_headers.items()
        if key.startswith(_XATTR)
    }
    return File(
        path=path,
        kind=_KINDS.get(member.type, "file"),
        mode=stat.S_IMODE(member.mode),
        size=member.size if member.isreg() else 0,
        uid=member.uid,
        gid=member.gid,
        link=member.linkname.encode("utf-8", "surrogateescape") if member.issym() else b"",
        mtime_s=int(member.mtime),
        device=(member.devmajor, member.devminor) if member.isdev() else (0, 0),
        xattrs=xattrs,
    )
