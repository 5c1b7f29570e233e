"""Whether the sandbox can run on this machine, and what to do where it cannot."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from stapel.errors import StapelError
from stapel.sandbox.cell import CellError, Cells
from stapel.sandbox.choice import DriverName
from stapel.sandbox.runners import RunnerName, find_runner
from stapel.sandbox.seccomp import compile_rules
from stapel.sandbox.store import Store

_USERNS_SWITCHES = {
    "/proc/sys/kernel/unprivileged_userns_clone": "0",
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1",
    "/proc/sys/user/max_user_namespaces": "0",
}


_NO_DRIVER = (errno.ENOTTY, errno.ENODEV, errno.EINVAL, errno.EOPNOTSUPP)


def find_obstacle(store: Store, cells: Cells, runner: RunnerName, driver: DriverName) -> str:
    """Why no build container can run, and what to do; "" where one can."""
    try:
        find_runner(runner)
        compile_rules(store.dir / "seccomp")
        with cells.take() as cell:
            cell.ask("try_out", place=store.new_filling().encode())
    except CellError as error:
        if driver != "auto" and error.number in _NO_DRIVER:
            return f"the store {store.dir} cannot be kept by {driver}: {error}; `--sandbox-store auto` finds what works"
        return _explain(error)
    except StapelError as error:
        return f"{error}. {error.hint}" if error.hint else str(error)
    except OSError as error:
        return f"{store.dir} cannot be used: {error}"
    return ""


def can_run(store: Store, runner: RunnerName, driver: DriverName) -> bool:
    """Whether it is known that build containers run, by this user, on this boot of this machine."""
    try:
        return (store.dir / "probed").read_text() == _machine(runner, driver)
    except (OSError, StapelError):
        return False


def note_can_run(store: Store, runner: RunnerName, driver: DriverName) -> None:
    """Remember it."""
    (store.dir / "probed").write_text(_machine(runner, driver))


def hides_proc() -> bool:
    """Whether something is mounted over parts of /proc, as in a container: then the kernel lets nobody mount another one."""
    with open("/proc/self/mountinfo") as file:
        points = [line.split()[4] for line in file]
    return any(point.startswith("/proc/") and point != "/proc/sys/fs/binfmt_misc" for point in points)


def _machine(name: RunnerName, driver: DriverName) -> str:
    """What the answer depends on, as far as it can be told at once."""
    runner = Path(find_runner(name).path).stat()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    where = [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in ("user", "mnt")]
    return f"{boot} {os.geteuid()} {name} {driver} {runner.st_size} {runner.st_mtime_ns} {' '.join(where)}"


def _explain(error: CellError) -> str:
    text = f"{error}. {error.hint}" if error.hint else str(error)
    if error.number not in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EUSERS):
        return text
    for path, off in _USERNS_SWITCHES.items():
        try:
            value = Path(path).read_text().strip()
        except OSError:
            continue
        if value == off:
            name = path.removeprefix("/proc/sys/").replace("/", ".")
            other = {"0": "1", "1": "0"}[off] if "max" not in name else "10000"
            return f"{text}: no user namespaces here (sysctl {name} is {value}); `sysctl {name}={other}` allows them"
    return (
        f"{text}: user namespaces are refused here. In a container, start it with "
        "`--security-opt seccomp=unconfined --security-opt systempaths=unconfined` (Docker)"
    )
