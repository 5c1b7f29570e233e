"""One question to the Docker Engine over its socket: http.client would cost more than the answer."""

from __future__ import annotations

from _socket import AF_UNIX, SOCK_STREAM, socket  # what `socket` adds to it costs as much again as the whole request

_CHUNK_BYTES = 1 << 18


def ask(path: str, request: str, timeout_s: float) -> tuple[int, bytes]:
    """Status and body of the answer to a GET. `OSError`; `ConnectionError` for an answer that is none, or not whole."""
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(path)
        # HTTP/1.0: the answer comes in one piece and ends with the connection.
        connection.sendall(f"GET {request} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        pieces = []
        while piece := connection.recv(_CHUNK_BYTES):
            pieces.append(piece)
    finally:
        connection.close()
    head, end, body = b"".join(pieces).partition(b"\r\n\r\n")
    first, *headers = head.split(b"\r\n")
    words = first.split(b" ", 2)
    if not end or not words[0].startswith(b"HTTP/") or not words[1:2] or not words[1].isdigit():
        raise ConnectionError("the answer is no HTTP")
    lengths = [header.partition(b":")[2].strip() for header in headers if header.lower().startswith(b"content-length:")]
    if lengths and lengths[-1] != b"%d" % len(body):
        raise ConnectionError(f"the answer has {len(body)} bytes of {lengths[-1].decode()}")
    return int(words[1]), body
