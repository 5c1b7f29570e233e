"""Mount points that running commands need and an image may lack: the lowest layer under them, made once a set of points."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from sys import audit as trace

from stapel.sandbox.store import Store


def make_stub(store: Store, points: Sequence[tuple[str, bool]]) -> str:
    """A directory with these mount points (path, whether it is a directory); its path relative to the snapshots."""
    name = hashlib.sha256(repr(sorted(points)).encode()).hexdigest()[:16]
    path = store.dir / "stubs" / name
    if not path.is_dir():
        filling = store.absolute(store.new_filling())
        for point, is_directory in points:
            place = filling / point.strip("/")
            if is_directory:
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
        try:
            trace("stub.before-rename")
            filling.rename(path)
        except OSError:
            if not path.is_dir():
                raise
            import shutil

            shutil.rmtree(filling)
    return f"../stubs/{name}"
