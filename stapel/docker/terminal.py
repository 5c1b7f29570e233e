"""A shell in a container on the user's terminal: its bytes go both ways, its size and its raw mode are the container's."""

from __future__ import annotations

import os
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from stapel.docker.client import engine_errors
from stapel.errors import StapelError
from stapel.script import ENTRYPOINT
from stapel.terminal import has_terminal, raw_terminal, write_all

if TYPE_CHECKING:
    from docker import APIClient

_CHUNK = 1 << 16
_LOOK_AT_SIZE_S = 0.5
_LOOK_AT_END_S = 0.02
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def attach_terminal(client: APIClient, container: str) -> int:
    """Start a container made with stdin (and a tty where there is a terminal) and stay until it ends; its exit status."""
    with engine_errors("running a container on this terminal"):
        connection = _attach(client, container)
        with raw_terminal():
            client.start(container)
            _talk(connection, partial(client.resize, container))
        return int(client.wait(container)["StatusCode"])


def open_shell(client: APIClient, container: str, stdin: bytes) -> int:
    """Start a container that takes `stdin` and then waits, and stay in a shell beside it; the shell's exit status.

    `StapelError` where the container does not say that it is ready. It ends with the connection.
    """
    with engine_errors("opening a shell in a container"):
        with closing(_attach(client, container)) as holding:
            client.start(container)
            holding.sendall(stdin)
            _await_word(holding)
            has_tty = has_terminal()
            made = client.exec_create(container, [ENTRYPOINT], stdin=True, tty=has_tty)["Id"]
            with raw_terminal():
                attached = client.exec_start(made, tty=has_tty, socket=True)
                _talk(_socket_of(attached), partial(client.exec_resize, made))
            while (found := client.exec_inspect(made))["Running"]:
                time.sleep(_LOOK_AT_END_S)
        return int(found["ExitCode"])


def _attach(client: APIClient, container: str) -> socket.socket:
    attached = client.attach_socket(container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1, "logs": 0})
    return _socket_of(attached)


def _socket_of(attached: Any) -> socket.socket:  # noqa: ANN401 -- the SDK's, of many kinds
    return cast(socket.socket, getattr(attached, "_sock", attached))


def _await_word(connection: socket.socket) -> None:
    """Wait for a line of its own on stdout; what is said before it, or in its place, is an error."""
    split, said = _demultiplexed(), b""
    while not said.endswith(b"\n"):
        data = connection.recv(_CHUNK)
        if not data:
            break
        said += b"".join(piece for _, piece in split(data))
    if said != b"\n":
        raise StapelError(f"the container has not started a shell: {said.decode(errors='replace').strip() or 'it ended'}")


def _talk(connection: socket.socket, resize: Callable[..., object]) -> None:
    if has_terminal():
        _copy(connection, lambda data: [(1, data)], _Size(resize))
    else:
        _copy(connection, _demultiplexed(), None)


class _Size:
    """Keeps the size of the container's terminal that of ours. A shell may be open in any thread, where no signal comes."""

    def __init__(self, resize: Callable[..., object]) -> None:
        self._resize = resize
        self._set: os.terminal_size | None = None

    def follow(self) -> None:
        """Set it where ours has changed."""
        size = os.get_terminal_size(1)
        if size != self._set:
            self._set = size
            with suppress(StapelError), engine_errors("resizing a terminal"):
                self._resize(height=size.lines, width=size.columns)


def _copy(connection: socket.socket, split: Callable[[bytes], Iterable[tuple[int, bytes]]], size: _Size | None) -> None:
    """Pass bytes on until the container ends; the end of stdin is passed on as such.

    Nothing here waits for one direction alone: a shell that is not listened to does not listen either.
    """
    connection.setblocking(False)
    typed, reading = b"", True
    while True:
        if size is not None:
            size.follow()
        sources: list[Any] = [connection, 0] if reading and not typed else [connection]
        ready, open_to, _ = select.select(sources, [connection] if typed else [], [], _LOOK_AT_SIZE_S)
        if connection in ready:
            for data in _received(connection):
                if not data:
                    return
                for stream, piece in split(data):
                    write_all(stream, piece)
        if open_to:
            try:
                typed = typed[connection.send(typed) :]
            except _NOT_NOW:
                continue
            except OSError:
                typed, reading = b"", False  # the shell has ended; what it said last may be on its way
        if 0 in ready:
            typed = os.read(0, _CHUNK)
            if not typed:
                reading = False
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)


def _received(connection: socket.socket) -> Iterator[bytes]:
    """All that is here; empty bytes are the end."""
    while True:
        try:
            data = connection.recv(_CHUNK)
        except _NOT_NOW:
            return
        except ConnectionError:
            data = b""
        yield data
        if not data:
            return


def _demultiplexed() -> Callable[[bytes], Iterable[tuple[int, bytes]]]:
    """Without a tty the engine frames both streams: eight bytes, the stream first, the length in the last four."""
    pending = bytearray()

    def split(data: bytes) -> Iterator[tuple[int, bytes]]:
        pending.extend(data)
        while len(pending) >= 8:
            length = int.from_bytes(pending[4:8], "big")
            if len(pending) < 8 + length:
                return
            yield (2 if pending[0] == 2 else 1), bytes(pending[8 : 8 + length])
            del pending[: 8 + length]

    return split
