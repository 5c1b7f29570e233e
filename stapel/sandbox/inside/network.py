"""A network namespace of one build container."""

from __future__ import annotations

import _socket
import fcntl
import os
import struct
from contextlib import suppress

from stapel.sandbox.inside.syscalls import (
    CLONE_NEWNET,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    mount,
    unshare,
)

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1


def enter_network(sys_dir: bytes) -> None:
    """Leave the network for one that has `lo` alone, and show its devices at `sys_dir`."""
    unshare(CLONE_NEWNET)
    with _Socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", _IFF_UP))
    mount(b"sysfs", sys_dir, b"sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


class Uplink:
    """The way out of a network namespace: slirp4netns passes on what the container sends, as a user of this machine would.

    The container's process and the worker each use their side. The machine's own `lo` is not reached.
    """

    def __init__(self) -> None:
        self._entered = os.pipe()
        self._ready = os.pipe()
        self._until: int | None = None

    def wait(self) -> None:
        """In the container's process, once it is in its namespace: until the network is there. `OSError`."""
        os.write(self._entered[1], b".")
        os.close(self._ready[1])
        if not os.read(self._ready[0], 1):
            raise OSError(0, "there is no network")

    def connect(self, pid: int, program: bytes) -> None:
        """In the worker: have a network for the namespace of a process until `close`. `OSError` with what is wrong."""
        os.close(self._entered[1])
        if not os.read(self._entered[0], 1):
            return  # it has ended, and has said why
        up, says_up = os.pipe()
        until, self._until = os.pipe()
        said = os.memfd_create("said")
        for file in (says_up, until):
            os.set_inheritable(file, True)
        namespace = b"/proc/%d/ns/net" % pid
        numbers = [b"--ready-fd=%d" % says_up, b"--exit-fd=%d" % until]
        argv = [program, b"--configure", b"--mtu=65520", b"--disable-host-loopback", b"--netns-type=path", *numbers]
        actions = [(os.POSIX_SPAWN_DUP2, said, number) for number in (1, 2)]
        os.posix_spawn(program, [*argv, namespace, b"tap0"], {}, file_actions=actions)
        os.close(says_up)
        os.close(until)
        is_up = os.read(up, 1)
        os.close(up)
        if not is_up:
            text = os.pread(said, 4096, 0).decode("utf-8", "backslashreplace").strip()
            raise OSError(0, f"slirp4netns does not run: {text}")
        os.close(said)
        os.write(self._ready[1], b".")

    def close(self) -> None:
        """In the worker: end it."""
        for file in (*self._entered, *self._ready, self._until):
            if file is not None:
                with suppress(OSError):
                    os.close(file)


class _Socket:
    def __enter__(self) -> int:
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        return self._socket.fileno()

    def __exit__(self, *_: object) -> None:
        self._socket.close()
