"""Keeping clones small: each fetch leaves a pack, and many packs are slow to read and hold much twice.

The small ones are made one, so that each that is left is larger than all smaller ones together: work grows with what was
fetched, not with the clone. Git's own collection is not for these clones: it walks from refs, and blobs are missing.

The new pack is complete before it is seen and seen before an old one goes; who reads an old one looks for its objects
again. Only who holds the clone's lock may call this. Whatever stops it leaves objects that are there twice.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from sys import audit as trace

from conveyor.errors import GitError
from conveyor.gitrepo.fetching import Said

MOST_PACKS = 32
MOST_KEPT = 64  # commits that a fetch tells the server of
_GROWTH = 2  # what is left is so many times as large as all that is smaller

Run = Callable[[Sequence[str], bytes], Said]  # git in the clone, with its stdin


def repack(git_dir: Path, aside: Path, run: Run) -> None:
    """Make one pack of the small ones where there are many; what git refuses is left as it is. `GitError` (`stopped`)."""
    directory = git_dir / "objects" / "pack"
    packs = [path for path in directory.glob("pack-*.pack") if not path.with_suffix(".keep").exists()]
    if len(packs) <= MOST_PACKS:
        return
    small = choose_small({path: path.stat().st_size for path in packs})
    try:
        aside.mkdir(exist_ok=True)
        made = _pack(small, aside, run)
        if made is not None:
            _replace(directory, small, made)
            _forget_kept(git_dir, run)
    except OSError:
        return  # a full disk costs speed only
    except GitError as error:
        if error.reason == "stopped":
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def choose_small(sizes: dict[Path, int]) -> list[Path]:
    """The packs to make one, smallest first: all up to the last that is not much larger than those before it together."""
    ordered = sorted(sizes, key=lambda path: (sizes[path], path))
    count = total = 0
    for index, path in enumerate(ordered):
        if index and sizes[path] <= _GROWTH * total:
            count = index + 1
        total += sizes[path]
    return ordered[:count]


def _pack(packs: Sequence[Path], aside: Path, run: Run) -> Path | None:
    """A pack in `aside` with the objects of others; None where git does not make it."""
    oids: dict[bytes, None] = {}
    for path in packs:
        said = run(["show-index"], path.with_suffix(".idx").read_bytes())
        if said.status:
            return None
        oids.update(dict.fromkeys(line.split()[1] for line in said.output.splitlines()))
    trace("repack.before-pack")
    command = ["-c", "pack.packSizeLimit=0", "pack-objects", "--progress", "--delta-base-offset", str(aside / "pack")]
    said = run(command, b"".join(oid + b"\n" for oid in oids))
    made = aside / f"pack-{said.output.decode().strip()}.pack"
    return made if said.status == 0 and made.with_suffix(".idx").exists() else None


def _replace(directory: Path, packs: Sequence[Path], made: Path) -> None:
    target = directory / made.name
    if any(path.with_suffix(".promisor").exists() for path in packs):
        made.with_suffix(".promisor").touch()
    if not target.exists():  # else one of them has all that the others have
        # Git finds a pack by its index, so this comes last.
        for path in sorted(made.parent.glob(f"{made.stem}.*"), key=lambda path: path.suffix == ".idx"):
            path.replace(directory / path.name)
        _write_through(directory)
    trace("repack.before-remove")
    for pack in packs:
        if pack != target:
            for path in sorted(directory.glob(f"{pack.stem}.*"), key=lambda path: path.suffix != ".idx"):
                path.unlink(missing_ok=True)


def _write_through(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _forget_kept(git_dir: Path, run: Run) -> None:
    """Name the newest commits alone: what is older is below them, or is fetched once more."""
    kept = list((git_dir / "refs" / "kept").glob("*[0-9a-f]"))
    oldest = sorted(kept, key=lambda path: (path.stat().st_mtime_ns, path.name))[:-MOST_KEPT]
    if oldest:
        run(["update-ref", "--stdin"], b"".join(b"delete refs/kept/%b\n" % os.fsencode(path.name) for path in oldest))
