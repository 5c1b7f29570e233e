"""A proxy of plain TCP before a server, that cuts its connections or lets them hang, as a network does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class TcpProxy:
    """`refuse`: connections are reset at once. `swallow`: they stand, and nothing that is sent arrives."""

    port: int
    refuse: bool = False
    swallow: bool = False
    count: int = 0
    pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)

    def cut(self) -> None:
        """Reset the connections that there are."""
        while self.pairs:
            for end in self.pairs.pop():
                _reset(end)


def _reset(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextlib.contextmanager
def tcp_proxy(behind: int) -> Iterator[TcpProxy]:
    """A proxy on 127.0.0.1 before a port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = TcpProxy(listener.getsockname()[1])

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not proxy.swallow:
                    sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                proxy.count += 1
                try:
                    server = None if proxy.refuse else socket.create_connection(("127.0.0.1", behind))
                except OSError:
                    server = None
                if server is None:
                    _reset(client)
                    continue
                proxy.pairs.append((client, server))
                threading.Thread(target=pump, args=(client, server), daemon=True).start()
                threading.Thread(target=pump, args=(server, client), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield proxy
    finally:
        # To close alone does not wake the thread that accepts.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        proxy.cut()
