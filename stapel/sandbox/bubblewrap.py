"""The runner: bubblewrap, started as root of a user namespace over a tree that has all its mounts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache

# What Docker makes read-only in /proc, and what it hides there. Where root runs conveyor, root of the container is root:
# what keeps it from the kernel's switches is that they cannot be written to.
_READ_ONLY = ("dynamic_debug", "fs")
# Over a /proc of its own bubblewrap does this by itself where it may write to the directory. It may not as root of a group
# that is not 0, and the files in there are root's own all the same.
_COVERED = ("bus", "irq", "sys", "sysrq-trigger")
_MASKED_FILES = ("interrupts", "kcore", "keys", "latency_stats", "sched_debug", "timer_list", "timer_stats")
_MASKED_DIRECTORIES = ("acpi", "asound", "scsi")


def options(
    root: bytes,
    seccomp_fd: int,
    hostname: bytes,
    directory: bytes,
    capabilities: Sequence[bytes],
    *,
    outer_proc: bool = False,
    outer_sys: bool = False,
) -> list[bytes]:
    """All arguments before the command but the environment: one that is told these alone keeps commands as it should.

    `outer_proc`: there can be no /proc but ours; `outer_sys`: ours is shown in /sys. The places of /proc, /dev and /sys
    stand in the tree and are no links.
    """
    arguments = [b"--unshare-pid", b"--unshare-ipc", b"--unshare-uts", b"--unshare-cgroup-try"]
    # The first process is the script itself: all others end with it.
    arguments += [b"--as-pid-1", b"--die-with-parent"]
    arguments += [b"--hostname", hostname, b"--bind", root, b"/"]
    # For each bind bubblewrap reads the list of all mounts there are: what is most comes last, /sys with its cgroups.
    arguments += [b"--bind", b"/proc", b"/proc"] if outer_proc else [b"--proc", b"/proc"]
    arguments += _masks(outer_proc)
    arguments += [b"--dev", b"/dev"]
    arguments += [b"--perms", b"1777", b"--tmpfs", b"/dev/shm", b"--mqueue", b"/dev/mqueue"]
    if outer_sys:
        arguments += [b"--ro-bind", b"/sys", b"/sys"]
    arguments += [b"--cap-drop", b"ALL"]
    for capability in capabilities:
        arguments += [b"--cap-add", capability]
    return [*arguments, b"--chdir", directory, b"--seccomp", b"%d" % seccomp_fd, b"--clearenv"]


@cache
def _masks(outer_proc: bool) -> tuple[bytes, ...]:
    """What covers /proc. The kernel's files do not change while it runs."""
    arguments: list[bytes] = []
    left = [name for name in _COVERED if outer_proc or not os.access(f"/proc/{name}", os.W_OK)]
    for name in (*_READ_ONLY, *left):
        arguments += [b"--ro-bind-try", f"/proc/{name}".encode(), f"/proc/{name}".encode()]
    for name in _MASKED_FILES:
        if os.path.exists(f"/proc/{name}"):
            arguments += [b"--ro-bind", b"/dev/null", f"/proc/{name}".encode()]
    for name in _MASKED_DIRECTORIES:
        if os.path.isdir(f"/proc/{name}"):
            path = f"/proc/{name}".encode()
            arguments += [b"--tmpfs", path, b"--remount-ro", path]
    return tuple(arguments)


def variables(environment: Mapping[bytes, bytes]) -> list[bytes]:
    """The arguments that give commands their environment."""
    return [argument for name, value in environment.items() for argument in (b"--setenv", name, value)]
