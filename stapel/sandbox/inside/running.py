"""Running commands in a merged tree: what is mounted over it, the runner, its end."""

from __future__ import annotations

import _socket
import fcntl
import os
import select
import signal
import stat
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from stapel.containers import SECRETS_DIR
from stapel.sandbox.bubblewrap import options
from stapel.sandbox.inside.network import Uplink, enter_network
from stapel.sandbox.inside.points import Points
from stapel.sandbox.wire import Gone, receive

_CANCELLED = -1


def run_commands(root: bytes, control: _socket.socket, files: Sequence[int], run: Mapping[str, Any]) -> dict[str, Any]:
    """Run `run` in the tree at `root`. `files`: stdin, stdout, stderr, the compiled seccomp rules.

    The status is that of the commands, 128 + n where signal n killed them, -1 where they were cancelled.
    """
    points = Points(root)
    try:
        for name in (b"proc", b"dev", b"sys"):
            points.check_directory(name)
        points.write_texts(run["texts"])
        for source, target, read_only in run["mounts"]:
            if source:
                points.mount(source, target, read_only=read_only)
            else:
                points.mount_text(target)
        if run["secrets"]:
            points.mount_files(os.fsencode(SECRETS_DIR.strip("/")), run["secrets"])
        if run["network"] == "host" and run["rules"] is not None:  # bubblewrap does it at its end
            points.mount(b"/sys", b"sys", read_only=True)
        return {"status": _run(root, control, files, run, _home(points))}
    finally:
        points.take_back()
        points.close()


def _run(root: bytes, control: _socket.socket, files: Sequence[int], run: Mapping[str, Any], home: bytes) -> int:
    run = {**run, "env": {b"HOME": home, **run["env"]}}
    uplink = Uplink() if run["network"] == "isolated" else None
    masked = os.umask(0o022)
    try:
        pid = _start_bubblewrap(run, files, root, uplink) if run["rules"] is None else _fork(run, None, files, root, uplink)
        if uplink is not None:
            try:
                uplink.connect(pid, run["uplink"])
            except OSError:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise
        return _wait(pid, control, uplink)
    finally:
        os.umask(masked)
        if uplink is not None:
            uplink.close()


def _start_bubblewrap(run: Mapping[str, Any], files: Sequence[int], root: bytes, uplink: Uplink | None) -> int:
    fixed = (root, files[3], run["hostname"], run["directory"], run["env"], run["capabilities"])
    arguments = options(*fixed, outer_proc=run["outer_proc"], outer_sys=run["network"] == "host")
    if not run["has_terminal"]:
        arguments.append(b"--new-session")
    listed = os.memfd_create("arguments")
    try:
        os.write(listed, b"".join(argument + b"\0" for argument in arguments))
        os.lseek(listed, 0, os.SEEK_SET)
        os.set_inheritable(listed, True)
        os.set_inheritable(files[3], True)
        argv = [b"bwrap", b"--args", b"%d" % listed, b"--", *run["argv"]]
        if run["network"] == "host" and not run["has_terminal"]:
            actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files[:3])]
            return os.posix_spawn(run["runner"], argv, {}, file_actions=actions)
        return _fork(run, argv, files, root, uplink)
    finally:
        os.close(listed)


def _fork(
    run: Mapping[str, Any], argv: Sequence[bytes] | None, files: Sequence[int], root: bytes, uplink: Uplink | None
) -> int:
    """The runner with a terminal, or in a network namespace of its own, whose devices are seen in /sys.

    Without arguments it is a runtime.
    """
    pid = os.fork()
    if pid == 0:
        try:
            for number, file in enumerate(files[:3]):
                os.dup2(file, number)
            if run["has_terminal"]:
                os.setsid()
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            if run["network"] != "host":
                enter_network(root + b"/sys")
            if uplink is not None:
                uplink.wait()
            if argv is None:
                from stapel.sandbox.inside.runtime import run_runtime

                os._exit(run_runtime(run, root))
            os.execve(run["runner"], list(argv), {})
        except BaseException as error:
            with suppress(OSError):
                os.write(2, f"conveyor: {error}\n".encode())
        finally:
            os._exit(125)
    return pid


def _wait(pid: int, control: _socket.socket, uplink: Uplink | None) -> int:
    """The end of a process and of all its descendants. It is killed when somebody asks for it or the engine is gone."""
    watched = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(watched, select.POLLIN)
    poll.register(control.fileno(), select.POLLIN)
    gone: Gone | None = None
    cancelled = False
    while True:
        ready = {file for file, _ in poll.poll()}
        if watched in ready:
            break
        cancelled = True
        poll.unregister(control.fileno())
        try:
            receive(control)
        except Gone as error:
            gone = error
        os.kill(pid, signal.SIGKILL)
    os.close(watched)
    _, raw = os.waitpid(pid, 0)
    if uplink is not None:
        uplink.close()
    if cancelled:
        # A first process that has become another user does not end with the runner: the kernel forgets it was asked to.
        for child in _children():
            os.kill(child, signal.SIGKILL)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    if gone is not None:
        raise gone
    if cancelled:
        return _CANCELLED
    return os.waitstatus_to_exitcode(raw) if os.WIFEXITED(raw) else 128 + os.WTERMSIG(raw)


def _children() -> list[int]:
    """The processes whose parent this one is, or has become."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                    found.append(int(name))
    return found


def _home(points: Points) -> bytes:
    """The home of root by the image's passwd, as engines have it; `/` where it has none."""
    try:
        file = points.open(b"etc/passwd")
    except OSError:
        return b"/"
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return b"/"
        for line in os.read(file, 1 << 20).splitlines():
            fields = line.split(b":")
            if len(fields) > 5 and fields[2] == b"0":
                return fields[5] or b"/"
    finally:
        os.close(file)
    return b"/"
