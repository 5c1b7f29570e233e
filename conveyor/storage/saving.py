"""Saving a stage, optimistic: the steps of design section 5. The essay stands in `conveyor.storage.selection`."""

from __future__ import annotations

import time
from collections.abc import Callable
from sys import audit as trace

from msgspec import Struct

from conveyor.storage.names import LATEST_MS, StageName, stage_name
from conveyor.storage.selection import Chosen
from conveyor.storage.storage import Storage
from locking.api import Lease, Locks, LockTimeout, LockUnavailable, Waiting
from stapel.errors import NotFound, Unreachable
from stapel.oci.api import Descriptor

LISTS = 3
NEWS_S = 0.05


def _elapsed_s() -> float:
    """A clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Saved(Struct, frozen=True):
    """The stage that the build goes on with, and whether it is another's (ours was discarded)."""

    chosen: Chosen
    discarded: bool


class Saving(Struct, frozen=True):
    """What saving needs beside the storage. `clock_ms` is the time of this machine, `elapsed_s` only goes forward."""

    locks: Locks
    timeout_s: float
    warn: Callable[[str], None]
    on_wait: Callable[[Waiting], None]
    clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    elapsed_s: Callable[[], float] = _elapsed_s


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
    storage, which keeps its own. A failure leaves an image without a name and no lock, and `SavedInVain` an image with one.
    """
    tried: list[StageName] = []  # of a request that fails nobody knows whether it has done its work

    def place() -> StageName:
        tried.append(_find_place(storage, digest, suitable, saving, name, image))
        return tried[-1]

    trace("save.before-lock")
    lease = acquire(storage, digest, saving)
    try:
        try:
            storage.add(place(), image, place)
        except NotFound:  # somebody has cleaned up what had no name yet
            image = again()
            storage.add(place(), image, place)
        trace("save.after-name")
    except _Taken as taken:
        return Saved(taken.by, discarded=taken.by.stage.name not in tried)
    finally:
        if lease is not None:
            lease.release()
    trace("save.before-look")
    winner = suitable(True)
    if winner is None:
        raise SavedInVain(
            f"stage {tried[-1]} was saved to {storage.address} and cannot be used there",
            hint="the storage loses what it has taken, or somebody has just removed or rejected it: run the build again",
            temporary=True,
        )
    trace("save.after-look")
    return Saved(winner, discarded=winner.stage.name not in tried)


class SavedInVain(Unreachable):
    """What was named is not there afterwards, or it is, and everybody has to leave it out."""


class _Taken(Exception):
    """A suitable stage is there already."""

    def __init__(self, by: Chosen) -> None:
        super().__init__(str(by.stage.name))
        self.by = by


def _find_place(
    storage: Storage,
    digest: str,
    suitable: Callable[[bool], Chosen | None],
    saving: Saving,
    name: StageName | None,
    image: Descriptor,
) -> StageName:
    """The name for ours. `_Taken` where a suitable stage is there."""
    for _ in range(LISTS):
        trace("save.before-list")
        there = suitable(True)
        if there is not None:
            raise _Taken(there)
        listed_s = saving.elapsed_s()
        trace("save.after-list")
        ours = name or stage_name(digest, _timestamp_ms(storage, digest, saving), image.digest)
        trace("save.before-name")
        # Whoever was held up here would take a place with a time at which it was free, and others go on with another.
        if saving.elapsed_s() - listed_s < NEWS_S:
            break
    return ours


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
    now_ms = saving.clock_ms() + storage.clock_skew_ms()
    # A name of the end of time, planted or of a clock gone mad, must not make ours one that nobody reads.
    return min(max(now_ms, storage.newest_ms(digest) + 1), LATEST_MS)
