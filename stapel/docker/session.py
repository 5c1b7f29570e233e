"""The session of a BuildKit build: what the engine asks of us while it builds.

Files of the context and the Dockerfile, credentials of registries, secrets, and the SSH agent. The connection is one of
the engine's API (`POST /session`) that both sides go on with as HTTP/2, on which the engine is the one who calls.
"""

from __future__ import annotations

import hashlib
import secrets
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

from stapel.api import File
from stapel.docker.client import Clients, engine_errors
from stapel.docker.filesync import send_files
from stapel.docker.grpc_server import NOT_FOUND, Call, CallEnded, CallFailed, Handler, Server
from stapel.docker.protobuf import fields_of, write_field
from stapel.dockerfile import DockerfileBuild
from stapel.errors import StapelError
from stapel.oci.auth import credentials_for

_SERVING = write_field(1, 1)
_PIECE_BYTES = 32 << 10


def dockerfile_name(build: DockerfileBuild) -> str:
    """What the Dockerfile is called: another content, another name, or the engine might take the one that it has kept."""
    return f"Dockerfile-{hashlib.sha256(build.dockerfile).hexdigest()[:32]}"


@contextmanager
def open_session(
    clients: Clients, build: DockerfileBuild, docker_config: str | None, tmp_dir: Path
) -> Iterator[tuple[str, Server]]:
    """A session for one build, by its id; closed at the end. `Unreachable`, `StapelError`."""
    session_id = secrets.token_hex(16)
    with ExitStack() as resources:
        handlers = _handlers(build, docker_config, _open_agents(build.ssh, tmp_dir, resources))
        headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "h2c"),
            ("X-Docker-Expose-Session-Uuid", session_id),
            ("X-Docker-Expose-Session-Name", "conveyor"),
            # The engine keeps what it was sent under this, and compares sizes and times only: equal keys, equal files.
            ("X-Docker-Expose-Session-Sharedkey", build.context_key or session_id),
        ]
        headers += [("X-Docker-Expose-Session-Grpc-Method", method) for method in handlers]
        client: Any = clients.make()
        resources.callback(client.close)
        with engine_errors("opening a session for a build"):
            answer = _open_connection(client, headers)
        resources.callback(answer.close)  # what it is made of goes with it, so it is kept until here
        server = Server(*_stream_of(answer), handlers)
        resources.callback(server.close)
        server.start()
        yield session_id, server


def _open_agents(ssh: Mapping[str, Sequence[Path]], tmp_dir: Path, resources: ExitStack) -> dict[str, Path]:
    """A socket that lists and signs, and no more, for each id."""
    if not ssh:
        return {}
    from stapel.ssh_agent import serve_filtered, start_agent

    sockets = {}
    for name, paths in ssh.items():
        agent = paths[0] if len(paths) == 1 and paths[0].is_socket() else None
        if agent is None:
            agent = resources.enter_context(start_agent(paths, tmp_dir))
        sockets[name] = resources.enter_context(serve_filtered(agent, tmp_dir))
    return sockets


def _open_connection(client: Any, headers: list[tuple[str, str]]) -> Any:  # noqa: ANN401 -- the SDK has no types
    """The answer of an engine that speaks HTTP/2 on this connection from now on."""
    from requests import Request
    from urllib3 import HTTPHeaderDict

    prepared = client.prepare_request(Request("POST", client._url("/session")))
    # A header may stand more than once, which requests itself does not have.
    prepared.headers = HTTPHeaderDict([*prepared.headers.items(), *headers])
    answer = client.send(prepared, stream=True, timeout=client.timeout)
    if answer.status_code != 101:
        raise StapelError(
            f"the Docker Engine opened no session for a build: it answered {answer.status_code} {answer.reason}",
            hint="a Docker Engine of 19.03 or newer is needed, with its BuildKit",
        )
    return answer


