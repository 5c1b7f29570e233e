"""What BuildKit tells while it builds (`moby.buildkit.trace`: protobuf messages) -> plain lines of a log.

#5 [2/3] COPY x /x
#5 DONE 0.1s
#6 [3/3] RUN make
#6 0.312 cc -c main.c
#6 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from stapel.api import Log
from stapel.docker.protobuf import fields_of, last_text, time_s

_QUIET = ("[internal]", "copy /context")


class _Vertex(Struct):
    """A step of a build, as far as it is known."""

    number: int
    name: str
    started_s: float | None = None
    is_told: bool = False
    is_over: bool = False
    begins_line: dict[int, bool] = field(default_factory=dict)


class Progress:
    """Writes the log of one build. `errors`: what steps have failed with, by their names."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._vertices: dict[str, _Vertex] = {}
        self.errors: dict[str, str] = {}

    def feed(self, message: bytes) -> None:
        """One message: vertices, their states, what they print."""
        for number, value in fields_of(message):
            if not isinstance(value, bytes):
                continue
            if number == 1:
                self._take_vertex(value)
            elif number == 3:
                self._take_output(value)

    def _take_vertex(self, message: bytes) -> None:
        texts: dict[int, bytes] = {}
        is_cached = False
        for number, value in fields_of(message):
            if isinstance(value, bytes):
                texts[number] = value
            elif number == 4:
                is_cached = bool(value)
        digest, name = last_text(texts, 1), last_text(texts, 3)
        vertex = self._vertices.setdefault(digest, _Vertex(len(self._vertices) + 1, name))
        if 5 in texts and vertex.started_s is None:
            vertex.started_s = time_s(texts[5])
        error = last_text(texts, 7)
        if error and not vertex.is_over:
            vertex.is_over = True
            self.errors[vertex.name] = error
            self._tell(vertex, f"ERROR: {error}")
        elif is_cached and not vertex.is_over:
            vertex.is_over = True
            self._tell(vertex, "CACHED")
        elif 6 in texts and not vertex.is_over:
            vertex.is_over = True
            if not vertex.name.startswith(_QUIET):
                self._tell(vertex, f"DONE {max(time_s(texts[6]) - (vertex.started_s or 0.0), 0.0):.1f}s")
        elif vertex.started_s is not None and not vertex.name.startswith(_QUIET):
            self._begin(vertex)

    def _take_output(self, message: bytes) -> None:
        texts: dict[int, bytes] = {}
        stream = 1
        for number, value in fields_of(message):
            if isinstance(value, bytes):
                texts[number] = value
            elif number == 3:
                stream = value
        vertex = self._vertices.get(last_text(texts, 1))
        content = texts.get(4, b"")
        if vertex is None or not content:
            return
        self._begin(vertex)
        seconds = max(time_s(texts.get(2, b"")) - (vertex.started_s or 0.0), 0.0)
        prefix = f"#{vertex.number} {seconds:.3f} ".encode()
        self._log("stdout" if stream == 1 else "stderr", b"".join(_prefixed(vertex, stream, prefix, content)))

    def _begin(self, vertex: _Vertex) -> None:
        if not vertex.is_told:
            vertex.is_told = True
            self._log("stderr", f"#{vertex.number} {vertex.name}\n".encode())

    def _tell(self, vertex: _Vertex, text: str) -> None:
        self._begin(vertex)
        for stream in [stream for stream, is_begun in vertex.begins_line.items() if not is_begun]:
            vertex.begins_line[stream] = True
            self._log("stdout" if stream == 1 else "stderr", b"\n")
        self._log("stderr", f"#{vertex.number} {text}\n".encode())


def _prefixed(vertex: _Vertex, stream: int, prefix: bytes, content: bytes) -> Iterator[bytes]:
    """The prefix before each line; a piece may end in the middle of one."""
    for line in content.splitlines(keepends=True):
        if vertex.begins_line.get(stream, True):
            yield prefix
        yield line
        vertex.begins_line[stream] = line.endswith((b"\n", b"\r"))
