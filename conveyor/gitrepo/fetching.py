"""Asking a remote repository: git's own client, without a terminal, with credentials that no argument shows.

A program that says nothing for a while is ended, whatever it waits for: a server that has gone away must not hold a build.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import Address, hide_secrets
from conveyor.gitrepo.invocation import SETTINGS, git_environment

STALLED_S = 300.0  # without a word of progress
_LOOK_S = 1.0
_KEPT_BYTES = 1 << 16  # of complaints
_SHOWN_LINES = 12
# Answers `get` and keeps nothing; the helpers of the user are not asked beside it.
_HELPER = (
    '!f() { test "$1" = get || exit 0; '
    'printf "username=%s\\npassword=%s\\n" "$CONVEYOR_GIT_USERNAME" "$CONVEYOR_GIT_PASSWORD"; }; f'
)
_PROGRESS = re.compile(r"(remote: )?[A-Z][a-z]+ing[a-z ]*( objects| deltas)?:? +\d")


class Said(Struct, frozen=True):
    """How a program of git ended. `complaints` hold no secrets."""

    status: int
    output: bytes
    complaints: str

    @property
    def is_refusal(self) -> bool:
        """Whether the server does not give an object by its name alone."""
        return bool(re.search(r"unadvertised object|not our ref|couldn't find remote ref", self.complaints))


def ask_remote(
    address: Address,
    arguments: Sequence[str],
    *,
    git_dir: str = "",
    feed: bytes = b"",
    environment: Mapping[str, str] = {},
    timeout_s: float = STALLED_S,
    keeps_output: bool = True,
    is_stopped: Callable[[], bool] | None = None,
) -> Said:
    """Run git against the remote `origin`, which is `address`.

    `GitError` (`git_missing`, `remote_password`, `remote_stalled`, `stopped`).
    `is_stopped` is asked now and then; once it is true git is ended.
    """
    if address.credentials is not None and address.credentials.problem:
        raise GitError(f"{address.url} cannot be asked: {address.credentials.problem}", reason="remote_password")
    command = [
        "git",
        *SETTINGS,
        *(["-c", f"remote.origin.url={address.url}"] if address.url else ()),
        *_credentials(address),
    ]
    command += [f"--git-dir={git_dir}"] if git_dir else []
    variables = git_environment({"GIT_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", **environment})
    if not address.is_trusted:
        variables["GIT_PROTOCOL_FROM_USER"] = "0"
    if address.credentials is not None:
        variables["CONVEYOR_GIT_USERNAME"] = address.credentials.username
        variables["CONVEYOR_GIT_PASSWORD"] = address.credentials.password
    elif "GIT_ASKPASS" in os.environ:
        variables["GIT_ASKPASS"] = os.environ["GIT_ASKPASS"]
    try:
        process = subprocess.Popen(
            [*command, *arguments],
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE if keeps_output else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=variables,
            cwd="/",  # a path of this machine is absolute, and no repository around us has a say
            start_new_session=True,  # without a terminal that anything could ask at
        )
    except FileNotFoundError as error:
        raise GitError("git is not found", reason="git_missing", hint="install git, or have it in PATH") from error
    with process:
        try:
            output, complaints = _listen(process, feed, timeout_s, is_stopped)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, TimeoutError):
                raise GitError(
                    f"{address.url} has said nothing for {timeout_s:.0f} seconds",
                    reason="remote_stalled",
                    hint="is the server reachable from here? try `git ls-remote " + address.url + "`",
                ) from None
            raise
    return Said(process.returncode, output, _shorten(hide_secrets(complaints, address.credentials)))


def _credentials(address: Address) -> list[str]:
    if address.credentials is None:
        return []
    # For this server only: one that it leads us to gets nothing.
    place = re.match(r"[a-zA-Z]+://[^/]*", address.url)
    scope = f"credential.{place[0]}.helper" if place else "credential.helper"
    return ["-c", "credential.helper=", "-c", f"{scope}={_HELPER}"]


def _listen(
    process: subprocess.Popen[bytes], feed: bytes, timeout_s: float, is_stopped: Callable[[], bool] | None
) -> tuple[bytes, str]:
    """Output and the end of the complaints; `TimeoutError` where neither has come for so long."""
    assert process.stderr is not None
    output = bytearray()
    complaints = bytearray()
    with selectors.DefaultSelector() as selector:
        if process.stdout is not None:
            selector.register(process.stdout, selectors.EVENT_READ, output)
        selector.register(process.stderr, selectors.EVENT_READ, complaints)
        left = memoryview(feed)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        last_s = time.monotonic()
        while selector.get_map():
            ready = selector.select(min(_LOOK_S, timeout_s))
            if is_stopped is not None and is_stopped():
                raise GitError("fetching was stopped", reason="stopped")
            if not ready:
                # A program that git has left behind (ssh's own master) may hold our end open for hours.
                if process.poll() is not None:
                    break
                if time.monotonic() - last_s > timeout_s:
                    raise TimeoutError
                continue
            last_s = time.monotonic()
            for key, _ in ready:
                if key.data is None:
                    left = _write(key.fd, left)
                    if not left:
                        assert process.stdin is not None
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                key.data.extend(data)
            del complaints[:-_KEPT_BYTES]
    process.wait()
    return bytes(output), complaints.decode("utf-8", "backslashreplace")


def _write(descriptor: int, data: memoryview) -> memoryview:
    try:
        return data[os.write(descriptor, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return data[:0]


def _shorten(complaints: str) -> str:
    """The last lines, progress left out: a line that ends with a carriage return is replaced by the next."""
    lines = [line.rpartition("\r")[2].rstrip() for line in complaints.replace("\r\n", "\n").split("\n")]
    kept = [line for line in lines if line and not _PROGRESS.match(line)]
    return "\n".join(kept[-_SHOWN_LINES:])
