"""Writing the marks of broken stages: under the lock of the digest, after a list that is asked for under it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from conveyor.storage.names import StageName
from conveyor.storage.saving import Saving, acquire
from conveyor.storage.storage import Storage
from stapel.errors import Broken, NotFound, StapelError


def reject(storage: Storage, name: StageName, saving: Saving) -> bool:
    """Have nobody use a stage any more; False, with a warning, where only this run knows: it could not be marked."""
    storage.refuse(name)
    try:
        with _looked_at(storage, name, saving):
            storage.mark_rejected(name)
    except StapelError as error:
        saving.warn(f"stage {name} could not be marked as rejected in {storage.address}: {error}; this run leaves it out")
        return False
    return True


def unreject(storage: Storage, name: StageName, saving: Saving) -> bool:
    """Let a stage be used again; False where it is not rejected. Errors of the store pass through."""
    with _looked_at(storage, name, saving):
        return storage.mark_lifted(name)


@contextmanager
def _looked_at(storage: Storage, name: StageName, saving: Saving) -> Iterator[None]:
    lease = acquire(storage, name.digest, saving)
    try:
        storage.refresh(name.digest)
        yield
    finally:
        if lease is not None:
            lease.release()


def find_first_with(
    blob: str, line: tuple[StageName, ...], layers_of: Callable[[StageName], frozenset[str]]
) -> StageName | None:
    """The lowest stage of a line whose image has a blob: what is wrong with the blob is wrong from there on."""
    for name in line:
        try:
            if blob in layers_of(name):
                return name
        except (NotFound, Broken):
            continue
    return None
