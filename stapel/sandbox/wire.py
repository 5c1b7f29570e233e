"""Messages between the engine and its workers: values of the language and open files, over a stream socket.

One side asks and the other one answers; while commands run it may be told more. Both ends are the same interpreter, so
values travel as `marshal` has them: bytes stay bytes, and nothing has to be imported for it. (JSON takes three times as
long for a list of files, and cannot say a path that is no UTF-8.)
"""

from __future__ import annotations

import _socket
import marshal
import os
import struct
from collections.abc import Sequence
from typing import Any

_HEADER = struct.Struct("!I")
_FILES = 16
_PIECE = 1 << 18


class Gone(Exception):
    """The other side has ended."""


def send(socket: _socket.socket, message: Any, files: Sequence[int] = ()) -> None:  # noqa: ANN401 -- what marshal takes
    """Send a value and open files. `Gone`."""
    data = marshal.dumps(message)
    view = memoryview(_HEADER.pack(len(data)) + data)
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, struct.pack(f"{len(files)}i", *files))] if files else []
    try:
        sent = socket.sendmsg([view], rights)
        while sent < len(view):
            sent += socket.send(view[sent:])
    except OSError as error:
        raise Gone(str(error)) from error


def receive(socket: _socket.socket) -> tuple[Any, list[int]]:
    """The next message, and the files that came with it, which are the caller's to close. `Gone`.

    Nothing of the message behind it is read.
    """
    files: list[int] = []
    try:
        data = b""
        while len(data) < _HEADER.size:
            piece, rights, _, _ = socket.recvmsg(
                _HEADER.size - len(data), _socket.CMSG_SPACE(4 * _FILES), _socket.MSG_CMSG_CLOEXEC
            )
            for _, _, packed in rights:
                files += struct.unpack(f"{len(packed) // 4}i", packed)
            data += _some(piece)
        (left,) = _HEADER.unpack(data)
        pieces = []
        while left:
            pieces.append(_some(socket.recv(min(left, _PIECE))))
            left -= len(pieces[-1])
        return marshal.loads(b"".join(pieces)), files
    except OSError as error:
        _close(files)
        raise Gone(str(error)) from error
    except Gone:
        _close(files)
        raise


def _some(piece: bytes) -> bytes:
    if not piece:
        raise Gone("the socket was closed")
    return piece


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)
