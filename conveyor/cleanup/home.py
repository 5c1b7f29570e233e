"""What conveyor keeps in a home beside the engine's store: logs, what is known of stages, objects of uncommitted work."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from conveyor.build.logs import log_name, logs_dir
from conveyor.cleanup.choosing import Item
from conveyor.storage.names import parse_stage_name
from stapel.api import KeptImage

# Everything but the engine's store, the mounts, whose files have other owners, and the runs, which are of those that live.
PLACES = ("clones", "dev", "lfs", "locks", "logs", "plain-trees", "remembered", "stages", "toolchain")
_RUBBISH = ".rubbish-"


def image_items(images: Iterable[KeptImage], remembered: Mapping[str, float]) -> list[Item]:
    """The images of a store; `remembered`: when builds with nothing to do have used them."""
    items = []
    for image in images:
        kept = ""
        if image.is_pinned:
            kept = "a build uses it"
        elif image.is_record:
            kept = "a record"
        elif image.names and not image.is_fetched and not _is_stage(image):
            kept = "imported: nobody else has it"
        used_s = max(image.used_s, remembered.get(image.id, 0.0))
        name = image.names[0] if image.names else image.id
        items.append(Item("image", image.id, name, image.parts, used_s, image.chain, kept))
    return items


def remembered_uses(home_dir: Path) -> dict[str, float]:
    """When a build that had nothing to do has used each image: it asks for names only, and notes its time."""
    uses: dict[str, float] = {}
    for path in _files(home_dir / "remembered"):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            at_s = path.stat().st_mtime
            for image_id in json.loads(path.read_bytes())["names"].values():
                uses[image_id] = max(uses.get(image_id, 0.0), at_s)
    return uses


def home_items(home_dir: Path, images: Iterable[Item]) -> list[Item]:
    """What may go beside images. A log is used with its stage; one that is being written is none of these."""
    stage_uses: dict[str, float] = {}
    for image in images:
        stage = parse_stage_name(image.name.rpartition(":")[2])
        if stage is not None:
            stage_uses[log_name(stage)] = image.used_s
    items = []
    remembered, trees = home_dir / "remembered", home_dir / "plain-trees"
    kept = [("log", path) for path in _files(logs_dir(home_dir))]
    kept += [("remembered build", path) for path in _files(remembered)]
    kept += [("memory of git", path) for path in _files(trees)]
    kept += [("content of Git LFS", path) for path in sorted((home_dir / "lfs" / "objects").glob("*/*/*"))]
    for kind, path in kept:
        if path.is_file():
            with suppress(FileNotFoundError):
                status = path.stat()
                used_s = max(status.st_mtime, stage_uses.get(path.name, 0.0))
                items.append(Item(kind, str(path), path.name, {str(path): status.st_size}, used_s))
    places = (
        ("clone", home_dir / "clones"),
        ("objects of git", home_dir / "dev"),
        ("memory of stages", home_dir / "stages"),
    )
    for kind, directory in places:
        for path in sorted(directory.iterdir()) if directory.is_dir() else ():
            with suppress(FileNotFoundError):  # another one cleans up at the same time
                size, used_s = _measure(path)
                items.append(Item(kind, str(path), path.name, {str(path): size}, used_s))
    return items


def remove(home_dir: Path, path: Path) -> None:
    """Remove a file or a directory of a home: out of sight first. `OSError`."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    aside = home_dir / f"{_RUBBISH}{secrets.token_hex(6)}"
    with suppress(FileNotFoundError):  # another one cleans up, or removes rubbish, at the same time
        path.rename(aside)
        shutil.rmtree(aside)


def remove_rubbish(home_dir: Path) -> None:
    """Remove what a killed removal has left."""
    for path in home_dir.glob(f"{_RUBBISH}*"):
        shutil.rmtree(path, ignore_errors=True)


def _is_stage(image: KeptImage) -> bool:
    return any(parse_stage_name(name.rpartition(":")[2]) is not None for name in image.names)


def _files(directory: Path) -> Iterator[Path]:
    return iter(sorted(path for path in directory.iterdir() if path.is_file()) if directory.is_dir() else ())


def _measure(directory: Path) -> tuple[int, float]:
    """Size and latest time of all in a directory."""
    size, latest_s = 0, directory.stat().st_mtime
    for place, _, names in os.walk(directory):
        for name in ("", *names):
            with suppress(OSError):
                status = os.lstat(os.path.join(place, name))  # noqa: PTH118 -- a walk gives texts
                size += status.st_size if name else 0
                latest_s = max(latest_s, status.st_mtime)
    return size, latest_s
