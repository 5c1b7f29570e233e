"""Trees in and below which no file of attributes gives anything to Git LFS, kept between runs: a tree never changes.

One file in the home for each repository, with the ids one after another. Who adds to it writes it anew as a whole; of two
who do so at once one is forgotten, and the next run finds out again what it knew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading

from conveyor.build.replacing import replace_file

_MOST_KEPT = 200_000  # 4 MB


class PlainTrees:
    """The ids that are known of one repository. Thread-safe; nothing is read before the first question."""

    def __init__(self, home_dir: str, common_dir: bytes) -> None:
        name = hashlib.sha256(common_dir).hexdigest()[:16]
        self._path = os.path.join(os.path.abspath(home_dir), "plain-trees", name)
        self._lock = threading.Lock()
        self._known: set[bytes] | None = None
        self._added: set[bytes] = set()

    def has(self, oid: str) -> bool:
        """Whether a tree is known."""
        with self._lock:
            if self._known is None:
                self._known = self._read(len(oid) // 2)
            return bytes.fromhex(oid) in self._known

    def add(self, oid: str) -> None:
        """Note a tree."""
        with self._lock:
            raw = bytes.fromhex(oid)
            if self._known is not None and raw not in self._known:
                self._known.add(raw)
                self._added.add(raw)

    def save(self) -> None:
        """Keep what was noted. A home that cannot be written to costs the next run time."""
        with self._lock:
            if not self._added or self._known is None:
                return
            kept = self._known if len(self._known) <= _MOST_KEPT else self._added
            self._added = set()
            with contextlib.suppress(OSError):
                replace_file(self._path, b"".join(sorted(kept)))

    def _read(self, id_bytes: int) -> set[bytes]:
        try:
            with open(self._path, "rb") as file:
                data = file.read()
        except OSError:
            return set()
        if len(data) % id_bytes:
            return set()
        return {data[start : start + id_bytes] for start in range(0, len(data), id_bytes)}
