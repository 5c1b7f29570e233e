"""What BuildKit says and is told: protobuf, progress, files."""

from __future__ import annotations

import io

import pytest

from stapel.api import File
from stapel.docker.filesync import send_files, with_directories
from stapel.docker.progress import Progress
from stapel.docker.protobuf import BadMessage, fields_of, write_field


def time(seconds: float) -> bytes:
    return write_field(1, int(seconds)) + write_field(2, int(seconds % 1 * 1e9))


def vertex(digest: str, name: str, started=None, ended=None, error: str = "", cached: int = 0) -> bytes:
    pieces = [write_field(1, digest), write_field(3, name), write_field(4, cached), write_field(7, error)]
    pieces += [write_field(5, time(started))] if started is not None else []
    pieces += [write_field(6, time(ended))] if ended is not None else []
    return write_field(1, b"".join(pieces))


def output(digest: str, text: str, at: float, stream: int = 1) -> bytes:
    return write_field(3, write_field(1, digest) + write_field(2, time(at)) + write_field(3, stream) + write_field(4, text))


def test_the_wire_format():
    message = (
        write_field(1, 0)
        + write_field(2, 300)
        + write_field(3, b"abc")
        + write_field(15, "\u00fc")
        + write_field(16, 1 << 63)
    )
    assert list(fields_of(message)) == [(2, 300), (3, b"abc"), (15, "\u00fc".encode()), (16, 1 << 63)]
    assert list(fields_of(b"\x09" + bytes(7) + b"\x01" + b"\x15\x02\0\0\0")) == [(1, 1 << 56), (2, 2)]


@pytest.mark.parametrize("message", [b"\x0a\x05abc", b"\x08", b"\x08" + b"\xff" * 11, b"\x0b"])
def test_what_is_no_message(message):
    with pytest.raises(BadMessage):
        list(fields_of(message))


def test_progress_becomes_lines():
    said: list[tuple[str, bytes]] = []
    progress = Progress(lambda stream, data: said.append((stream, data)))
    for message in (
        vertex("i", "[internal] load build definition", 1.0, 1.5),
        vertex("a", "[1/2] FROM x"),
        vertex("a", "[1/2] FROM x", 2.0, 2.0, cached=1),
        vertex("b", "[2/2] RUN make", 3.0),
        output("b", "one\ntw", 3.25),
        output("b", "o\n", 3.5),
        output("b", "bad", 3.75, 2),
        output("nobody", "lost", 4.0),
        vertex("b", "[2/2] RUN make", 3.0, 5.0, error="exit code: 2"),
        vertex("b", "[2/2] RUN make", 3.0, 5.0, error="exit code: 2"),
        vertex("c", "exporting", 5.0, 6.25),
    ):
        progress.feed(message)
    assert b"".join(data for _, data in said).decode() == (
        "#2 [1/2] FROM x\n#2 CACHED\n#3 [2/2] RUN make\n#3 0.250 one\n#3 0.250 two\n#3 0.750 bad\n#3 ERROR: exit code: 2\n"
        "#4 exporting\n#4 DONE 1.2s\n"
    )
    assert ("stderr", b"#3 0.750 bad") in said and progress.errors == {"[2/2] RUN make": "exit code: 2"}


def test_directories_stand_before_what_is_in_them():
    files = [File(path, "file", 0o644) for path in (b"a/b/c", b"a/b/d", b"a/e", b"f", b"g/h")]
    assert [(file.path, file.kind) for file in with_directories(files)] == [
        (b"a", "directory"),
        (b"a/b", "directory"),
        (b"a/b/c", "file"),
        (b"a/b/d", "file"),
        (b"a/e", "file"),
        (b"f", "file"),
        (b"g", "directory"),
        (b"g/h", "file"),
    ]


class Call:
    """A receiver that asks for some files."""

    def __init__(self, *asked: bytes) -> None:
        self.metadata: dict[str, list[str]] = {}
        self.asked = asked
        self.sent: list[list[tuple[int, object]]] = []

    def messages(self):
        return iter(self.asked)

    def send(self, message: bytes) -> None:
        self.sent.append(list(fields_of(message)))


def test_files_are_told_and_sent_when_they_are_asked_for():
    content = b"x" * 40_000
    files = [
        File(b"d/data", "file", 0o755, len(content), open=lambda: io.BytesIO(content)),
        File(b"link", "symlink", 0o777, link=b"d"),
        File(b"none", "file", 0o644),
    ]
    ask = [write_field(1, 1) + write_field(3, number) for number in (1, 3)]
    call = Call(*ask, write_field(1, 3))
    send_files(call, files, 7)
    told = [dict(fields_of(packet[0][1])) for packet in call.sent[:4]]
    assert [(stat[1], stat[2]) for stat in told] == [
        (b"d", 0o755 | 1 << 31),
        (b"d/data", 0o755),
        (b"link", 0o777 | 1 << 27),
        (b"none", 0o644),
    ]
    assert told[1][5] == len(content) and told[1][6] == 7_000_000_000 and told[2][7] == b"d"
    data = call.sent[5:-1]
    assert b"".join(value for packet in data for number, value in packet if number == 4) == content
    assert data[-1] == [(1, 2), (3, 3)] and call.sent[4] == [] and call.sent[-1] == [(1, 3)]