def _stream_of(answer: Any) -> tuple[BinaryIO, socket.socket]:  # noqa: ANN401 -- the SDK has no types
    """Where to read from, for what has come already, and the socket."""
    reading = answer.raw._fp.fp
    connection = getattr(reading.raw, "_sock", None)
    if not isinstance(connection, socket.socket):
        raise StapelError("a Dockerfile cannot be built over this connection", hint="name the engine by unix:// or tcp://")
    return cast(BinaryIO, reading), connection


def _handlers(build: DockerfileBuild, docker_config: str | None, agents: Mapping[str, Path]) -> dict[str, Handler]:
    return {
        "/grpc.health.v1.Health/Check": lambda call: call.send(_SERVING),
        "/moby.filesync.v1.FileSync/DiffCopy": partial(_send_directory, build),
        "/moby.filesync.v1.Auth/Credentials": partial(_send_credentials, docker_config),
        "/moby.buildkit.secrets.v1.Secrets/GetSecret": partial(_send_secret, build.secrets),
        "/moby.sshforward.v1.SSH/CheckAgent": partial(_check_agent, agents),
        "/moby.sshforward.v1.SSH/ForwardAgent": partial(_forward_agent, agents),
    }


def _send_directory(build: DockerfileBuild, call: Call) -> None:
    """The context, or the Dockerfile. What the engine leaves out or asks for by patterns is not ours to know."""
    name = call.metadata.get("dir-name", [""])[0]
    if name == "dockerfile":
        path = dockerfile_name(build).encode()
        content = File(path, "file", 0o644, len(build.dockerfile), open=lambda: BytesIO(build.dockerfile))
        send_files(call, [content], build.mtime_s)
    elif name == "context":
        # Before the context itself it may look for this file alone.
        is_asked_for = call.metadata.get("followpaths") == [".dockerignore"]
        files = [file for file in build.files if file.path == b".dockerignore"] if is_asked_for else build.files
        send_files(call, files, build.mtime_s)
    else:
        raise CallFailed(NOT_FOUND, f"there is no directory {name}")


def _send_credentials(docker_config: str | None, call: Call) -> None:
    found = credentials_for(_asked(call), docker_config)
    if found is None:
        call.send(b"")
    elif found.identity_token:
        call.send(write_field(2, found.identity_token))
    else:
        call.send(write_field(1, found.username) + write_field(2, found.password))


def _send_secret(values: Mapping[str, bytes], call: Call) -> None:
    name = _asked(call)
    if name not in values:
        raise CallFailed(NOT_FOUND, f"secret {name} is not configured")
    call.send(write_field(1, values[name]))


def _check_agent(sockets: Mapping[str, Path], call: Call) -> None:
    name = _asked(call) or "default"
    if name not in sockets:
        raise CallFailed(NOT_FOUND, f"there is no SSH agent {name}")
    call.send(b"")


def _forward_agent(sockets: Mapping[str, Path], call: Call) -> None:
    """Bytes go both ways between a step and the agent, until one of them ends."""
    name = call.metadata.get("buildkit.ssh.id", ["default"])[0] or "default"
    if name not in sockets:
        raise CallFailed(NOT_FOUND, f"there is no SSH agent {name}")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.connect(str(sockets[name]))
        answering = threading.Thread(target=_pass_answers, args=(agent, call), name="buildkit-ssh", daemon=True)
        answering.start()
        try:
            for message in call.messages():
                agent.sendall(_field(message, 1))
        finally:
            with suppress(OSError):
                agent.shutdown(socket.SHUT_RDWR)
            answering.join()


def _pass_answers(agent: socket.socket, call: Call) -> None:
    with suppress(OSError, CallEnded):
        while data := agent.recv(_PIECE_BYTES):
            call.send(write_field(1, data))


def _asked(call: Call) -> str:
    """The first text of the only message: a host, or an id."""
    return _field(next(call.messages(), b""), 1).decode("utf-8", "replace")


def _field(message: bytes, number: int) -> bytes:
    return next((value for field, value in fields_of(message) if field == number and isinstance(value, bytes)), b"")
