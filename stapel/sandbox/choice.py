"""Which driver keeps the snapshots, where nobody has said it: what a worker has found out is kept for this place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypeAlias

from stapel.sandbox.store import Store

DriverName: TypeAlias = Literal["auto", "overlay", "btrfs", "copy"]


def recall_choice(store: Store) -> str:
    """The driver that was chosen for this store in this place, "" where none was."""
    try:
        driver, _, place = (store.dir / "driver").read_text().partition(" ")
    except OSError:
        return ""
    return driver if place == _place(store) else ""


def note_choice(store: Store, driver: str) -> None:
    """Remember it."""
    temporary = store.dir / f".{store.run_id}-driver"
    temporary.write_text(f"{driver} {_place(store)}")
    temporary.rename(store.dir / "driver")


def _place(store: Store) -> str:
    """What the choice depends on, as far as it can be told at once: a home may be seen from several containers."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    namespaces = [os.readlink(f"/proc/self/ns/{kind}") for kind in ("user", "mnt")]  # noqa: PTH115 -- start-up time
    return " ".join([boot, str(os.geteuid()), str(store.dir.stat().st_dev), *namespaces])
