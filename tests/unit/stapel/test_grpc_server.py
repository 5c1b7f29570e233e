"""Calls over a connection that is there already, answered as gRPC wants it."""

from __future__ import annotations

import socket
import threading
from urllib.parse import unquote

import h2.events
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from stapel.docker.grpc_server import NOT_FOUND, CallFailed, Server

SECONDS = 20


class Caller:
    """The engine's side: one call at a time, read slowly where a test wants it."""

    def __init__(self, handlers) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(SECONDS)
        self.connection = ours
        self.server = Server(theirs.makefile("rb"), theirs, handlers)
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self._flush()
        self.server.start()

    def begin(self, path: str, *messages: bytes, ends: bool = True, **metadata: str) -> int:
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "x"), *metadata.items()]
        self.h2.send_headers(stream, headers)
        for message in messages:
            self.h2.send_data(stream, b"\0" + len(message).to_bytes(4, "big") + message)
        if ends:
            self.h2.end_stream(stream)
        self._flush()
        return stream

    def finish(self, stream: int) -> tuple[bytes, dict[str, str]]:
        """What was answered, and the trailers."""
        body, trailers = b"", {}
        while True:
            data = self.connection.recv(1 << 16)
            assert data, "the connection has ended"
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.DataReceived) and event.stream_id == stream:
                    body += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
                elif isinstance(event, h2.events.TrailersReceived):
                    trailers = dict(event.headers)
                elif isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    self._flush()
                    return body, trailers
            self._flush()

    def call(self, path: str, *messages: bytes, **metadata: str) -> tuple[bytes, dict[str, str]]:
        return self.finish(self.begin(path, *messages, **metadata))

    def close(self) -> None:
        self.server.close()
        self.connection.close()

    def _flush(self) -> None:
        self.connection.sendall(self.h2.data_to_send())


@pytest.fixture
def caller():
    made: list[Caller] = []

    def make(handlers) -> Caller:
        made.append(Caller(handlers))
        return made[-1]

    yield make
    for each in made:
        each.close()


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def test_messages_go_both_ways(caller):
    def double(call):
        assert call.metadata["dir-name"] == ["context"]
        for message in call.messages():
            call.send(message * 2)

    engine = caller({"/a/Double": double})
    body, trailers = engine.call("/a/Double", b"x", b"", b"yz", **{"dir-name": "context"})
    assert body == framed(b"xx") + framed(b"") + framed(b"yzyz") and trailers["grpc-status"] == "0"


def test_what_is_larger_than_the_window_waits_for_it(caller):
    large = bytes(range(256)) * 4096
    engine = caller({"/a/Large": lambda call: call.send(large)})
    assert engine.call("/a/Large")[0] == framed(large)


def test_how_calls_fail(caller):
    def refuse(call):
        raise CallFailed(NOT_FOUND, "no s\u00e9cret: 100%")

    def break_down(call):
        raise LookupError("a mistake of ours")

    engine = caller({"/a/Refuse": refuse, "/a/Break": break_down})
    trailers = engine.call("/a/Refuse")[1]
    assert trailers["grpc-status"] == "5" and unquote(trailers["grpc-message"]) == "no s\u00e9cret: 100%"
    assert engine.call("/a/Other")[1]["grpc-status"] == "12"
    assert engine.server.error is None
    assert engine.call("/a/Break")[1]["grpc-status"] == "13"
    assert str(engine.server.error) == "a mistake of ours"


def test_closing_ends_calls_that_wait(caller):
    waits, ended = threading.Event(), threading.Event()

    def wait(call):
        waits.set()
        try:
            list(call.messages())
        finally:
            ended.set()

    engine = caller({"/a/Wait": wait})
    engine.begin("/a/Wait", ends=False)
    assert waits.wait(SECONDS)
    engine.server.close()
    assert ended.is_set() and engine.server.error is None
