"""SSH agents for build containers: finding the user's, starting one for given keys, and the filter that steps talk to.

A step never sees an agent itself. It gets a socket of ours that lists keys and signs with them; adding, removing, locking
and extensions are refused, so no step can change what the next one, or the user, has in the agent.
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from sys import audit as trace
from typing import IO

from msgspec import Struct, field

from stapel.errors import StapelError
from stapel.ssh_wire import (
    FAILURE,
    IDENTITIES_ANSWER,
    MAX_PATH_BYTES,
    REQUEST_IDENTITIES,
    SIGN_REQUEST,
    BadFrame,
    connect,
    read_frame,
    write_frame,
)

_PASSED_ON = (REQUEST_IDENTITIES, SIGN_REQUEST)
_REFUSED = bytes([FAILURE])
_LIST_TIMEOUT_S = 2.0
_START_TIMEOUT_S = 10.0
_START_PAUSE_S = 0.005
_PAUSE_S = 0.05  # after an accept that failed, for want of descriptors
_CONNECTIONS = 64
_SOCKET = "agent"
SHORT_DIR = Path("/tmp")  # noqa: S108 -- mkdtemp makes it 0700
# The shell is told of our end by the end of its input, at once even on SIGKILL, and takes the agent along. Its own output is
# closed, so that the end of the output is the end of the agent. (PR_SET_PDEATHSIG would follow a thread of ours, and is lost
# on programs with a set-group-id bit, which ssh-agent has on some systems.)
_WATCH = '"$0" -D -a "$1" 2>"$2" & exec >&-; read -r _; kill $!; wait $!'


def find_agent(env: Mapping[str, str]) -> Path | None:
    """The agent that `SSH_AUTH_SOCK` names, None where nothing there lists keys within two seconds."""
    named = env.get("SSH_AUTH_SOCK", "")
    if not named:
        return None
    path = Path(named).absolute()
    try:
        with connect(path, _LIST_TIMEOUT_S) as agent:
            write_frame(agent, bytes([REQUEST_IDENTITIES]))
            answer = read_frame(agent)
    except (OSError, BadFrame):
        return None
    return path if answer is not None and answer[0] == IDENTITIES_ANSWER else None


@contextmanager
def start_agent(keys: Sequence[Path], directory: Path) -> Iterator[Path]:
    """The socket of an agent of our own that holds `keys`; it ends with the context, and with this process however it goes.

    Nobody is asked for a passphrase. `StapelError` names a key that is missing, unreadable, protected by a passphrase or no
    private key.
    """
    with _private_directory(directory) as private:
        path, said = private / _SOCKET, private / "stderr"
        with subprocess.Popen(
            ["/bin/sh", "-c", _WATCH, _program("ssh-agent"), str(path), str(said)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as shell:
            assert shell.stdin is not None and shell.stdout is not None
            try:
                trace("agent.before-start")
                _await_agent(path, shell.stdout, said)
                trace("agent.after-start")
                for key in keys:
                    _add_key(key, path)
                yield path
            finally:
                shell.stdin.close()


def _await_agent(path: Path, output: IO[bytes], said: Path) -> None:
    os.set_blocking(output.fileno(), False)
    deadline = time.monotonic() + _START_TIMEOUT_S
    while find_agent({"SSH_AUTH_SOCK": str(path)}) is None:
        if output.read(4096) == b"" or time.monotonic() > deadline:
            why = said.read_text(errors="replace").strip() if said.exists() else ""
            raise StapelError(f"ssh-agent does not start: {why}", hint="start one yourself and set SSH_AUTH_SOCK")
        time.sleep(_START_PAUSE_S)


def _add_key(key: Path, agent: Path) -> None:
    try:
        content = key.read_bytes()
        mode = key.stat().st_mode
    except OSError as error:
        raise StapelError(f"cannot read the SSH key {key}: {error.strerror}", hint="check the path of --ssh-key") from error
    # By name ssh-add finds the certificate beside a key; but it refuses a file that others may read, as mounted secrets of
    # CI systems often are: of those it is given the content.
    by_name = stat.S_ISREG(mode) and not mode & 0o077
    done = subprocess.run(
        [_program("ssh-add"), "-q", str(key.absolute()) if by_name else "-"],
        input=b"" if by_name else content,
        capture_output=True,
        check=False,
        start_new_session=True,  # without a terminal there is nobody to prompt
        env=_quiet_environment(agent),
    )
    if done.returncode == 0:
        return
    said = done.stderr.decode(errors="replace").strip()
    if "passphrase" in said.lower():
        raise StapelError(
            f"the SSH key {key} is protected by a passphrase",
            hint="add it to an agent of yours with ssh-add and set SSH_AUTH_SOCK, or take a key without a passphrase",
        )
    if content.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        raise StapelError(f"the SSH key {key} is a public key", hint="give the private key, the file without .pub")
    raise StapelError(f"ssh-add does not take the SSH key {key}: {said}", hint="give a private key of OpenSSH or PEM")


def _quiet_environment(agent: Path) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "SSH_ASKPASS")}
    return {**environment, "LC_ALL": "C", "SSH_ASKPASS_REQUIRE": "never", "SSH_AUTH_SOCK": str(agent)}


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise StapelError(f"{name} is not found", hint="install openssh-client")
    return found


@contextmanager
def _private_directory(directory: Path) -> Iterator[Path]:
    """A new directory that only we enter: in `directory`, or where a socket's name would be too long there, elsewhere."""
    own = directory.absolute()
    if len(os.fsencode(own)) + len(f"/ssh-01234567/{_SOCKET}") <= MAX_PATH_BYTES:
        place, prefix = own, "ssh-"
    else:
        # The name of a run's directory says which run's it is: what a killed one leaves here is found by it.
        prefix = f"{own.name[:60]}-ssh-"
        room = MAX_PATH_BYTES - len(os.fsencode(f"/{prefix}01234567/{_SOCKET}"))
        place = next(each for each in (Path(tempfile.gettempdir()), SHORT_DIR) if len(os.fsencode(each)) <= room)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place, ignore_cleanup_errors=True) as private:
        yield Path(private)


