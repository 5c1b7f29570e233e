"""Git repositories served on this machine as the world serves them: by HTTP with passwords, by SSH with keys.

The HTTP server can misbehave as it is told. Every server ends with its context.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

from tests.servers import _wait_for_port, free_port


@dataclass
class GitHttp:
    """Repositories below a directory by HTTP. `account`: who may read; `cut`: answers to a fetch end after so many bytes.

    `on_fetch` is called before a pack is sent; `elsewhere` redirects everything to another server.
    """

    host: str
    account: tuple[str, str] | None = None
    cut: int | None = None
    elsewhere: str = ""
    on_fetch: Callable[[], None] = lambda: None
    fetches: int = 0
    lfs: dict[str, bytes] = field(default_factory=dict)  # contents by their sha256, for the LFS API
    lfs_given: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    authorizations: set[str] = field(default_factory=set)

    def url(self, name: str, user_info: str = "") -> str:
        return f"http://{user_info}{'@' if user_info else ''}{self.host}/{quote(name)}"


@contextlib.contextmanager
def git_http(root: Path, account: tuple[str, str] | None = None) -> Iterator[GitHttp]:
    """`git http-backend` over the repositories below `root`."""
    served = GitHttp("", account)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            served.seen.append(f"{self.command} {self.path}")
            authorization = self.headers.get("Authorization", "")
            if authorization:
                served.authorizations.add(authorization)
            body = self.read_body()
            if served.elsewhere:
                self.reply("302 Found", [f"Location: {served.elsewhere}{self.path}"], b"")
            elif served.account is not None and authorization != basic(*served.account):
                self.reply("401 Unauthorized", ['WWW-Authenticate: Basic realm="git"'], b"no")
            elif self.path.endswith("/info/lfs/objects/batch"):
                self.tell_lfs(json.loads(body)["objects"])
            elif self.path.startswith("/lfs/"):
                oid = self.path.removeprefix("/lfs/")
                served.lfs_given.append(oid)
                self.reply("200 OK", ["Content-Type: application/octet-stream"], served.lfs[oid])
            else:
                self.ask_git(body)

        def ask_git(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            environment = {
                **os.environ,
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": unquote(path),
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                "REMOTE_USER": "reader",
            }
            ran = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True)
            head, _, content = ran.stdout.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            status = next((line[8:] for line in lines if line.startswith("Status: ")), "200 OK")
            is_fetch = b"PACK" in content
            if is_fetch:
                served.fetches += 1
                served.on_fetch()
            self.reply(
                status, [line for line in lines if not line.startswith("Status")], content, served.cut if is_fetch else None
            )

        def tell_lfs(self, asked: list[dict]) -> None:
            objects = []
            for item in asked:
                link = {"href": f"http://{served.host}/lfs/{item['oid']}", "header": self.lfs_headers()}
                known = (
                    {"actions": {"download": link}}
                    if item["oid"] in served.lfs
                    else {"error": {"code": 404, "message": "none"}}
                )
                objects.append({**item, **known})
            answer = json.dumps({"transfer": "basic", "objects": objects}).encode()
            self.reply("200 OK", ["Content-Type: application/vnd.git-lfs+json"], answer)

        def lfs_headers(self) -> dict[str, str]:
            return {"Authorization": basic(*served.account)} if served.account is not None else {}

        def read_body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def reply(self, status: str, headers: list[str], content: bytes, cut: int | None = None) -> None:
            head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(content)}", "", ""]
            self.wfile.write("\r\n".join(head).encode() + content[:cut])
            self.close_connection = cut is not None

        do_GET = do_POST = answer

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # clients that go away are what is tested

    server = Server(("127.0.0.1", 0), Handler)
    served.host = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass(frozen=True)
class GitSsh:
    """An SSH server that lets one key in. `command` is what GIT_SSH_COMMAND is to be: a client that trusts this server."""

    port: int
    key: Path
    command: str

    def url(self, path: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"


def find_sshd() -> str | None:
    """The server's program, where it is installed."""
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin")


@contextlib.contextmanager
def git_ssh(tmp_dir: Path) -> Iterator[GitSsh]:
    """sshd on 127.0.0.1, for the user who tests."""
    tmp_dir.mkdir(parents=True)
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_dir / name)]
        subprocess.run(command, check=True, capture_output=True)
    (tmp_dir / "authorized").write_text((tmp_dir / "user.pub").read_text())
    port = free_port()
    (tmp_dir / "known").write_text(f"[127.0.0.1]:{port} {(tmp_dir / 'host.pub').read_text()}")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": tmp_dir / "host",
        "AuthorizedKeysFile": tmp_dir / "authorized",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "yes",
        "StrictModes": "no",
        "UsePAM": "no",
        "UseDNS": "no",
        "PidFile": "none",
    }
    (tmp_dir / "config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # it insists on it
    program = find_sshd()
    assert program is not None
    with (tmp_dir / "log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", str(tmp_dir / "config")], stdout=log, stderr=log)
    try:
        _wait_for_port(port, process, tmp_dir / "log")
        command = f"ssh -F none -o UserKnownHostsFile={tmp_dir / 'known'} -o StrictHostKeyChecking=yes"
        yield GitSsh(port, tmp_dir / "user", command)
    finally:
        process.terminate()
        process.wait()
