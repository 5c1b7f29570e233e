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


def find_identity(subuid: Path = Path("/etc/subuid"), subgid: Path = Path("/etc/subgid")) -> Identity:
    """Of this process."""
    uid, gid = os.geteuid(), os.getegid()
    names = [str(uid), *_names(uid)]
    return Identity(uid, gid, _range(subuid, names, root=uid == 0), _range(subgid, names, root=uid == 0))


def _names(uid: int) -> list[str]:
    import pwd

    try:
        return [pwd.getpwuid(uid).pw_name]
    except KeyError:
        return []


def _range(path: Path, names: list[str], *, root: bool) -> Range:
    """The first range of a user that is large enough, else the largest; of root, who needs none, one of our own."""
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
    if not found:
        return Range(_ROOTS_OWN, _IDS) if root else Range(0, 0)
    return max(found, key=lambda item: item.count)
