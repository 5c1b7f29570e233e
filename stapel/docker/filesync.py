"""Files for BuildKit: it is told what there is, asks for what it has not, and is sent that (`moby.filesync.v1.FileSync`).

Packets: 0 what stands at a path (an empty one: that is all), 1 the receiver asks for a file by its number among them, 2 a
piece of it (an empty one: its end), 3 all is received, 4 an error.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence

from stapel.api import File
from stapel.docker.grpc_server import INTERNAL, Call, CallFailed
from stapel.docker.protobuf import fields_of, write_field

_PIECE_BYTES = 32 << 10
_STAT, _REQUEST, _DATA, _FINISHED, _ERROR = range(5)
# Go's bits of a file mode.
_DIRECTORY, _SYMLINK = 1 << 31, 1 << 27


def send_files(call: Call, files: Sequence[File], mtime_s: int) -> None:
    """Answer a `DiffCopy`: `files` are sorted by the components of their paths, the directories above them are made up."""
    entries = tuple(with_directories(files))
    for entry in entries:
        call.send(write_field(2, _describe(entry, mtime_s)))
    call.send(write_field(1, _STAT))
    for message in call.messages():
        kind = number = 0
        for field, value in fields_of(message):
            if isinstance(value, int) and field == 1:
                kind = value
            elif isinstance(value, int) and field == 3:
                number = value
            elif isinstance(value, bytes) and field == 4 and kind == _ERROR:
                raise CallFailed(INTERNAL, value.decode("utf-8", "replace"))
        if kind == _REQUEST:
            _send_content(call, number, entries[number])
        elif kind == _FINISHED:
            call.send(write_field(1, _FINISHED))
            return


def with_directories(files: Sequence[File]) -> Iterator[File]:
    """The files with each directory before what stands in it."""
    last: tuple[bytes, ...] = ()
    for file in files:
        above = tuple(posixpath.dirname(file.path).split(b"/")) if b"/" in file.path else ()
        common = 0
        while common < min(len(above), len(last)) and above[common] == last[common]:
            common += 1
        for depth in range(common + 1, len(above) + 1):
            yield File(b"/".join(above[:depth]), "directory", 0o755)
        last = above
        yield file


def _send_content(call: Call, number: int, file: File) -> None:
    head = write_field(1, _DATA) + write_field(3, number)
    left = file.size
    if file.open is not None and left:
        with file.open() as content:
            while left:
                piece = content.read(min(left, _PIECE_BYTES))
                if not piece:
                    raise CallFailed(INTERNAL, f"{file.path.decode('utf-8', 'replace')} is shorter than it was")
                left -= len(piece)
                call.send(head + write_field(4, piece))
    call.send(head)


def _describe(file: File, mtime_s: int) -> bytes:
    mode = file.mode | (_DIRECTORY if file.kind == "directory" else _SYMLINK if file.kind == "symlink" else 0)
    stat = [
        write_field(1, file.path),
        write_field(2, mode),
        write_field(5, file.size),
        write_field(6, mtime_s * 1_000_000_000),
        write_field(7, file.link),
    ]
    return b"".join(stat)
