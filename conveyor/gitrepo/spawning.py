"""Starting processes of git that run beside us. (`subprocess` would take longer to import than git to answer.)"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import IO, Literal

from conveyor.errors import GitError
from conveyor.gitrepo.invocation import SETTINGS

_PIPE_BYTES = 1 << 18
_BUFFER_BYTES = 1 << 16


class Process:
    """A process of git, for one thread at a time. `stdin` is its pipe, where it was asked for one; `stdout` is another."""

    __slots__ = ("_status", "pid", "stdin", "stdout")

    def __init__(self, pid: int, stdin: IO[bytes] | None, stdout: IO[bytes]) -> None:
        self.stdin = stdin
        self.stdout = stdout
        self.pid = pid
        self._status: int | None = None

    def wait(self) -> int:
        """Its exit status when it has ended; of a signal the number, negative."""
        if self._status is None:
            try:
                self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            except ChildProcessError:  # whoever started us has the kernel forget those that end
                self._status = 0
        return self._status

    def kill(self) -> None:
        """End it, and wait until it has ended."""
        if self._status is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        self.wait()


def start_git(
    arguments: Sequence[str | bytes],
    environment: Mapping[str, str],
    *,
    stdin: IO[bytes] | Literal["pipe"] | None = None,
    stderr: IO[bytes] | None = None,
) -> Process:
    """Start git in a process group of its own; None is nothing to read, or nobody who reads. `GitError` (`git_missing`)."""
    with ExitStack() as theirs, ExitStack() as ours:
        questions: IO[bytes] | None = None
        if stdin == "pipe":
            asked, asking = _make_pipe()
            theirs.callback(os.close, asked)
            questions = ours.enter_context(os.fdopen(asking, "wb", _BUFFER_BYTES))
        else:
            asked = stdin.fileno() if stdin is not None else -1
        answer, answering = _make_pipe()
        theirs.callback(os.close, answering)
        answers = ours.enter_context(os.fdopen(answer, "rb", _BUFFER_BYTES))
        files = (_file(0, asked, os.O_RDONLY), _file(1, answering), _file(2, stderr.fileno() if stderr is not None else -1))
        command = ["git", *SETTINGS, *arguments]
        try:
            pid = os.posix_spawnp("git", command, environment, file_actions=files, setpgroup=0, setsigdef=(signal.SIGPIPE,))
        except FileNotFoundError as error:
            raise git_missing() from error
        ours.pop_all()
    return Process(pid, questions, answers)


def git_missing() -> GitError:
    """The error where there is no git."""
    return GitError("git is not found", reason="git_missing", hint="install git, or have it in PATH")


def _make_pipe() -> tuple[int, int]:
    read, write = os.pipe2(os.O_CLOEXEC)
    with suppress(OSError):  # this user has many pipes
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return read, write


def _file(number: int, ours: int, mode: int = os.O_WRONLY) -> tuple[int, int, int] | tuple[int, int, str, int, int]:
    """What becomes a descriptor of the process: one of ours, or nothing where it is negative."""
    if ours < 0:
        return os.POSIX_SPAWN_OPEN, number, os.devnull, mode, 0
    return os.POSIX_SPAWN_DUP2, ours, number
