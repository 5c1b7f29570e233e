"""Contents of many blobs: one process of git for all of a store, which reads while they are used."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import BinaryIO, cast

from msgspec import Struct

from conveyor.gitrepo.api import Blob
from conveyor.gitrepo.objects import Objects
from conveyor.gitrepo.processes import in_memory

_FEW = 32  # blobs that are read one at a time: a process of their own would cost more


class _Line(Struct):
    """The blobs of one store in their order: what of them comes next, and the one that was read last."""

    contents: Iterator[bytes]
    numbers: Sequence[int]
    next: int = 0
    last: bytes = b""


class ReadAhead:
    """See `conveyor.gitrepo.api.Contents`. `store` gives an object store by its name."""

    def __init__(self, blobs: Sequence[Blob], store: Callable[[str], Objects]) -> None:
        self._blobs = blobs
        self._store = store
        self._lines: dict[str, _Line] | None = None if len(blobs) > _FEW else {}

    def open(self, number: int) -> BinaryIO:
        """See `Contents`."""
        blob = self._blobs[number]
        if self._lines is None:
            self._lines = self._begin()
        line = self._lines.get(blob.store)
        # A blob is empty, or too large to be held in memory: who opens it finds out.
        content = _take(line, number) if line is not None else b""
        return in_memory(content) if content else self._store(blob.store).open(blob.oid)

    def close(self) -> None:
        """See `Contents`."""
        for line in (self._lines or {}).values():
            cast("Generator[bytes, None, None]", line.contents).close()
        self._lines = {}

    def _begin(self) -> dict[str, _Line]:
        numbers: dict[str, list[int]] = {}
        for number, blob in enumerate(self._blobs):
            numbers.setdefault(blob.store, []).append(number)
        return {
            name: _Line(self._store(name).read_ahead([self._blobs[number].oid for number in own]), own)
            for name, own in numbers.items()
        }


def _take(line: _Line, number: int) -> bytes:
    """Read up to a blob; b"" for one that was passed already."""
    if line.next and line.numbers[line.next - 1] == number:
        return line.last
    while line.next < len(line.numbers) and line.numbers[line.next] <= number:
        line.last = next(line.contents)
        line.next += 1
        if line.numbers[line.next - 1] == number:
            return line.last
    return b""
