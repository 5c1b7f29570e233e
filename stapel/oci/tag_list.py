"""The names of a repository as one run knows them: the last list, and what it has named itself since."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class ListTags(Protocol):
    """Asks a registry for all tags of a repository; `fresh`: past every cache between."""

    def __call__(self, *, fresh: bool) -> list[str]:
        """One list."""


class TagList:
    """See the module. Thread-safe."""

    def __init__(self, list_tags: ListTags) -> None:
        self._list_tags = list_tags
        self._lock = threading.Lock()
        self._listing = threading.Lock()
        self._list: frozenset[str] | None = None
        self._list_began_s = 0.0
        self._given: dict[str, tuple[float, str]] = {}  # name -> when and to what digest we gave it

    def kept(self) -> frozenset[str]:
        """The list that was asked for last; a first one where there is none."""
        with self._listing:  # one request serves all who wait for a first list
            kept = self._list
            return self._request(fresh=False) if kept is None else kept

    def ask(self) -> frozenset[str]:
        """A list that is asked for after this call."""
        # No lock: a list that somebody else asked for may have begun before this call.
        return self._request(fresh=True)

    def give(self, name: str, digest: str) -> None:
        """Note a name that we have given."""
        with self._lock:
            self._given[name] = (time.monotonic(), digest)
            if self._list is not None:
                self._list |= {name}

    def has_given(self, name: str) -> bool:
        """Whether we have given a name that is not forgotten."""
        return name in self._given

    def forget(self, digest: str) -> None:
        """Forget the list, and the names that we gave to an image, which is deleted."""
        with self._lock:
            self._given = {name: given for name, given in self._given.items() if given[1] != digest}
            self._list = None

    def _request(self, *, fresh: bool) -> frozenset[str]:
        began_s = time.monotonic()
        listed = self._list_tags(fresh=fresh)
        with self._lock:
            # What was given while the list was on its way may or may not be in it.
            names = frozenset(listed) | {name for name, (when_s, _) in self._given.items() if when_s >= began_s}
            if self._list is None or began_s >= self._list_began_s:
                self._list, self._list_began_s = names, began_s
            return names
