"""A gRPC server over one connection that is there already: the engine calls, and we answer.

BuildKit asks its client for files, secrets, keys and credentials in this way. A thread reads the connection, each call has
a thread of its own. HTTP/2 is spoken by `h2`.
"""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import BinaryIO, Protocol
from urllib.parse import quote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error

_READ_BYTES = 1 << 16
_MAX_MESSAGE_BYTES = 4 << 20
OK, NOT_FOUND, INTERNAL, UNIMPLEMENTED = 0, 5, 13, 12


class CallFailed(Exception):
    """A call that is answered with a status other than OK."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class CallEnded(Exception):
    """The caller, or the connection, is gone: nobody waits for an answer any more."""


class Call(Protocol):
    """One call as its handler sees it."""

    @property
    def metadata(self) -> Mapping[str, list[str]]:
        """The headers of the call."""

    def messages(self) -> Iterator[bytes]:
        """What the caller sends, until it has sent all. `CallEnded`."""

    def send(self, message: bytes) -> None:
        """Answer with a message; waits where the caller is slow. `CallEnded`."""


Handler = Callable[[Call], None]
"""Answers a call; `CallFailed` for an answer with a status. What else it raises is told to `Server.error`."""


class Server:
    """Answers the calls of a connection until `close`. `error`: what a handler has raised that it should not have."""

    def __init__(self, reading: BinaryIO, connection: socket.socket, handlers: Mapping[str, Handler]) -> None:
        """`reading` reads from the connection; it may have read ahead."""
        self._reading = reading
        self._connection = connection
        self._handlers = handlers
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._lock = threading.RLock()
        self._may_send = threading.Condition(self._lock)
        self._calls: dict[int, _Call] = {}
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin to answer."""
        with self._lock:
            self._h2.initiate_connection()
            self._h2.increment_flow_control_window(16 << 20)
            self.flush()
        thread = threading.Thread(target=self._read, name="buildkit-session", daemon=True)
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """End the connection and what answers."""
        with self._may_send:
            self._is_closed = True
            self._may_send.notify_all()
            calls = list(self._calls.values())
        for call in calls:
            call.end()
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join()
        self._connection.close()

    def flush(self) -> None:
        """Send what `h2` has to send; the lock is held."""
        data = self._h2.data_to_send()
        if data:
            self._connection.sendall(data)

    def send_message(self, stream: int, message: bytes, is_gone: Callable[[], bool]) -> None:
        """Send a message in the frames that fit. `CallEnded`."""
        left = memoryview(b"\0" + len(message).to_bytes(4, "big") + message)
        try:
            with self._may_send:
                while left:
                    if self._is_closed or is_gone():
                        raise CallEnded
                    room = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(left))
                    if room <= 0:
                        self._may_send.wait()
                        continue
                    self._h2.send_data(stream, bytes(left[:room]))
                    left = left[room:]
                    self.flush()
        except (OSError, H2Error) as error:
            raise CallEnded from error

    def begin_answer(self, stream: int) -> None:
        """Send the headers of an answer. `CallEnded`."""
        try:
            with self._lock:
                self._h2.send_headers(stream, [(":status", "200"), ("content-type", "application/grpc")])
                self.flush()
        except (OSError, H2Error) as error:
            raise CallEnded from error

    def end_answer(self, stream: int, status: int, message: str) -> None:
        """Send how a call has ended."""
        trailers = [("grpc-status", str(status))] + ([("grpc-message", quote(message))] if message else [])
        with self._lock:
            self._calls.pop(stream, None)
            with suppress(OSError, H2Error):
                self._h2.send_headers(stream, trailers, end_stream=True)
                self.flush()

    def _read(self) -> None:
        try:
            while data := self._reading.read1(_READ_BYTES):  # type: ignore[attr-defined] # every buffered reader has it
                with self._may_send:
                    for event in self._h2.receive_data(data):
                        if not self._take(event):
                            return
                    self.flush()
                    self._may_send.notify_all()
        except (OSError, ValueError, H2Error):
            return  # the connection is gone: who waits for the build is told by its own connection
        finally:
            with self._may_send:
                self._is_closed = True
                self._may_send.notify_all()
                calls = list(self._calls.values())
            for call in calls:
                call.end()

    def _take(self, event: Event) -> bool:
        """Act on what has come; false where the caller ends the connection."""
        if isinstance(event, RequestReceived):
            self._answer(event)
        elif isinstance(event, DataReceived):
            self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.stream_id in self._calls:
                self._calls[event.stream_id].feed(event.data)
        elif isinstance(event, StreamEnded):
            if event.stream_id in self._calls:
                self._calls[event.stream_id].feed(None)
        elif isinstance(event, StreamReset):
            if event.stream_id in self._calls:
                self._calls[event.stream_id].end()
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            self._may_send.notify_all()
        return not isinstance(event, ConnectionTerminated)

    def _answer(self, event: RequestReceived) -> None:
        metadata: dict[str, list[str]] = {}
        for name, value in event.headers or ():
            metadata.setdefault(str(name), []).append(str(value))
        stream = int(event.stream_id or 0)
        call = self._calls[stream] = _Call(self, stream, metadata)
        handler = self._handlers.get(metadata.get(":path", [""])[0])
        thread = threading.Thread(target=self._handle, args=(call, stream, handler), name="buildkit-call", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _handle(self, call: _Call, stream: int, handler: Handler | None) -> None:
        try:
            self.begin_answer(stream)
            if handler is None:
                raise CallFailed(UNIMPLEMENTED, "this client has no such method")
            handler(call)
        except CallEnded:
            self.end_answer(stream, INTERNAL, "the call has ended")
        except CallFailed as error:
            self.end_answer(stream, error.status, str(error))
        except BaseException as error:
            self.error = self.error or error
            self.end_answer(stream, INTERNAL, str(error))
        else:
            self.end_answer(stream, OK, "")


class _Call:
    """See `Call`."""

    def __init__(self, server: Server, stream: int, metadata: Mapping[str, list[str]]) -> None:
        self._server = server
        self._stream = stream
        self.metadata = metadata
        self._received: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._is_gone = False

    def feed(self, data: bytes | None) -> None:
        """Take what has come; None is the end of it."""
        self._received.put(data)

    def end(self) -> None:
        """The caller is gone."""
        self._is_gone = True
        self._received.put(None)

    def messages(self) -> Iterator[bytes]:
        """See `Call`."""
        pending = bytearray()
        while True:
            data = self._received.get()
            if self._is_gone:
                raise CallEnded
            if data is None:
                return
            pending += data
            while len(pending) >= 5:
                size = int.from_bytes(pending[1:5], "big")
                if pending[0] or size > _MAX_MESSAGE_BYTES:
                    raise CallFailed(INTERNAL, "a message that is compressed or too long")
                if len(pending) < 5 + size:
                    break
                message = bytes(pending[5 : 5 + size])
                del pending[: 5 + size]
                yield message

    def send(self, message: bytes) -> None:
        """See `Call`."""
        self._server.send_message(self._stream, message, lambda: self._is_gone)
