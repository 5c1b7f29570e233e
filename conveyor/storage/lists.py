"""Lists of names that lag behind writes, as those of some registries do.

A list that lacks a name which we know to be there may lack what others wrote before it, too: what is selected by it is not
what everybody selects once the list has caught up. A list that has all of our names has theirs, if they are older.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from stapel.errors import Broken, NotFound
from stapel.oci.api import ImageStore

LAG_S = 20.0
_FIRST_S, _LONGEST_S = 0.25, 2.0


def list_caught_up(
    store: ImageStore, own: Collection[str], warn: Callable[[str], None]
) -> tuple[frozenset[str], frozenset[str]]:
    """All names, by a list that has those of `own` (what we have named) that are there; and those that are not any more.

    A list that has not caught up within `LAG_S` is told of and completed with what is known.
    """
    gone: set[str] = set()
    began_s, delay_s, told = time.monotonic(), _FIRST_S, False
    while True:
        names = frozenset(store.names(fresh=True))
        unlisted = [name for name in own if name not in names and name not in gone]
        gone |= {name for name in unlisted if not _is_there(store, name)}
        missing = [name for name in unlisted if name not in gone]
        if not missing:
            return names, frozenset(gone)
        if time.monotonic() - began_s >= LAG_S:
            warn(
                f"{store.address} does not list {missing[0]} after {LAG_S:.0f} s, and has it: what others saved at the same "
                "time may be missing in its list too, and they may go on with other stages than those told here"
            )
            return names.union(missing), frozenset(gone)
        if not told:
            told = True
            warn(f"the list of names of {store.address} lags behind: waiting for {missing[0]}, at most {LAG_S:.0f} s")
        time.sleep(delay_s)
        delay_s = min(2 * delay_s, _LONGEST_S)


def _is_there(store: ImageStore, name: str) -> bool:
    try:
        store.get(name)
    except NotFound:
        return False
    except Broken:
        return True
    return True
