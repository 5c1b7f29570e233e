"""Mounts that are views of the kernel, which the worker takes over from the machine and commands have no use for.

For each of some twenty binds bubblewrap has the kernel list all mounts that there are.
"""

from __future__ import annotations

from contextlib import suppress

from stapel.sandbox.inside.syscalls import CLONE_NEWNS, UMOUNT_NOFOLLOW, make_private, unmount, unshare

# In none of these stands a file that could be mapped, mounted or built from.
_KINDS = frozenset(
    {
        b"binfmt_misc",
        b"bpf",
        b"cgroup",
        b"configfs",
        b"debugfs",
        b"efivarfs",
        b"fusectl",
        b"hugetlbfs",
        b"mqueue",
        b"nsfs",
        b"pstore",
        b"securityfs",
        b"selinuxfs",
        b"tracefs",
    }
)
# By these, programs find out how much memory and how many processors a container of CI has; without devices, runc does not
# start.
_CONTROLLERS_KEPT = frozenset({b"cpu", b"cpuset", b"devices", b"memory"})


def drop_views() -> None:
    """Be in a mount namespace without them, as root of the machine. Nobody else may unmount what was mounted for him."""
    try:
        unshare(CLONE_NEWNS)
    except PermissionError:
        return
    make_private()
    with open("/proc/self/mountinfo", "rb") as file:
        points = find_views(file.read())
    for point in points:
        with suppress(OSError):  # it is locked, or something else is mounted in it
            unmount(point, UMOUNT_NOFOLLOW)


def find_views(mounts: bytes) -> list[bytes]:
    """The places of those among `mounts`, a text as in `/proc/self/mountinfo`, innermost first."""
    found = []
    for line in mounts.splitlines():
        mount, _, filesystem = line.partition(b" - ")
        kind, _, options = filesystem.split(b" ", 2)
        if kind in _KINDS and not (kind == b"cgroup" and _CONTROLLERS_KEPT & set(options.split(b","))):
            found.append(mount.split(b" ")[4])
    return found[::-1]
