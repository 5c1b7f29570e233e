"""Keeping the store in bounds: what is in it, and the removal of what somebody has chosen and of what nobody needs.

What is to be removed is taken out of sight by renames, under the store's lock, and removed afterwards by a worker, for its
owners are mapped. Whoever is killed in between leaves rubbish that the next run removes.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stapel.api import Fault, KeptImage
from stapel.errors import Broken
from stapel.runs import is_alive, is_locked, living_runs
from stapel.sandbox.cell import CellError, Cells
from stapel.sandbox.image import parse_config
from stapel.sandbox.images import RECORD_LABEL
from stapel.sandbox.records import StoredImage
from stapel.sandbox.store import Store
from stapel.sandbox.taking_out import find_leftovers, find_unused, take_out, take_out_images, take_out_leftovers
from stapel.toolchain import other_tools, remove_other_tools

_PURGED = "purged-"


class SandboxUpkeep:
    """The `Upkeep` of a store."""

    def __init__(self, store: Store, cells: Callable[[], Cells], home_dir: Path, run_id: str) -> None:
        self._store = store
        self._cells = cells
        self._home_dir = home_dir
        self._run_id = run_id

    def images(self) -> tuple[KeptImage, ...]:
        """See `Upkeep`."""
        self._store.open()
        names = self._store.names.of_images()
        pinned = self._store.pins.of_others()
        found = []
        for image in self._store.images.all(readable=True):
            with suppress(FileNotFoundError, Broken):
                found.append(self._describe(image, names.get(image.id, ()), pinned))
        return tuple(found)

    def remove_images(self, unused_since: Mapping[str, float]) -> tuple[str, ...]:
        """See `Upkeep`."""
        removed, rubbish = take_out_images(self._store, unused_since)
        self.remove(rubbish)
        return removed

    def unneeded(self, younger_s: float) -> tuple[str, ...]:
        """See `Upkeep`."""
        self._store.open()
        found = [f"snapshot {name}" for name in find_unused(self._store)]
        found += [f"blob sha256:{path.name}" for path in self._unused_blobs(time.time() - younger_s)]
        found += [f"half a snapshot {path.name}" for path in find_leftovers(self._store)]
        found += [f"purged store {path.name}" for path in self._purged_before()]
        if not living_runs(self._home_dir, self._run_id):
            found += [f"toolchain {path.name}" for path in other_tools(self._home_dir)]
        return tuple(found)

    def remove_unneeded(self, younger_s: float) -> None:
        """See `Upkeep`."""
        self._store.open()
        self._remove_purged()
        rubbish = take_out_leftovers(self._store)
        rubbish += take_out(self._store, self._store.snapshots())
        blobs = self._take_out_blobs(time.time() - younger_s)
        self._forget_traces(time.time() - younger_s)
        if not living_runs(self._home_dir, self._run_id):
            remove_other_tools(self._home_dir)
        self.remove(rubbish)
        for path in blobs:
            path.unlink(missing_ok=True)

    def check(self, *, mend: bool) -> Iterator[Fault]:
        """See `Upkeep`."""
        from stapel.sandbox.checking import check_store

        if self._store.dir.is_dir():
            self._store.open()
            yield from check_store(self._store, self._cells(), self.remove, mend=mend)

    def purge(self, directories: Sequence[Path]) -> None:
        """See `Upkeep`. What cannot be removed is left out of sight of every build, for the next purge."""
        for number, directory in enumerate((self._store.dir, *directories)):
            if directory.is_dir():
                directory.rename(self._home_dir / f"{_PURGED}{self._run_id}-{number}")
        self._store.forget_open()
        self._remove_purged()
        if self._store.dir.is_dir():
            shutil.rmtree(self._store.dir)
        self._store.forget_open()

    def _remove_purged(self) -> None:
        for left in self._purged_before():
            # A worker works below a store, so what goes is brought into it.
            self._store.open()
            filling = self._store.new_filling()
            left.rename(self._store.absolute(filling) / "purged")
            self.remove([filling])

    def _purged_before(self) -> list[Path]:
        """What this run, or one that was killed, has purged."""
        found = []
        for left in sorted(self._home_dir.glob(f"{_PURGED}*")):
            run_id = left.name.removeprefix(_PURGED).partition("-")[0]
            if run_id == self._run_id or not is_alive(self._home_dir, run_id):
                found.append(left)
        return found

    def remove(self, paths: Sequence[str]) -> None:
        """Remove directories whose owners are mapped, relative to the snapshots."""
        if not paths:
            return
        # From the root: a worker may stand in a store that was purged.
        places = [os.fsencode(os.path.normpath(self._store.absolute(path))) for path in paths]
        try:
            with self._cells().take() as cell:
                cell.ask("remove", paths=places)
        except CellError:
            if os.geteuid() != 0:
                raise
            from stapel.sandbox.inside.building import remove

            for place in places:  # root can where no worker runs
                remove(place)

    def _describe(self, image: StoredImage, names: Sequence[str], pinned: set[str]) -> KeptImage:
        parts = {layer.snapshot: layer.size_bytes for layer in image.layers}
        parts |= {layer.blob.digest: layer.blob.size_bytes for layer in image.layers if layer.blob is not None}
        return KeptImage(
            id=image.id,
            names=tuple(names),
            chain=tuple(layer.snapshot for layer in image.layers),
            parts=parts,
            used_s=self._store.images.used_s(image.id),
            is_pinned=not pinned.isdisjoint(layer.snapshot for layer in image.layers),
            is_record=RECORD_LABEL in parse_config(image.config, image.id).labels,
            is_fetched=bool(image.layers) and all(layer.blob is not None for layer in image.layers),
        )

    def _unused_blobs(self, before_s: float) -> list[Path]:
        """Blobs that no layer came as. A young one may be of a layer that is not there yet."""
        old = [path for path in (self._store.dir / "blobs/sha256").iterdir() if _is_older(path, before_s)]
        used = self._store.blobs_in_use()
        return [path for path in old if f"sha256:{path.name}" not in used]

    def _take_out_blobs(self, before_s: float) -> list[Path]:
        taken = []
        for path in self._unused_blobs(before_s):
            aside = self._store.temporary_blob()
            with suppress(FileNotFoundError):
                path.rename(aside)
                if aside.stat().st_mtime >= before_s:  # somebody has brought it again, a moment ago
                    aside.rename(path)
                    continue
                taken.append(aside)
        return taken

    def _forget_traces(self, before_s: float) -> None:
        """Links to snapshots that are gone, what is known of layers that are gone, ends of steps, places to mount at."""
        snapshots = set(self._store.snapshots())
        for path in (self._store.dir / "chains").iterdir():
            with suppress(OSError):
                if str(path.readlink()) not in snapshots:
                    path.unlink()
        images = self._store.images.all(readable=True)
        diff_ids = {layer.diff_id.partition(":")[2] for image in images for layer in image.layers}
        for path in (self._store.dir / "compressed").iterdir():
            if path.stem not in diff_ids and _is_older(path, before_s):
                path.unlink(missing_ok=True)
        for path in (self._store.dir / "logs").iterdir():  # for those who wait for a step that runs
            if _is_older(path, before_s):
                path.unlink(missing_ok=True)
        for path in (self._store.dir / "steps").iterdir():
            if _is_older(path, before_s) and not is_locked(path.with_suffix(".lock")):
                path.unlink(missing_ok=True)
        if not living_runs(self._home_dir, self._run_id):
            for path in (self._store.dir / "stubs").iterdir():
                if _is_older(path, before_s):
                    shutil.rmtree(path, ignore_errors=True)


def _is_older(path: Path, before_s: float) -> bool:
    try:
        return path.lstat().st_mtime < before_s
    except FileNotFoundError:
        return False
