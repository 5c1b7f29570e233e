"""Real servers for tests, and one that stands before them and misbehaves as it is told. Every one ends with its context."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import quote


@dataclass(frozen=True)
class Registry:
    """A docker-registry that runs. `storage` is where it keeps `docker/registry/v2/...`."""

    host: str
    storage: Path
    process: subprocess.Popen


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def registry_server(
    tmp_dir: Path,
    *,
    htpasswd: Mapping[str, str] | None = None,
    token: Mapping[str, str] | None = None,
    tls: tuple[Path, Path] | None = None,
    delete: bool = True,
) -> Iterator[Registry]:
    """docker-registry on 127.0.0.1. `htpasswd`: user -> password; `token`: its settings; `tls`: (certificate, key)."""
    tmp_dir.mkdir(parents=True, exist_ok=True)
    port = free_port()
    storage = tmp_dir / "storage"
    config: dict = {
        "version": 0.1,
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": delete}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if htpasswd is not None:
        lines = [
            subprocess.run(["htpasswd", "-Bbn", user, password], check=True, capture_output=True, text=True).stdout.strip()
            for user, password in htpasswd.items()
        ]
        (tmp_dir / "htpasswd").write_text("\n".join(lines) + "\n")
        config["auth"] = {"htpasswd": {"realm": "a registry of tests", "path": str(tmp_dir / "htpasswd")}}
    if token is not None:
        config["auth"] = {"token": dict(token)}
    if tls is not None:
        config["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    # YAML takes JSON.
    (tmp_dir / "registry.yml").write_text(json.dumps(config))
    with (tmp_dir / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(tmp_dir / "registry.yml")], stdout=log, stderr=log)
    try:
        _wait_for_port(port, process, tmp_dir / "registry.log")
        yield Registry(f"127.0.0.1:{port}", storage, process)
    finally:
        process.terminate()
        process.wait()


@dataclass
class RedisServer:
    """A redis-server on 127.0.0.1 that can be ended, paused and started again on the same port, each time empty."""

    port: int
    directory: Path
    arguments: tuple[str, ...]
    user_info: str
    scheme: str
    process: subprocess.Popen | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What `--synchronization` takes."""
        return f"{self.scheme}://{self.user_info}{self.host}/0"

    def start(self) -> None:
        with (self.directory / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(["redis-server", *self.arguments], cwd=self.directory, stdout=log, stderr=log)
        _wait_for_port(self.port, self.process, self.directory / "redis.log")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """The server does nothing meanwhile; its connections stay, and new ones are taken by the kernel."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def cli(self, *arguments: str) -> str:
        """What redis-cli prints."""
        command = ["redis-cli", "--no-auth-warning", "-u", f"redis://{self.user_info}{self.host}/0", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


@contextlib.contextmanager
def redis_server(
    tmp_dir: Path, *arguments: str, user: str = "", password: str = "", tls: tuple[Path, Path] | None = None
) -> Iterator[RedisServer]:
    """redis-server without a disk. `arguments` are its own; `tls`: (certificate, key), for no other kind of connection."""
    tmp_dir.mkdir(parents=True, exist_ok=True)
    port = free_port()
    settings = ["--bind", "127.0.0.1", "--port", str(0 if tls else port), "--save", "", "--appendonly", "no"]
    if tls is not None:
        settings += ["--tls-port", str(port), "--tls-auth-clients", "no"]
        settings += ["--tls-cert-file", str(tls[0]), "--tls-key-file", str(tls[1])]
    if user:
        settings += ["--user", user, "on", f">{password}", "~conveyor:*", "+@all", "--user", "default", "off"]
    elif password:
        settings += ["--requirepass", password]
    user_info = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
    server = RedisServer(port, tmp_dir, (*settings, *arguments), user_info, "rediss" if tls else "redis")
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _wait_for_port(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline_s = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"{process.args[0]} does not start: {log.read_text()}") from None
            time.sleep(0.02)


def certificate(tmp_dir: Path, name: str = "127.0.0.1") -> tuple[Path, Path]:
    """A self-signed certificate and its key, for an address or a name."""
    tmp_dir.mkdir(parents=True, exist_ok=True)
    kind = "IP" if name[0].isdigit() else "DNS"
    paths = tmp_dir / f"{name}.crt", tmp_dir / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName={kind}:{name}", "-out", str(paths[0]), "-keyout", str(paths[1])]
    subprocess.run(command, check=True, capture_output=True)
    return paths


@dataclass
class Request:
    """What a front was asked. Its body is on its way yet."""

    method: str
    path: str  # with its query
    headers: Mapping[str, str]


@dataclass
class Reply:
    """What a front answers instead of what stands behind it.

    `cut` ends the connection after so many bytes of the body, `cut_head` after so many of what comes before it; `reset`: not
    by closing it in order.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    cut_head: int | None = None
    reset: bool = False


class Reset(Exception):
    """Raised by a rule: the connection is reset without an answer, when `after` bytes of the body have been passed on."""

    def __init__(self, after: int | None = None) -> None:
        super().__init__()
        self.after = after


Rule = Callable[[Request, Callable[[], Reply]], Reply | None]


@dataclass
class Front:
    """A server before another one. `rules` are asked in turn: a Reply is answered; None: the next, then the server behind.

    A rule may call its second argument to have what the server behind answers, and change it.
    """

    host: str
    rules: list[Rule] = field(default_factory=list)
    seen: list[Request] = field(default_factory=list)

    def asked(self, method: str, part: str) -> list[Request]:
        return [request for request in self.seen if request.method == method and part in request.path]


class _Body:
    """The body of a request, read as it comes: of a known length, or in chunks."""

    def __init__(self, stream: BinaryIO, length: int, *, chunked: bool) -> None:
        self._stream = stream
        self._chunked = chunked
        self._left = length
        self.ended = not chunked and not length

    def read(self, size: int) -> bytes:
        if self._chunked and not self._left and not self.ended:
            self._left = int(self._stream.readline().partition(b";")[0] or b"0", 16)
            if not self._left:
                self._stream.readline()
                self.ended = True
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        if self._left and not data:
            raise ConnectionResetError("the client has gone")
        if self._chunked and data and not self._left:
            self._stream.readline()
        self.ended = self.ended or (not self._chunked and not self._left)
        return data


@contextlib.contextmanager
def front_server(behind: str | None = None, *, tls: tuple[Path, Path] | None = None) -> Iterator[Front]:
    """A misbehaving server on 127.0.0.1 before the plain one at `behind` (None: 404 to everything without a rule)."""
    front = Front("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_one(self) -> None:
            chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
            body = _Body(self.rfile, int(self.headers.get("Content-Length") or 0), chunked=chunked)
            request = Request(self.command, self.path, dict(self.headers.items()))
            front.seen.append(request)
            try:
                # Rules see the request before its body is read, as a server that drops a big upload does.
                reply = self.answer(request, body)
            except Reset as reset:
                if reset.after is not None and behind is not None:
                    _forward_in_part(behind, request, body, reset.after)
                self.reset()
                return
            head = [f"HTTP/1.1 {reply.status} {self.responses.get(reply.status, ('',))[0]}"]
            head += [
                f"{name}: {value}"
                for name, value in reply.headers.items()
                if name.lower() not in ("content-length", "connection", "transfer-encoding")
            ]
            declared = next((value for name, value in reply.headers.items() if name.lower() == "content-length"), None)
            if reply.status != 204:
                head.append(f"Content-Length: {declared if declared is not None else len(reply.body)}")
            self.wfile.write("\r\n".join([*head, "", ""]).encode("latin-1")[: reply.cut_head])
            if self.command != "HEAD" and reply.cut_head is None:
                self.wfile.write(reply.body[: reply.cut])
            if reply.cut is not None or reply.cut_head is not None or not body.ended:
                self.close_connection = True
            if reply.reset:
                self.reset()

        def answer(self, request: Request, body: _Body) -> Reply:
            def forward() -> Reply:
                return _forward(behind, request, body) if behind is not None else Reply(404, {}, b"nothing here")

            for rule in list(front.rules):
                reply = rule(request, forward)
                if reply is not None:
                    return reply
            return forward()

        def reset(self) -> None:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.close_connection = True
            self.connection.close()

        do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_one

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            pass  # clients that go away are what is tested

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    front.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _forward(behind: str, request: Request, body: _Body) -> Reply:
    connection = http.client.HTTPConnection(behind, timeout=60, blocksize=1 << 20)
    try:
        # The client's own Host is passed on, so that the addresses in the answer lead through the front.
        content = cast(BinaryIO, body) if not body.ended else None
        connection.request(request.method, request.path, content, _passed_on(request), encode_chunked=True)
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def _forward_in_part(behind: str, request: Request, body: _Body, count: int) -> None:
    """Pass on the head and so many bytes of the body, and go away."""
    connection = http.client.HTTPConnection(behind, timeout=60)
    try:
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in _passed_on(request).items():
            connection.putheader(name, value)
        connection.endheaders()
        while count and (data := body.read(min(count, 1 << 20))):
            # A client that sends chunks sends its first in full.
            connection.send(b"%x\r\n%b\r\n" % (len(data), data) if "Transfer-Encoding" in request.headers else data)
            count -= len(data)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    finally:
        connection.close()


def _passed_on(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.lower() not in ("expect", "connection")}


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def docker_config(directory: Path, auths: Mapping[str, tuple[str, str]], **more: object) -> str:
    """A docker configuration directory with these logins (key -> user, password)."""
    directory.mkdir(parents=True, exist_ok=True)
    entries = {
        key: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()} for key, (user, password) in auths.items()
    }
    (directory / "config.json").write_text(json.dumps({"auths": entries, **more}))
    return str(directory)
