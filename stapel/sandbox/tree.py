"""The merged files of an image, asked of a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO, cast

from msgspec.structs import replace

from stapel.api import File
from stapel.errors import NotFound
from stapel.places import join, show
from stapel.sandbox.cell import Cell


class SandboxTree:
    """A tree that `cell` has open. Used by one thread at a time."""

    def __init__(self, cell: Cell) -> None:
        self._cell = cell

    def stat(self, path: bytes) -> File | None:
        """What stands at a path."""
        row = self._cell.ask("stat", path=path)
        return None if row is None else _file(row)

    def walk(self, path: bytes) -> Iterator[File]:
        """All at a path and below it."""
        walk, (rows, more) = self._cell.ask("walk", path=path)
        while True:
            for row in rows:
                file = _file(row)
                if file.kind == "file":
                    yield replace(file, open=partial(self.open, join(path, file.path) if file.path else path))
                else:
                    yield file
            if not more:
                return
            rows, more = self._cell.ask("more", walk=walk)

    def open(self, path: bytes) -> BinaryIO:
        """The content of a file."""
        found, files = self._cell.ask_for_files("open", path=path)
        if not found:
            raise NotFound(f"there is no file {show(path)}")
        return cast(BinaryIO, os.fdopen(files[0], "rb"))


def _file(row: tuple[Any, ...]) -> File:
    path, kind, mode, size, uid, gid, link, mtime_s, major, minor, xattrs = row
    return File(
        path, kind, mode, size=size, uid=uid, gid=gid, link=link, mtime_s=mtime_s, device=(major, minor), xattrs=xattrs
    )
