"""urllib3's connections, stricter where one breaks. Imported with the first request.

The standard library takes the end of a connection within the head of an answer for the end of that head: what is left looks
like an answer without a body, without a challenge, or with half an address to go on to.
"""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING, Any, cast

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from io import BufferedReader

SEND_TIMEOUT_S = 60.0  # urllib3 would give a registry that stalls while it takes a blob no more than the time to connect


class _Head:
    """Stands for the stream while a head is read from it, and keeps the last line."""

    def __init__(self, stream: BufferedReader) -> None:
        self._stream = stream
        self.last = b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self._stream.readline(limit)
        return self.last

    def close(self) -> None:
        self._stream.close()


class _Answer(http.client.HTTPResponse):
    """An answer whose head is whole. `ConnectionError` where it is not."""

    def begin(self) -> None:
        stream = self.fp
        head = _Head(stream)
        self.fp = cast("BufferedReader", head)
        try:
            super().begin()
        finally:
            if self.fp is not None:
                self.fp = stream
        if not head.last.endswith(b"\n"):
            raise ConnectionError("the answer ends within its head")


class _Plain(HTTPConnection):
    response_class = _Answer

    def connect(self) -> None:
        super().connect()
        _wait_longer(self.sock)


class _Tls(HTTPSConnection):
    response_class = _Answer

    def connect(self) -> None:
        super().connect()
        _wait_longer(self.sock)


def _wait_longer(sock: Any) -> None:  # noqa: ANN401 -- a socket, or the TLS over one
    sock.settimeout(SEND_TIMEOUT_S)


class PlainPool(HTTPConnectionPool):
    """Plain http."""

    ConnectionCls = _Plain


class TlsPool(HTTPSConnectionPool):
    """TLS."""

    ConnectionCls = _Tls
