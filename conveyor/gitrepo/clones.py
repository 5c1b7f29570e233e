"""The clones of one run. Imports next to nothing: most builds need none."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conveyor.gitrepo.addresses import Address
    from conveyor.gitrepo.clone import Clone


class Clones:
    """The clones of a home by their addresses. Thread-safe."""

    def __init__(self, home_dir: str) -> None:
        """`environment`: variables for git beside ours."""
        self.home_dir = home_dir
        self.on_fetch: Callable[[str, str], None] = _tell_nobody  # what of which address is fetched now
        self.environment: dict[str, str] = {}
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._clones: dict[Address, Clone] = {}

    def of(self, address: Address) -> Clone:
        """The clone of an address; nothing is fetched yet."""
        from conveyor.gitrepo.clone import Clone

        with self._lock:
            if address not in self._clones:
                self._clones[address] = Clone(address, self)
            return self._clones[address]

    def use_agent(self, socket: Path) -> None:
        """Ask an SSH agent of this run from now on."""
        self.environment["SSH_AUTH_SOCK"] = str(socket)

    def stop(self) -> None:
        """End what is being fetched, and fetch nothing any more: who waits for it gets a `GitError`."""
        self._stopped.set()

    def is_stopped(self) -> bool:
        """Whether nothing is fetched any more."""
        return self._stopped.is_set()

    def close(self) -> None:
        """End git's processes."""
        with self._lock:
            for clone in self._clones.values():
                clone.close()


def _tell_nobody(what: str, url: str) -> None:
    del what, url
