"""What a machine keeps and what goes: pure deciding, with a reason for each thing.

What was used last stays longest. Images share parts, so one goes only after all that stand on it, and frees what nobody
else has. Never chosen: what a build uses now, what was used in the last two hours, what nobody could make or fetch again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from msgspec import Struct

PROTECTED_S = 2 * 3600.0
_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0))


class Item(Struct, frozen=True):
    """A thing on the disk. `kept`: why it must stay, "" where it may go."""

    kind: str
    id: str
    name: str  # for people
    parts: Mapping[str, int]  # bytes, by what may be shared with others
    used_s: float
    chain: tuple[str, ...] = ()  # of an image: one whose chain begins with this stands on it
    kept: str = ""

    @property
    def size_bytes(self) -> int:
        """With what it shares."""
        return sum(self.parts.values())


class Verdict(Struct, frozen=True):
    """What becomes of an item, and why. `freed_bytes`: what goes with it that nobody else has by then."""

    item: Item
    goes: bool
    why: str
    freed_bytes: int = 0


def choose(items: Sequence[Item], *, now_s: float, to_free_bytes: int, keep_for_s: float | None) -> list[Verdict]:
    """Decide about each item, in the order in which they would go: until enough is freed, and all that is too old."""
    used = _last_uses(items, now_s)
    holders = Counter(part for item in items for part in item.parts)
    freed = 0
    verdicts = []
    order = sorted(range(len(items)), key=lambda index: (used[index][0], -len(items[index].chain), items[index].name))
    for index in order:
        item, (last_s, by) = items[index], used[index]
        age_s = now_s - last_s
        goes, why = False, ""
        if item.kept:
            why = item.kept
        elif age_s < PROTECTED_S:
            why = by or f"used {age_text(age_s)} ago"
        elif keep_for_s is not None and age_s > keep_for_s:
            goes, why = True, f"not used for {age_text(age_s)}"
        elif freed < to_free_bytes:
            goes, why = True, f"least recently used, {age_text(age_s)} ago"
        else:
            why = by or f"used {age_text(age_s)} ago, and there is room"
        gone = 0
        if goes:
            holders.subtract(item.parts.keys())
            gone = sum(size for part, size in item.parts.items() if not holders[part])
            freed += gone
        verdicts.append(Verdict(item, goes, why, gone))
    return verdicts


def _last_uses(items: Sequence[Item], now_s: float) -> list[tuple[float, str]]:
    """When each was used last, by itself or by what stands on it; in the latter case how that is put."""
    on: dict[tuple[str, ...], tuple[float, str]] = {}
    for item in items:
        last_s = now_s if item.kept and item.chain else item.used_s
        for length in range(1, len(item.chain)):
            below = item.chain[:length]
            if below not in on or on[below][0] < last_s:
                on[below] = (last_s, f"{item.name} stands on it")
    uses = []
    for item in items:
        above = on.get(item.chain, (0.0, ""))
        uses.append(above if item.chain and above[0] > item.used_s else (item.used_s, ""))
    return uses


def age_text(seconds: float) -> str:
    """`3 days`: the greatest unit of which it is at least one, rounded down."""
    for unit, length_s in _UNITS:
        count = int(seconds // length_s)
        if count >= 1:
            return f"{count} {unit}" + ("" if count == 1 else "s")
    return "less than a minute"
