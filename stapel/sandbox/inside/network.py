"""A network namespace of one build container."""

from __future__ import annotations

import _socket
import fcntl
import struct

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


class _Socket:
    def __enter__(self) -> int:
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
        return self._socket.fileno()

    def __exit__(self, *_: object) -> None:
        self._socket.close()
