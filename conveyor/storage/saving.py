"""Saving a stage, optimistic: the steps of design section 5. The essay stands in `conveyor.storage.selection`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from conveyor.storage.names import StageName, stage_name
from conveyor.storage.selection import Chosen
from conveyor.storage.storage import Storage
from locking.api import Lease, Locks, LockTimeout, LockUnavailable, Waiting
from stapel.errors import NotFound
from stapel.oci.api import Descriptor


@dataclass(frozen=True, slots=True)
class Saved:
    """The stage that the build goes on with, and whether it is another's (ours was discarded)."""

    chosen: Chosen
    discarded: bool


@dataclass(frozen=True, slots=True)
class Saving:
    """What saving needs beside the storage. `clock_ms` is the time of this machine."""

    locks: Locks
    timeout_s: float
    warn: Callable[[str], None]
    on_wait: Callable[[Waiting], None]
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000


def lock_name(storage: Storage, digest: str) -> str:
    """The lock under which a stage of this digest gets its name."""
    return f"{storage.address}.{digest}"


def save(
    storage: Storage,
    digest: str,
    image: Descriptor,
    suitable: Callable[[bool], Chosen | None],
    saving: Saving,
    *,
    again: Callable[[], Descriptor],
    name: StageName | None = None,
) -> Saved:
    """Name an image that was put by digest, or discard it for a suitable stage that has appeared.

    `suitable(fresh)` selects among the stored stages, by a list asked for after the call where `fresh`. `again` puts the
    image once more, should it have been removed before it had a name. `name` is given for a stage copied from another
    storage, which keeps its own. A failure leaves an image without a name and no lock.
    """
    lease = acquire(storage, digest, saving)
    try:
        there = suitable(True)
        if there is not None:
            return Saved(there, discarded=True)
        timestamp_ms = _timestamp_ms(storage, digest, saving)
        ours = name or stage_name(digest, timestamp_ms, image.digest)
        try:
            storage.add(ours, image)
        except NotFound:  # somebody has cleaned up what had no name yet
            image = again()
            ours = name or stage_name(digest, timestamp_ms, image.digest)
            storage.add(ours, image)
    finally:
        if lease is not None:
            lease.release()
    winner = suitable(True)
    if winner is None:
        raise NotFound(
            f"stage {ours} was saved to {storage.address} and is not listed there",
            hint="the storage loses names: look at its logs, and run the build again",
            temporary=True,
        )
    return Saved(winner, discarded=winner.stage.name != ours)


def acquire(storage: Storage, digest: str, saving: Saving) -> Lease | None:
    """The lock of a digest; None, with a warning, where it is not to be had."""
    try:
        return saving.locks.acquire(lock_name(storage, digest), timeout_s=saving.timeout_s, on_wait=saving.on_wait)
    except LockTimeout as error:
        saving.warn(f"going on without a lock: {error}")
    except LockUnavailable as error:
        if not error.told:
            saving.warn(f"going on without a lock: {error}")
    return None


def _timestamp_ms(storage: Storage, digest: str, saving: Saving) -> int:
    now_ms = saving.clock_ms() + storage.store.clock_skew_ms()
    return max(now_ms, storage.newest_ms(digest) + 1)
