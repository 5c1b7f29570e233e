"""Taking out of sight what nobody needs: by renames, while nobody can pin anything. Removing it is for a worker, afterwards.

Whoever is killed in between leaves rubbish that the next run takes out.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from stapel.errors import Broken, NotFound
from stapel.sandbox.pins import read_pins
from stapel.sandbox.store import Store

_NAMED_LATER = ("", "images", "compressed", "blobs/sha256")  # where files are made aside; and beside names


def take_out(store: Store, snapshots: Iterable[str]) -> list[str]:
    """Take out those of these that nobody needs; where they are now, relative to the snapshots, to be removed."""
    asked = list(snapshots)
    if not asked:
        return []
    with store.pins.alone():
        return _take_out_unused(store, asked)


def take_out_images(store: Store, unused_since: Mapping[str, float]) -> tuple[tuple[str, ...], list[str]]:
    """Forget images that were not used since, with their names, and take out the snapshots that only they have.

    The images that are gone, and where their snapshots are now. What a living run has pinned stays.
    """
    removed: list[str] = []
    snapshots: set[str] = set()
    with store.pins.alone():
        pinned = store.pins.of_others()
        links = store.names.links()
        for image_id, since_s in unused_since.items():
            with suppress(FileNotFoundError, NotFound, Broken):
                own = {layer.snapshot for layer in store.images.get(image_id).layers}
                if store.images.used_s(image_id) <= since_s and pinned.isdisjoint(own):
                    # Before the snapshots: who finds one of them gone finds that the image is.
                    store.images.forget(image_id, links)
                    snapshots |= own
                    removed.append(image_id)
        return tuple(removed), _take_out_unused(store, sorted(snapshots))


def take_out_leftovers(store: Store) -> list[str]:
    """Likewise what runs that are gone were filling, and what they had made and no image has."""
    left = store.pins.left()
    there = (snapshot for snapshot in read_pins(left) if (store.dir / "snapshots" / snapshot).exists())
    taken = take_out(store, sorted(there))
    for path in (*left, *_unfinished(store)):
        path.unlink(missing_ok=True)
    for path in find_leftovers(store):
        place = store.next_filling()
        with suppress(FileNotFoundError):  # another run has taken it
            path.rename(store.absolute(place))
            taken.append(place)
    return taken


def has_leftovers(store: Store) -> bool:
    """Whether runs that are gone have left something here."""
    if not (store.dir / "pins").is_dir():
        return False
    return any(True for _ in itertools.chain(store.pins.left(), find_leftovers(store), _unfinished(store)))


def find_leftovers(store: Store) -> list[Path]:
    """What runs that are gone were filling, and what their workers had for it."""
    found = list((store.dir / "filling").iterdir())
    with suppress(FileNotFoundError):  # in a store of an earlier version
        found += (store.dir / "work").iterdir()
    return [path for path in found if not store.pins.lives(path.name.partition("-")[0])]


def find_unused(store: Store) -> list[str]:
    """The snapshots that nobody needs at this moment."""
    there = store.snapshots()
    used = _used(store)
    return [snapshot for snapshot in there if snapshot not in used]


def _take_out_unused(store: Store, snapshots: Iterable[str]) -> list[str]:
    used = _used(store)
    taken = []
    for snapshot in snapshots:
        if snapshot not in used:
            place = store.next_filling()
            store.pins.forget([snapshot])
            with suppress(FileNotFoundError):
                (store.dir / "snapshots" / snapshot).rename(store.absolute(place))
            taken.append(place)
    return taken


def _used(store: Store) -> set[str]:
    return {layer.snapshot for image in store.images.all() for layer in image.layers} | store.pins.of_others()


def _unfinished(store: Store) -> Iterator[Path]:
    """Files of runs that are gone, which have no name yet."""
    for directory in (*(store.dir / name for name in _NAMED_LATER), *(store.dir / "names").iterdir()):
        try:
            names = os.listdir(directory)
        except FileNotFoundError:  # removed by another run
            continue
        for name in names:
            run_id, dash, _ = name[1:].partition("-")
            if dash and name.startswith(".") and not store.pins.lives(run_id):
                yield directory / name
