"""The stages that lay files of the commit and run nothing: `gitArchive`, `gitCache`, `gitLatestPatch`."""

from __future__ import annotations

from msgspec import Struct

from conveyor.config.models import Image
from conveyor.gitrepo.api import Delta
from conveyor.keys.key import Part
from conveyor.stages.api import Context, Decision, Need, Workshop
from conveyor.stages.git_mapping import (
    Mapped,
    commit_time_s,
    current_facts,
    define,
    delta_size_bytes,
    deltas,
    describe_delta,
    lay_commit,
    lay_delta,
    mapped_of,
)
from stapel.api import Lay, Run

CACHE_STEP_BYTES = 1 << 20


class GitArchive(Struct, frozen=True):
    """All files of the mappings. Its key holds their definitions only: later commits use it with a delta on top."""

    name: str = "gitArchive"

    def may_exist(self, image: Image) -> bool:
        """Where there are mappings."""
        return bool(image.git)

    def takes(self, image: Image) -> tuple[Need, ...]:
        """Nothing."""
        del image
        return ()

    def decide(self, context: Context) -> Decision:
        """The definitions of the mappings."""
        items = mapped_of(context)

        def steps(workshop: Workshop) -> tuple[Lay | Run, ...]:
            del workshop
            return tuple(lay_commit(item) for item in items)

        definitions = [define(item.mapping, context.prefix).value() for item in items]
        return Decision((Part("mappings", definitions),), current_facts(context), selects_ancestor=True, steps=steps)


class GitCache(Struct, frozen=True):
    """The delta since the last stage with git where it is large, so that later deltas are small again."""

    name: str = "gitCache"

    def may_exist(self, image: Image) -> bool:
        """Where there are mappings."""
        return bool(image.git)

    def takes(self, image: Image) -> tuple[Need, ...]:
        """Nothing."""
        del image
        return ()

    def decide(self, context: Context) -> Decision | None:
        """Exists from 1 MiB on; the size in whole MiB is its key, so each MiB of growth makes one."""
        found = deltas(context)
        size_mib = delta_size_bytes(found) // CACHE_STEP_BYTES if found else 0
        if not size_mib:
            return None
        return _lay_deltas(context, found, Part("delta MiB", size_mib))


class GitLatestPatch(Struct, frozen=True):
    """What is left of the delta to the current commit."""

    name: str = "gitLatestPatch"

    def may_exist(self, image: Image) -> bool:
        """Where there are mappings."""
        return bool(image.git)

    def takes(self, image: Image) -> tuple[Need, ...]:
        """Nothing."""
        del image
        return ()

    def decide(self, context: Context) -> Decision | None:
        """Exists where a file of a mapping differs from the stage below."""
        found = deltas(context)
        if not found:
            return None
        return _lay_deltas(context, found, Part("delta", {item.id: describe_delta(delta) for item, delta in found}))


def _lay_deltas(context: Context, found: list[tuple[Mapped, Delta]], part: Part) -> Decision:
    def steps(workshop: Workshop) -> tuple[Lay | Run, ...]:
        del workshop
        return tuple(lay_delta(item, delta, context.below.bases[item.id], commit_time_s(item)) for item, delta in found)

    return Decision((part,), current_facts(context), selects_ancestor=True, steps=steps)
