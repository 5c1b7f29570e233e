"""A proxy of plain TCP before a server, that cuts its connections or lets them hang, as a network does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class Pair:
    """A connection through a proxy, seen from its two ends. `silent`: it stands, and nothing arrives any more."""

    client: socket.socket
    server: socket.socket
    silent: bool = False

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self.silent:
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@dataclass
class TcpProxy:
    """`behind`: the port of the server. `refuse`: new connections are reset; `silent`: they stand, and nothing arrives."""

    port: int
    behind: int
    refuse: bool = False
    silent: bool = False
    count: int = 0
    pairs: list[Pair] = field(default_factory=list)

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
        # To close alone does not wake the thread that reads.
        end.shutdown(socket.SHUT_RD)
    end.close()


@contextlib.contextmanager
def tcp_proxy(behind: int) -> Iterator[TcpProxy]:
    """A proxy on 127.0.0.1 before a port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = TcpProxy(listener.getsockname()[1], behind)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                proxy.count += 1
                try:
                    server = None if proxy.refuse else socket.create_connection(("127.0.0.1", proxy.behind))
                except OSError:
                    server = None
                if server is None:
                    _reset(client)
                    continue
                pair = Pair(client, server, proxy.silent)
                proxy.pairs.append(pair)
                threading.Thread(target=pair.pump, args=(client, server), daemon=True).start()
                threading.Thread(target=pair.pump, args=(server, client), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield proxy
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        proxy.cut()
