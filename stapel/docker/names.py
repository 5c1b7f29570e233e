"""What the Docker Engine has under the names of a project, by one raw request over its socket.

Imports little and no client: a build where nothing is to do asks this and nothing else of the engine. It is the Docker
engine's `ReadNames` (`stapel.api`).
"""

from __future__ import annotations

import json
from _socket import AF_UNIX, SOCK_STREAM, socket  # what `socket` adds to it costs as much again as the whole request

from stapel.docker.endpoint import find_endpoint, socket_path

_TIMEOUT_S = 10.0
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/:")
_CHUNK_BYTES = 1 << 18


def read_names(project: str, *, home_dir: str, docker_config: str | None = None) -> dict[str, str] | None:
    """See `stapel.api.ReadNames`. None also for an engine that is not reached by a unix socket."""
    del home_dir
    path = socket_path(find_endpoint(docker_config))
    if path is None or not _PLAIN.issuperset(project):
        return None
    answer = _get(path, f"/images/json?filters=%7B%22reference%22%3A%5B%22{project}%3A%2A%22%5D%7D")
    if answer is None:
        return None
    names: dict[str, str] = {}
    for image in json.loads(answer):
        for tag in image["RepoTags"] or ():
            repository, _, name = tag.rpartition(":")
            if repository == project:
                names[name] = image["Id"]
    return names


def _get(path: str, request: str) -> bytes | None:
    """The body of an answer, None where it is not a good one."""
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(path)
        # HTTP/1.0: the answer comes in one piece and ends with the connection.
        connection.sendall(f"GET {request} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        pieces = []
        while piece := connection.recv(_CHUNK_BYTES):
            pieces.append(piece)
    finally:
        connection.close()
    head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
    return body if head.split(b" ", 2)[1:2] == [b"200"] else None
