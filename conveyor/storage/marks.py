"""Which stages are rejected: the marks of a storage, read as one value.

A registry cannot remove one name of a shared image, so a mark is never taken away: it is counted. A stage is rejected where
the highest count of its rejections is above that of its lifts. A builder that finds a stage broken writes the mark after
the highest lift; who lifts writes the count of the highest rejection. Marks are only added, and what they mean does not
depend on their order: two who write at once write one and the same, or the higher of two, and all readers of one set of
names agree.
"""

from __future__ import annotations

from conveyor.storage.names import Mark


class Marks:
    """The marks that were read so far. Not thread-safe."""

    def __init__(self) -> None:
        self._rejected: dict[str, int] = {}
        self._lifted: dict[str, int] = {}

    def add(self, mark: Mark) -> None:
        """Take in a mark; the second time changes nothing."""
        counts = self._lifted if mark.lifted else self._rejected
        counts[mark.stage] = max(mark.count, counts.get(mark.stage, 0))

    def rejected(self) -> frozenset[str]:
        """The names of the stages that are rejected."""
        return frozenset(stage for stage in self._rejected if self._is_rejected(stage))

    def rejection(self, stage: str) -> Mark | None:
        """The mark that rejects a stage; None where it is rejected."""
        return None if self._is_rejected(stage) else Mark(stage, self._lifted.get(stage, 0) + 1, lifted=False)

    def lift(self, stage: str) -> Mark | None:
        """The mark that lifts the rejection of a stage; None where it is not rejected."""
        return Mark(stage, self._rejected[stage], lifted=True) if self._is_rejected(stage) else None

    def _is_rejected(self, stage: str) -> bool:
        return self._rejected.get(stage, 0) > self._lifted.get(stage, 0)
