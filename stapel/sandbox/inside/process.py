"""The runner of build containers as a process: its start, its end, and that of all that it has started."""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import signal
import termios
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from stapel.sandbox.bubblewrap import options, variables
from stapel.sandbox.inside.network import Uplink, enter_network
from stapel.sandbox.wire import receive

OnNext = Callable[..., bool]  # files and arguments of commands that will follow; whether they are launched

_CANCELLED = -1
_UMASK = 0o022
# Python ignores some, and so may whoever has started it: what the first process of a container ignores, all others do.
_SIGNALS = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}


class Process:
    """The runner of `run`. `files`: stdin, stdout, stderr, the compiled seccomp rules.

    `launch`, `begin`, `wait`; then, however far it came, `end`. The commands of one that is `held` begin with `go`.
    """

    def __init__(self, run: Mapping[str, Any], files: Sequence[int], *, held: bool = False) -> None:
        self._run = run
        self._files = files
        self._pid = 0
        self._has_orphans = self._is_followed = False
        self._uplink = Uplink() if run["network"] == "isolated" else None
        self._bubblewrap = _Bubblewrap(files[3], held=held) if run["rules"] is None else None

    def launch(self) -> None:
        """Start the runner, where it needs nothing of the tree yet: it takes as long to begin as the mounts do."""
        run = self._run
        if self._bubblewrap is not None and run["can_wait"]:
            actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(self._files[:3])]
            how: dict[str, Any] = {"file_actions": actions, "setsigdef": _SIGNALS, "setsigmask": ()}
            masked = os.umask(_UMASK)
            try:
                with self._bubblewrap.starting(run["argv"]) as argv:
                    self._pid = os.posix_spawn(run["runner"], argv, {}, **how)
            finally:
                os.umask(masked)

    def begin(self, root: bytes, environment: Mapping[bytes, bytes]) -> None:
        """Let it go on, in the tree at `root` with all its mounts."""
        run = {**self._run, "env": environment}
        if not self._pid:
            self._pid = self._fork(run, root)
            if self._bubblewrap is not None:
                self._bubblewrap.close_theirs()
            if self._uplink is not None:
                self._uplink.connect(self._pid, run["uplink"])
        if self._bubblewrap is not None:
            fixed = (root, self._files[3], run["hostname"], run["directory"], run["capabilities"])
            told = options(*fixed, outer_proc=run["outer_proc"], outer_sys=run["network"] == "host")
            session = [] if run["has_terminal"] else [b"--new-session"]
            self._bubblewrap.tell([*told, *session], variables(environment))

    def go(self) -> None:
        """Let held commands begin."""
        assert self._bubblewrap is not None, "these are not held"
        self._bubblewrap.go()

    def wait(self, control: _socket.socket, on_next: OnNext) -> int:
        """Wait for the end of the commands, or for somebody who wants it.

        Their status: 128 + n where signal n killed them, -1 where they are to be ended. `on_next` is given what comes
        meanwhile of commands that will follow, and says whether it has launched them. `Gone`.
        """
        watched = os.pidfd_open(self._pid)
        try:
            poll = select.poll()
            poll.register(watched, select.POLLIN)
            poll.register(control.fileno(), select.POLLIN)
            while all(file != watched for file, _ in poll.poll()):
                (word, arguments), files = receive(control)
                if word != "next":
                    return _CANCELLED
                self._is_followed = on_next(files, **arguments)
        finally:
            os.close(watched)
        _, raw = os.waitpid(self._pid, 0)
        self._pid = 0
        self._has_orphans = os.WIFSIGNALED(raw)
        return 128 + os.WTERMSIG(raw) if self._has_orphans else os.WEXITSTATUS(raw)

    def end(self, *, beside: bool = False) -> None:
        """End all that runs. `beside`: other commands run. Where commands follow, orphans are theirs to end."""
        uplink, self._uplink = self._uplink, None
        if uplink is not None:
            uplink.close()
        pid, self._pid = self._pid, 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if self._bubblewrap is not None:  # not before: it goes on where nobody can tell it anything any more
            self._bubblewrap.close()
        if beside:
            return
        if pid or self._has_orphans:
            # A first process that has become another user does not end with the runner: the kernel forgets it was asked to.
            for child in _children():
                os.kill(child, signal.SIGKILL)
        if not self._is_followed:
            with suppress(ChildProcessError):
                while True:
                    os.waitpid(-1, 0)

    def _fork(self, run: Mapping[str, Any], root: bytes) -> int:
        """The runner with a terminal, or in a network namespace of its own, whose devices are seen in /sys; or a runtime."""
        pid = os.fork()
        if pid:
            return pid
        try:
            os.umask(_UMASK)
            for ignored in _SIGNALS:
                signal.signal(ignored, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for number, file in enumerate(self._files[:3]):
                os.dup2(file, number)
            if run["has_terminal"]:
                os.setsid()
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            if run["network"] != "host":
                enter_network(root + b"/sys")
            if self._uplink is not None:
                self._uplink.wait()
            if self._bubblewrap is None:
                from stapel.sandbox.inside.runtime import run_runtime

                os._exit(run_runtime(run, root))
            with self._bubblewrap.starting(run["argv"]) as argv:
                os.execve(run["runner"], argv, {})
        except BaseException as error:
            with suppress(OSError):
                os.write(2, f"conveyor: {error}\n".encode())
        finally:
            os._exit(125)


class _Bubblewrap:
    """What one that is started is told later: its options, and, where it is `held`, that the commands may begin."""

    def __init__(self, rules: int, *, held: bool) -> None:
        self._rules = rules
        self._options = os.pipe()
        self._gate = os.pipe() if held else None
        self._ours = [self._options[1], *([self._gate[1]] if self._gate is not None else [])]
        self._theirs = [self._options[0], *([self._gate[0]] if self._gate is not None else [])]

    @contextmanager
    def starting(self, command: Sequence[bytes]) -> Iterator[list[bytes]]:
        """The command line, for one process that is started meanwhile."""
        for file in (self._rules, *self._theirs):
            os.set_inheritable(file, True)
        try:
            yield [b"bwrap", b"--args", b"%d" % self._options[0], b"--", *command]
        finally:
            os.set_inheritable(self._rules, False)
            self.close_theirs()

    def close_theirs(self) -> None:
        """It has what it reads from."""
        while self._theirs:
            os.close(self._theirs.pop())

    def tell(self, options: Sequence[bytes], environment: Sequence[bytes]) -> None:
        """Let it go on to the commands.

        Where this worker is killed meanwhile it has no options, and finds no program in an empty tree; or, as a pipe takes
        them at once, all of them, and ends with us.
        """
        if self._gate is not None:
            options = [*options, b"--block-fd", b"%d" % self._gate[0]]
        self._write(self._options[1], b"".join(option + b"\0" for option in options))
        self._write(self._options[1], b"".join(option + b"\0" for option in environment))
        self._ours.remove(self._options[1])
        os.close(self._options[1])

    def go(self) -> None:
        """Let the commands begin."""
        assert self._gate is not None, "it is not held"
        self._write(self._gate[1], b".")

    def close(self) -> None:
        """It has ended."""
        self.close_theirs()
        while self._ours:
            os.close(self._ours.pop())

    def _write(self, pipe: int, data: bytes) -> None:
        with suppress(BrokenPipeError):  # it has ended, and its status says how
            while data:
                data = data[os.write(pipe, data) :]


def _children() -> list[int]:
    """The processes whose parent this one is, or has become."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                    found.append(int(name))
    return found
