"""Questions to the engine for what stands at a path of a container, which never has to run.

A path comes as a tar stream, whose first header tells all about it. The engine's own stat is twenty times cheaper and knows
no owner.
"""

from __future__ import annotations

import base64
import json
import stat
import tarfile
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any, BinaryIO, cast

from stapel.api import File, Kind
from stapel.docker.client import Clients, EngineGone, engine_errors
from stapel.errors import NotFound, StapelError, Unreachable
from stapel.places import join, parent_of, show

Member = tuple[bytes, tarfile.TarInfo, tarfile.TarFile]

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
_STAT_HEADER = "X-Docker-Container-Path-Stat"
_DIRECTORY_BIT, _LINK_BIT = 1 << 31, 1 << 27  # of a mode in that header


class Archives:
    """The containers of one image, made as they are needed. Used by one thread at a time.

    The engine locks a container while it streams from it, so what is asked meanwhile is asked of another one.
    """

    def __init__(self, clients: Clients, open_container: Callable[[], str]) -> None:
        self._clients = clients
        self._open_container = open_container
        self._idle: list[str] = []
        self._stats: dict[bytes, File | None] = {}

    def stat(self, path: bytes) -> File | None:
        """What stands at a path: kind, mode, time and the target of a link are right, owner and device are not told.

        The engine follows links in parents inside the root.
        """
        if path not in self._stats:
            self._stats[path] = self._stat(path)
        return self._stats[path]

    def header(self, path: bytes) -> File | None:
        """All about what stands at a path. `NotFound`, `Unreachable`."""

        def read() -> File | None:
            with closing(self.members(path)) as members:
                return next((describe(member, place) for place, member, _ in members), None)

        return self._clients.retrying(f"reading {show(path)}", read)

    def members(self, path: bytes) -> Generator[Member]:
        """What stands at a path and all below it, with their places. Close it where it is not read to its end.

        `NotFound`, `Unreachable` (while it is read, too).
        """
        found = False
        try:
            for item in self._below(path):
                found = True
                yield item
        except (NotFound, Unreachable):
            raise
        except StapelError:
            if found or not path:
                raise
        if not found and path:
            # The engine finds no name that is not UTF-8, and no link to itself. In their directory it does.
            yield from (item for item in self._below(parent_of(path)) if item[0] == path)

    def _below(self, path: bytes) -> Generator[Member]:
        client: Any = self._clients.get()
        with self._container() as container, engine_errors(f"reading {show(path)}"):
            # The SDK's own method asks for a compressed stream where it may and cannot take any bytes as a name.
            response = client._get(
                client._url("/containers/{0}/archive", container),
                params={"path": b"/" + path},
                headers={"Accept-Encoding": "identity"},
                stream=True,
            )
            with closing(response):
                _check(client, response)
                raw = cast(BinaryIO, _Answer(response.raw))
                with tarfile.open(fileobj=raw, mode="r|", errors="surrogateescape") as archive:
                    yield from _placed(archive, path)

    def _stat(self, path: bytes) -> File | None:

        def look(client: Any, container: str) -> Any:  # noqa: ANN401 -- the SDK's
            url = client._url("/containers/{0}/archive", container)
            response = client.head(url, params={"path": b"/" + path}, timeout=None)
            _check(client, response)
            return response

        try:
            with self._container() as container:
                response = self._clients.ask(f"looking at {show(path)}", lambda client: look(client, container))
        except NotFound:
            return None
        except Unreachable:
            raise
        except StapelError:
            return self.header(path)  # a link that leads in a circle
        told = json.loads(base64.b64decode(response.headers[_STAT_HEADER]))
        mode = int(told["mode"])
        if mode & _LINK_BIT:
            return self.header(path)  # the stat tells where all links end, and not in any bytes
        kind: Kind = "directory" if mode & _DIRECTORY_BIT else "file"
        mtime_s = int(datetime.fromisoformat(told["mtime"][:19] + "+00:00").timestamp())
        return File(path, kind, mode & 0o777, int(told["size"]), mtime_s=mtime_s)

    @contextmanager
    def _container(self) -> Iterator[str]:
        container = self._idle.pop() if self._idle else self._open_container()
        try:
            yield container
        finally:
            self._idle.append(container)


class _Answer:
    """The bytes of an answer; `EngineGone` where they break off."""

    def __init__(self, raw: Any) -> None:  # noqa: ANN401 -- urllib3's response
        self._raw = raw

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""
        from urllib3.exceptions import HTTPError

        try:
            data: bytes = self._raw.read(size)
        except HTTPError as error:
            raise EngineGone("reading files", str(error)) from error
        return data


def _check(client: Any, response: Any) -> None:  # noqa: ANN401 -- the SDK's, and of requests
    client._raise_for_status(response)
    if _STAT_HEADER not in response.headers:
        raise ConnectionError("an answer ends within its head")


def _placed(archive: tarfile.TarFile, top: bytes) -> Iterator[Member]:
    """The first member stands at `top`, whatever it is called, the others below."""
    prefix = 0
    for number, member in enumerate(archive):
        name = member.name.encode("utf-8", "surrogateescape").strip(b"/")
        if number == 0:
            prefix = len(name) + 1 if top else 0
        yield (join(top, name[prefix:]) if number else top), member, archive


class Content:
    """The content of one file, a stream of its own. `NotFound` where there is no file."""

    def __init__(self, archives: Archives, path: bytes) -> None:
        self._members = archives.members(path)
        _, member, archive = next(self._members, (path, None, None))
        content = archive.extractfile(member) if archive is not None and member is not None and member.isreg() else None
        if content is None:
            self.close()
            raise NotFound(f"there is no file {show(path)}")
        self._content = content

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        return self._content.read(size)

    def close(self) -> None:
        """Leave the rest unread."""
        self._members.close()

    def __enter__(self) -> Content:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def describe(member: tarfile.TarInfo, path: bytes) -> File:
    """What a header of the engine's tar says."""
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
