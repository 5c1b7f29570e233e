"""Why a stage must be built: what differs from the nearest stored one."""

from __future__ import annotations

from conveyor.build.results import Why
from conveyor.keys.key import Parts, differing_parts
from conveyor.storage.selection import Selection, StoredStage
from conveyor.storage.storage import Storage


def explain(storage: Storage, of: tuple[str, str, str], parts: Parts, digest: str, selection: Selection) -> Why:
    """The reason, in one word and the names of parts. `of`: project, image, stage; `parts`: those of its key.

    The nearest stage is the one with most equal parts of the latest stored ones of the same image and stage, the newest of
    several.
    """
    refusals = {refusal for _, refusal in selection.refused}
    if "no_ancestor" in refusals:
        return Why("no_ancestor", nearest=str(selection.refused[-1][0]))
    if "rejected" in refusals:
        return Why("rejected", nearest=str(selection.refused[-1][0]))
    rejected = sorted(name for name in storage.rejected() if name.startswith(digest))
    if rejected:
        return Why("rejected", nearest=rejected[-1])
    if storage.was_stored(digest):
        return Why("gone")
    nearest: StoredStage | None = None
    fewest: tuple[str, ...] = ()
    for stored in storage.predecessors(*of):  # newest first
        differing = differing_parts(parts, stored.facts.parts)
        if nearest is None or len(differing) < len(fewest):
            nearest, fewest = stored, differing
        if len(fewest) <= 1:
            break  # nothing is nearer
    if nearest is None:
        return Why("first_build")
    return Why("changed", fewest, str(nearest.name))
