"""Which ids of this machine stand for those of a build container.

Root of a container is who runs conveyor; the other ids are a range that the machine has set aside for that user
(`/etc/subuid`, `/etc/subgid`), so that files in the store have owners of their own without anybody being root.
"""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

_IDS = 65535  # beside root: 1 to 65535
_ROOTS_OWN = 100_000


class Range(Struct, frozen=True):
    """Ids from `start`, `count` of them; a count of 0: none."""

    start: int
    count: int

    def map_text(self, own: int) -> str:
        """The lines of a uid_map or gid_map where 0 is `own`."""
        return f"0 {own} 1\n" + (f"1 {self.start} {self.count}\n" if self.count else "")


class Identity(Struct, frozen=True):
    """Who runs, and the ranges of subordinate ids."""

    uid: int
    gid: int
    uids: Range
    gids: Range

    @property
    def has_ranges(self) -> bool:
        """Whether a container has more than one id."""
        return bool(self.uids.count and self.gids.count)


def find_identity(
    subuid: Path = Path("/etc/subuid"), subgid: Path = Path("/etc/subgid"), maps: Path = Path("/proc/self")
) -> Identity:
    """Of this process. `maps`: where the kernel tells in `uid_map` and `gid_map` which ids there are."""
    uid, gid = os.geteuid(), os.getegid()
    names = [str(uid), *_names(uid)]
    uids, gids = _given(subuid, names), _given(subgid, names)
    if uid == 0:
        uids, gids = _of_root(uids, maps / "uid_map", uid), _of_root(gids, maps / "gid_map", gid)
    return Identity(uid, gid, uids or Range(0, 0), gids or Range(0, 0))


def _names(uid: int) -> list[str]:
    import pwd

    try:
        return [pwd.getpwuid(uid).pw_name]
    except KeyError:
        return []


def _given(path: Path, names: list[str]) -> Range | None:
    """The largest range of a user, the first one of those that are large enough."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        lines = []
    found = []
    for line in lines:
        name, _, rest = line.strip().partition(":")
        start, _, count = rest.partition(":")
        if name in names and start.isdigit() and count.isdigit():
            found.append(Range(int(start), min(int(count), _IDS)))
    return max(found, key=lambda item: item.count, default=None)


def _of_root(given: Range | None, id_map: Path, own: int) -> Range | None:
    """The range of root, who needs nobody's leave: the one that is set aside, or one of our own.

    In a container of a user, say, there are few ids, and neither of these: then all that there are but root's own.
    """
    wanted = given if given is not None else Range(_ROOTS_OWN, _IDS)
    there = [Range(int(start), int(count)) for start, _, count in map(str.split, id_map.read_text().splitlines())]
    if any(item.start <= wanted.start and wanted.start + wanted.count <= item.start + item.count for item in there):
        return wanted
    others = [part for item in there for part in _without(item, own)]
    found = max(others, key=lambda item: item.count, default=None)
    return Range(found.start, min(found.count, _IDS)) if found is not None else None


def _without(ids: Range, own: int) -> list[Range]:
    """What is left of a range on both sides of an id."""
    end = ids.start + ids.count
    if not ids.start <= own < end:
        return [ids]
    return [part for part in (Range(ids.start, own - ids.start), Range(own + 1, end - own - 1)) if part.count]