class _Filter(Struct):
    """The open connections of a filtering socket; `closed` once no more are taken."""

    agent: Path
    free: threading.Semaphore
    lock: threading.Lock = field(default_factory=threading.Lock)
    open: set[socket.socket] = field(default_factory=set)
    closed: bool = False

    def take(self, connection: socket.socket) -> bool:
        """Keep a connection to be shut down at the end; False where the end has come."""
        with self.lock:
            if not self.closed:
                self.open.add(connection)
            return not self.closed

    def drop(self, connection: socket.socket) -> None:
        """Close a connection and forget it."""
        with self.lock:
            self.open.discard(connection)
        connection.close()

    def close(self) -> None:
        """Wake everybody who waits on a connection; they see its end."""
        with self.lock:
            self.closed = True
            self.free.release()
            for connection in self.open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def serve_filtered(agent_socket: Path, directory: Path) -> Iterator[Path]:
    """A socket that passes on listing and signing to the agent and answers all else with a failure, until the context ends.

    Any user of a build container may use it; on the host nobody else gets at it, for its directory is ours alone. An agent
    that does not answer is a failure for who asks, never an error here.
    """
    with _private_directory(directory) as private, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path = private / _SOCKET
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(_CONNECTIONS)
        served = _Filter(agent_socket, threading.Semaphore(_CONNECTIONS))
        accepting = threading.Thread(target=_accept, args=(listener, served), name="ssh filter", daemon=True)
        accepting.start()
        trace("proxy.after-listen")
        try:
            yield path
        finally:
            served.close()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _accept(listener: socket.socket, served: _Filter) -> None:
    while not served.closed:
        served.free.acquire()
        try:
            connection, _ = listener.accept()
        except OSError:
            served.free.release()
            time.sleep(_PAUSE_S)
            continue
        try:
            if not served.take(connection):
                raise RuntimeError("closed")
            threading.Thread(target=_serve, args=(connection, served), name="ssh filter", daemon=True).start()
        except RuntimeError:
            served.drop(connection)
            served.free.release()


def _serve(connection: socket.socket, served: _Filter) -> None:
    upstream: socket.socket | None = None
    try:
        while request := read_frame(connection):
            answer: bytes | None = None
            if request[0] in _PASSED_ON:
                upstream = upstream or _reach(served)
                answer = _ask(upstream, request) if upstream is not None else None
                if answer is None and upstream is not None:
                    served.drop(upstream)
                    upstream = None
            write_frame(connection, answer or _REFUSED)
    except (OSError, BadFrame):
        pass
    finally:
        if upstream is not None:
            served.drop(upstream)
        served.drop(connection)
        served.free.release()


def _reach(served: _Filter) -> socket.socket | None:
    try:
        upstream = connect(served.agent)
    except OSError:
        return None
    if served.take(upstream):
        return upstream
    upstream.close()
    return None


def _ask(agent: socket.socket, request: bytes) -> bytes | None:
    """The agent's answer, None where it gives none. Without a time limit: a person may have to confirm."""
    try:
        write_frame(agent, request)
        return read_frame(agent)
    except (OSError, BadFrame):
        return None
