"""Running commands in a merged tree: what is mounted over it, the runner, its end."""

from __future__ import annotations

import _socket
import errno
import os
import select
import signal
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from stapel.sandbox.bubblewrap import options
from stapel.sandbox.inside.syscalls import bind, open_inside
from stapel.sandbox.wire import Gone, receive

_CANCELLED = -1


class NoMountPoint(Exception):
    """The image has no place where something must be mounted."""


def run_commands(root: bytes, control: _socket.socket, files: Sequence[int], run: Mapping[str, Any]) -> dict[str, Any]:
    """Run `run` in the tree at `root`. `files`: stdin, stdout, stderr, the compiled seccomp rules.

    The status is that of the commands, 128 + n where signal n killed them, -1 where they were cancelled.
    """
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in (b"proc", b"dev", b"sys"):
            _check_directory(root_fd, name)
        for source, target, read_only, optional in run["mounts"]:
            try:
                _mount(root_fd, source, target, read_only=read_only)
            except NoMountPoint:
                if not optional:
                    raise
        home = _home(root_fd)
        if run["network"] == "host":
            _mount(root_fd, b"/sys", b"sys", read_only=True)
    finally:
        os.close(root_fd)
    environment = {b"HOME": home, **run["env"]}
    arguments = options(root, files[3], run["hostname"], environment, run["capabilities"])
    masked = os.umask(0o022)
    try:
        pid = _start(run, arguments, files, root)
    finally:
        os.umask(masked)
    status = _wait(pid, control)
    return {"status": status}


def _start(run: Mapping[str, Any], arguments: Sequence[bytes], files: Sequence[int], root: bytes) -> int:
    listed = os.memfd_create("arguments")
    try:
        os.write(listed, b"".join(argument + b"\0" for argument in arguments))
        os.lseek(listed, 0, os.SEEK_SET)
        os.set_inheritable(listed, True)
        os.set_inheritable(files[3], True)
        argv = [b"bwrap", b"--args", b"%d" % listed, b"--", *run["argv"]]
        if run["network"] == "host":
            actions = [(os.POSIX_SPAWN_DUP2, file, number) for number, file in enumerate(files[:3])]
            return os.posix_spawn(run["runner"], argv, {}, file_actions=actions)
        return _fork(run, argv, files, root)
    finally:
        os.close(listed)


def _fork(run: Mapping[str, Any], argv: Sequence[bytes], files: Sequence[int], root: bytes) -> int:
    """The runner in a network namespace of its own, whose devices are seen in /sys."""
    from stapel.sandbox.inside.network import enter_network

    pid = os.fork()
    if pid == 0:
        try:
            for number, file in enumerate(files[:3]):
                os.dup2(file, number)
            enter_network(root + b"/sys")
            os.execve(run["runner"], list(argv), {})
        except BaseException as error:
            with suppress(OSError):
                os.write(2, f"conveyor: {error}\n".encode())
        finally:
            os._exit(125)
    return pid


def _wait(pid: int, control: _socket.socket) -> int:
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
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    if gone is not None:
        raise gone
    if cancelled:
        return _CANCELLED
    return os.waitstatus_to_exitcode(raw) if os.WIFEXITED(raw) else 128 + os.WTERMSIG(raw)


def _check_directory(root_fd: int, name: bytes) -> None:
    """What the runner mounts over must stand there itself: it would follow a link, out of the tree."""
    try:
        found = os.lstat(name, dir_fd=root_fd)
    except FileNotFoundError:
        found = None
    if found is None or not stat.S_ISDIR(found.st_mode):
        what = "is not a directory" if found is not None else "is missing"
        raise NoMountPoint(f"/{name.decode()} {what} in the image, and build containers mount over it")


def _mount(root_fd: int, source: bytes, target: bytes, *, read_only: bool) -> None:
    try:
        point = open_inside(root_fd, target, os.O_PATH)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        raise NoMountPoint(f"there is no place for the mount /{os.fsdecode(target)} in the image") from None
    try:
        bind(source, point, read_only=read_only)
    finally:
        os.close(point)


def _home(root_fd: int) -> bytes:
    """The home of root by the image's passwd, as engines have it; `/` where it has none."""
    try:
        file = open_inside(root_fd, b"etc/passwd", os.O_RDONLY | os.O_NONBLOCK)
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
