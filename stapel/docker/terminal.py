"""A shell in a container on the user's terminal: its bytes go both ways, its size and its raw mode are the container's."""

from __future__ import annotations

import os
import select
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from stapel.docker.client import engine_errors
from stapel.errors import StapelError

if TYPE_CHECKING:
    from docker import APIClient

_CHUNK = 1 << 16
_LOOK_AT_SIZE_S = 0.5


def has_terminal() -> bool:
    """Whether a person sits before our stdin and stdout."""
    return os.isatty(0) and os.isatty(1)


def attach_terminal(client: APIClient, container: str) -> int:
    """Start a container made with stdin (and a tty where there is a terminal) and stay until it ends; its exit status."""
    with engine_errors("opening a shell"):
        attached: Any = client.attach_socket(
            container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
        )
        connection = cast(socket.socket, getattr(attached, "_sock", attached))
        with _raw_terminal():
            client.start(container)
            if has_terminal():
                _copy(connection, connection.recv, _Size(client, container))
            else:
                _copy(connection, _demultiplexed(connection), None)
        return int(client.wait(container)["StatusCode"])


class _Size:
    """Keeps the size of the container's terminal that of ours. A shell may be open in any thread, where no signal comes."""

    def __init__(self, client: APIClient, container: str) -> None:
        self._client, self._container = client, container
        self._set: os.terminal_size | None = None

    def follow(self) -> None:
        """Set it where ours has changed."""
        size = os.get_terminal_size(1)
        if size != self._set:
            self._set = size
            with suppress(StapelError), engine_errors("resizing a terminal"):
                self._client.resize(self._container, height=size.lines, width=size.columns)


def _copy(connection: socket.socket, receive: Any, size: _Size | None) -> None:  # noqa: ANN401 -- bytes by size
    """Pass bytes on until the container ends; the end of stdin is passed on as such."""
    sources: list[Any] = [connection, 0]
    while True:
        if size is not None:
            size.follow()
        ready, _, _ = select.select(sources, [], [], _LOOK_AT_SIZE_S)
        if connection in ready:
            data = receive(_CHUNK)
            if not data:
                return
            os.write(1, data)
        if 0 in ready:
            typed = os.read(0, _CHUNK)
            if typed:
                connection.sendall(typed)
            else:
                sources.remove(0)
                connection.shutdown(socket.SHUT_WR)


def _demultiplexed(connection: socket.socket) -> Any:  # noqa: ANN401 -- as recv
    """Without a tty the engine frames both streams: eight bytes with the length in the last four, then the content."""
    pending = bytearray()

    def receive(size: int) -> bytes:
        while True:
            data = connection.recv(size)
            if not data:
                return b""
            pending.extend(data)
            out = bytearray()
            while len(pending) >= 8:
                length = int.from_bytes(pending[4:8], "big")
                if len(pending) < 8 + length:
                    break
                out += pending[8 : 8 + length]
                del pending[: 8 + length]
            if out:
                return bytes(out)

    return receive


@contextmanager
def _raw_terminal() -> Iterator[None]:
    if not has_terminal():
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
