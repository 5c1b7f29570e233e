"""`.dockerignore` as Docker's own client has it: what it sends of a directory is what is not left out."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

from conveyor.dockerfile.ignore import Ignore
from tests.conftest import absent

PATHS = (
    "a", "ab", "b/a", "b/ab", "b/c/a", "b/c/x.md", "c/.hidden", ".hidden", "x.md", "README.md", "c/README.md", "d.d/a.b",
    "axb", "a b", "deep/1/2/3/x.log", "deep/1/x.log", "deep/y.log", "src/main.c", "src/main.o", "src/sub/x.o",
    "src/sub/keep.o", "lit[x]", "star*", "q?", "a+(b)$", "-dash", "tilde~",
)  # fmt: skip
TEXTS = (
    "*.md\n!README.md\n",
    "**/*.md\n!c/README.md\n",
    "*\n!src\nsrc/**/*.o\n!src/sub/keep.o\n",
    "**\n!**/*.log\ndeep/1/**\n!deep/1/2/3\n",
    "/b/\n./c//../deep/\n",
    "*/a\n[ab]b\n[^a]\n",
    "b/**/a\n**/x.log\n",
    "# comment\n  .hidden  \n\n a b \n#a\n",
    "lit\\[x\\]\nstar\\*\nq\\?\na+(b)$\na.b\n-*\ntilde~\n",
    "**a\n",
    "src/main.*\n!src/*.c\nd.d/**\n",
    "deep/**\n!deep/1/x.log\n",
    "!a\na\n! b/a\nb\n",
    "?\n??\n*/?\n",
    "[a-c]\n[!x]b\n[b\\-]*\n",
    ".\n/\n..\nsrc/.\n",
    "b/c/\n!b/c/a\n*.d\n**/.h*\n",
)


class _Engine(BaseHTTPRequestHandler):
    """Takes contexts of builds and refuses to build them."""

    protocol_version = "HTTP/1.1"
    contexts: ClassVar[list[set[str]]] = []

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("API-Version", "1.41")
        self.send_header("OSType", "linux")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = b"".join(iter(self._read_chunk, b""))
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            self.contexts.append({member.name for member in archive if member.isfile()})
        answer = b'{"errorDetail": {"message": "it is enough"}, "error": "it is enough"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _read_chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        chunk = self.rfile.read(size)
        self.rfile.readline()
        return chunk

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


def test_what_docker_leaves_out(tmp_path):
    """Beside these, the client never looks into a directory that is left out for what a `!` with wildcards takes back.

    BuildKit looks there, and we do.
    """
    client = shutil.which("docker")
    if client is None:
        absent("docker's client is not on this machine")
    context = tmp_path / "context"
    for path in PATHS:
        (context / path).parent.mkdir(parents=True, exist_ok=True)
        (context / path).write_text(path)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    with HTTPServer(("127.0.0.1", 0), _Engine) as engine:
        serving = threading.Thread(target=engine.serve_forever, daemon=True)
        serving.start()
        env = os.environ | {
            "DOCKER_BUILDKIT": "0",
            "DOCKER_CONFIG": str(tmp_path / "docker"),
            "DOCKER_HOST": f"tcp://127.0.0.1:{engine.server_address[1]}",
        }
        for text in TEXTS:
            (context / ".dockerignore").write_text(text)
            _Engine.contexts.clear()
            built = subprocess.run([client, "build", "--quiet", str(context)], env=env, capture_output=True, text=True)
            assert "it is enough" in built.stderr, (text, built.stderr)
            ignore = Ignore(text.encode())
            assert {path for path in PATHS if not ignore.ignores(path.encode())} == _Engine.contexts[0] & {*PATHS}, text
        engine.shutdown()
