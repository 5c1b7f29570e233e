"""Cleaning a home: what is there, what goes, and its removal, each step safe to kill and beside builds."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from conveyor.cleanup.choosing import PROTECTED_S, Item, Verdict, choose
from conveyor.cleanup.home import PLACES, home_items, image_items, remembered_uses, remove, remove_rubbish
from conveyor.cleanup.limits import Size, Volume, bytes_to_free
from stapel.api import Upkeep

_PASSES = 3  # sizes in the store are those of layers, so what the disk gets back shows afterwards


class Limits(Struct, frozen=True):
    """What a home may take. None: as much as it likes."""

    allowed: Size | None
    min_free: Size | None
    keep_for_s: float | None


def decide(home_dir: Path, upkeep: Upkeep, limits: Limits) -> list[Verdict]:
    """What would become of each thing at this moment. Changes nothing."""
    images = image_items(upkeep.images(), remembered_uses(home_dir))
    items = [*images, *home_items(home_dir, images)]
    to_free = bytes_to_free(volume_of(home_dir), _size_of(items), allowed=limits.allowed, min_free=limits.min_free)
    return choose(items, now_s=time.time(), to_free_bytes=to_free, keep_for_s=limits.keep_for_s)


def unneeded(upkeep: Upkeep) -> tuple[str, ...]:
    """What nobody needs, whatever the limits."""
    return upkeep.unneeded(PROTECTED_S)


def clean(home_dir: Path, upkeep: Upkeep, limits: Limits, on_removed: Callable[[Verdict], None]) -> None:
    """Remove what nobody needs, then what has to go; again, where the disk has got back less than was thought."""
    remove_rubbish(home_dir)
    upkeep.remove_unneeded(PROTECTED_S)
    for _ in range(_PASSES):
        going = [verdict for verdict in decide(home_dir, upkeep, limits) if verdict.goes]
        if not going:
            break
        _remove(home_dir, upkeep, going, on_removed)
        upkeep.remove_unneeded(PROTECTED_S)


def purge(home_dir: Path, upkeep: Upkeep) -> None:
    """Remove everything of a home that nobody is using. `StapelError` where files have owners that cannot be had here."""
    upkeep.purge([home_dir / "mounts"])
    for name in PLACES:
        if (home_dir / name).exists():
            remove(home_dir, home_dir / name)
    remove_rubbish(home_dir)


def purgeable(home_dir: Path) -> list[Path]:
    """What `purge` would remove."""
    names = ("sandbox", "mounts", *PLACES)
    return [home_dir / name for name in sorted(names) if (home_dir / name).exists()]


def volume_of(home_dir: Path) -> Volume:
    """The file system of a home, as it is now."""
    usage = shutil.disk_usage(home_dir)
    return Volume(usage.total, usage.used, usage.free)


def _remove(home_dir: Path, upkeep: Upkeep, going: Sequence[Verdict], on_removed: Callable[[Verdict], None]) -> None:
    images = {verdict.item.id: verdict.item.used_s for verdict in going if verdict.item.kind == "image"}
    removed = set(upkeep.remove_images(images))
    for verdict in going:
        if verdict.item.kind != "image":
            remove(home_dir, Path(verdict.item.id))
        elif verdict.item.id not in removed:
            continue  # somebody has begun to use it
        on_removed(verdict)


def _size_of(items: Sequence[Item]) -> int:
    parts: dict[str, int] = {}
    for item in items:
        parts |= item.parts
    return sum(parts.values())
