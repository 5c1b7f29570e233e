"""Runners that are OCI runtimes, runc and crun: they read a bundle, and leave a container behind when they are killed.

So a runtime is the first process of a process namespace, and all that it has started ends with it. What it keeps on disk
stands in a filesystem that nobody else sees.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from stapel.sandbox.inside.syscalls import (
    CLONE_NEWNS,
    CLONE_NEWPID,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    bind,
    end_with_parent,
    make_private,
    mount,
    unshare,
)

_PLACE = b"/run"
_CGROUPS = b"/sys/fs/cgroup"
# crun refuses a machine that has both versions of cgroups, where it sees the second.
_SECOND_CGROUPS = b"/sys/fs/cgroup/unified"
_CGROUPS_OFF = {"crun": [b"--cgroup-manager=disabled"]}
_TMPFS = ["nosuid", "noexec", "nodev"]
_MASKED = (
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
)
_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")


def run_runtime(run: Mapping[str, Any], root: bytes) -> int:
    """Run the commands of `run` in the tree at `root` by this process, which is there for nothing else; their status."""
    end_with_parent()
    unshare(CLONE_NEWNS | CLONE_NEWPID)
    make_private()
    pid = os.fork()
    if pid == 0:
        end_with_parent()
        _exec(run, os.path.abspath(root))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return status if status >= 0 else 128 - status


def _exec(run: Mapping[str, Any], root: bytes) -> None:
    mount(b"proc", b"/proc", b"proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount(b"tmpfs", _PLACE, b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=700")
    _protect_cgroups()
    if os.path.isdir(_SECOND_CGROUPS):
        mount(b"tmpfs", _SECOND_CGROUPS, b"tmpfs", MS_NOSUID | MS_NODEV)
    with open(_PLACE + b"/config.json", "w") as file:
        json.dump(describe_container(run, root), file)
    runner: bytes = os.fsencode(run["runner"])
    name = os.path.basename(runner)
    off = _CGROUPS_OFF.get(name.decode(), [])
    arguments = [name, b"--root", _PLACE + b"/state", *off, b"run", b"--bundle", _PLACE, b"step"]
    os.execve(runner, arguments, {b"PATH": os.defpath.encode()})


def _protect_cgroups() -> None:
    """A runtime makes cgroups where it may, of one name for all steps. A step has none of its own."""
    try:
        directory = os.open(_CGROUPS, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    bind(_CGROUPS, directory, read_only=True)
    os.close(directory)


def describe_container(run: Mapping[str, Any], root: bytes) -> dict[str, Any]:
    """The configuration of a container, by the OCI runtime specification. What is mounted for it stands in the tree."""
    capabilities = [name.decode() for name in run["capabilities"]]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": os.fsdecode(root)},
        "hostname": run["hostname"].decode(),
        "process": {
            "terminal": run["has_terminal"],
            "user": {"uid": 0, "gid": 0},
            "cwd": os.fsdecode(run["directory"]),
            "args": [os.fsdecode(argument) for argument in run["argv"]],
            "env": [f"{os.fsdecode(name)}={os.fsdecode(value)}" for name, value in run["env"].items()],
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), capabilities),
            "noNewPrivileges": False,
        },
        "mounts": [
            _mount("/proc", "proc", []),
            _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
            _mount("/dev/shm", "tmpfs", [*_TMPFS, "mode=1777", "size=65536k"]),  # noqa: S108 -- the container's
            _mount("/dev/mqueue", "mqueue", _TMPFS),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("cgroup", "ipc", "mount", "pid", "uts") if _is_known(kind)],
            "maskedPaths": [f"/proc/{name}" for name in _MASKED],
            "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY],
            "seccomp": run["rules"],
        },
    }


def _mount(target: str, kind: str, options: Sequence[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": kind, "options": list(options)}


def _is_known(namespace: str) -> bool:
    return os.path.exists(f"/proc/self/ns/{'mnt' if namespace == 'mount' else namespace}")
