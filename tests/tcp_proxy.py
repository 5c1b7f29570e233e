"""A proxy before a server, by TCP or a unix socket, that cuts its connections or lets them hang, as a network does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Pair:
    """A connection through a proxy, seen from its two ends. `silent`: it stands, and nothing arrives any more."""

    client: socket.socket
    server: socket.socket
    silent: bool = False

    def pump(self, source: socket.socket, sink: socket.socket, watch: Watch) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                data = watch(self, data, source is self.client)
                if data and not self.silent:
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


Watch = Callable[[Pair, bytes, bool], bytes]


@dataclass
class TcpProxy:
    """`behind`: the port of the server, or its socket. `refuse`: new connections are reset; `silent`: nothing arrives.

    `watch` is given everything that passes (True: to the server), and returns what is passed on; it may cut the pair.
    """

    port: int
    behind: int | str
    refuse: bool = False
    silent: bool = False
    count: int = 0
    pairs: list[Pair] = field(default_factory=list)
    watch: Watch = lambda pair, data, to_server: data

    def cut_pair(self, pair: Pair) -> None:
        """Reset one of the connections that there are."""
        with contextlib.suppress(ValueError):
            self.pairs.remove(pair)
        _reset(pair.client)
        _reset(pair.server)

    def cut(self) -> None:
        """Reset the connections that there are."""
        while self.pairs:
            pair = self.pairs.pop()
            _reset(pair.client)
            _reset(pair.server)

    def silence(self) -> None:
        """Let nothing arrive any more through the connections that there are."""
        for pair in self.pairs:
            pair.silent = True


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        # To close alone does not wake the thread that reads. A unix socket has no resets: its peer must learn of the end.
        end.shutdown(socket.SHUT_RDWR if end.family == socket.AF_UNIX else socket.SHUT_RD)
    end.close()


@contextlib.contextmanager
def tcp_proxy(behind: int | str, at: str = "") -> Iterator[TcpProxy]:
    """A proxy on 127.0.0.1, or on a unix socket `at`, before a port or a socket of this machine."""
    listener = _listen(at) if at else socket.create_server(("127.0.0.1", 0))
    proxy = TcpProxy(0 if at else listener.getsockname()[1], behind)

    def watch(pair: Pair, data: bytes, to_server: bool) -> bytes:
        return proxy.watch(pair, data, to_server)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                proxy.count += 1
                try:
                    server = None if proxy.refuse else _connect(proxy.behind)
                except OSError:
                    server = None
                if server is None:
                    _reset(client)
                    continue
                pair = Pair(client, server, proxy.silent)
                proxy.pairs.append(pair)
                threading.Thread(target=pair.pump, args=(client, server, watch), daemon=True).start()
                threading.Thread(target=pair.pump, args=(server, client, watch), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        proxy.cut()


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(128)
    return listener


def _connect(behind: int | str) -> socket.socket:
    if isinstance(behind, int):
        return socket.create_connection(("127.0.0.1", behind))
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.connect(behind)
    return server
