"""A shell in a container on the user's terminal: its bytes go both ways, its size and its raw mode are the container's."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
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
        with _raw_terminal(client, container):
            client.start(container)
            _resize(client, container)
            if has_terminal():
                _copy(connection, connection.recv)
            else:
                _copy(connection, _demultiplexed(connection))
        return int(client.wait(container)["StatusCode"])


def _copy(connection: socket.socket, receive: Any) -> None:  # noqa: ANN401 -- bytes by size
    """Pass bytes on until the container ends; the end of stdin is passed on as such."""
    sources: list[Any] = [connection, 0]
    while True:
        ready, _, _ = select.select(sources, [], [])
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
def _raw_terminal(client: APIClient, container: str) -> Iterator[None]:
    if not has_terminal():
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    handler = signal.signal(signal.SIGWINCH, lambda *_: _resize(client, container))
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, handler)
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _resize(client: APIClient, container: str) -> None:
    if not has_terminal():
        return
    size = os.get_terminal_size(sys.stdout.fileno())
    with suppress(StapelError), engine_errors("resizing a terminal"):
        client.resize(container, height=size.lines, width=size.columns)
