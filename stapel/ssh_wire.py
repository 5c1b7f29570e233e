"""The SSH agent's protocol, as much of it as passing requests on needs: frames, and the numbers of a few messages.

A frame is a length (4 bytes, big-endian), then as many bytes: the number of the message and its body.
"""

from __future__ import annotations

import socket
from pathlib import Path

FAILURE = 5
REQUEST_IDENTITIES = 11
IDENTITIES_ANSWER = 12
SIGN_REQUEST = 13
MAX_FRAME_BYTES = 256 * 1024  # the limit of OpenSSH's own agent
MAX_PATH_BYTES = 107  # of a socket: what sun_path holds before its NUL


class BadFrame(Exception):
    """A frame without a message, longer than the limit, or cut off."""


def connect(path: Path, timeout_s: float | None = None) -> socket.socket:
    """A connection to the agent at `path`. `OSError` where nobody answers there; with a time limit, where many wait too."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(str(path))
    except BaseException:
        connection.close()
        raise
    return connection


def read_frame(connection: socket.socket) -> bytes | None:
    """The next message, its number first; None where the other side ended. `BadFrame`, `OSError`."""
    head = _read(connection, 4)
    if not head:
        return None
    length = int.from_bytes(head)
    if len(head) < 4 or not 1 <= length <= MAX_FRAME_BYTES:
        raise BadFrame(f"a frame of {length} bytes")
    message = _read(connection, length)
    if len(message) < length:
        raise BadFrame(f"a frame of {length} bytes is cut off after {len(message)}")
    return message


def write_frame(connection: socket.socket, message: bytes) -> None:
    """Send a message, its number first. `OSError`."""
    connection.sendall(len(message).to_bytes(4) + message)


def _read(connection: socket.socket, size: int) -> bytes:
    """Up to `size` bytes: fewer only where the other side ended."""
    data = bytearray()
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return bytes(data)
