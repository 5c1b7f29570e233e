"""The clones of one run. Imports next to nothing: most builds need none."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from conveyor.gitrepo.addresses import Address
    from conveyor.gitrepo.clone import Clone


class Clones:
    """The clones of a home by their addresses. Thread-safe."""

    def __init__(self, home_dir: str, open_agent: Callable[[], AbstractContextManager[Path]] | None = None) -> None:
        """`open_agent`: an SSH agent in the place of the user's, by its socket; it is started when it is first needed."""
        self.home_dir = home_dir
        self.on_fetch: Callable[[str, str], None] = _tell_nobody  # what of which address is fetched now
        self._open_agent = open_agent
        self._agent: Path | None = None
        self._agent_lock = threading.Lock()
        self._resources = ExitStack()
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

    def agent(self) -> Path | None:
        """The socket of the agent that this run has in the place of the user's, None where it has none.

        Raises what starting it raises.
        """
        with self._agent_lock:
            if self._agent is None and self._open_agent is not None:
                self._agent = self._resources.enter_context(self._open_agent())
            return self._agent

    def environment(self, address: Address) -> dict[str, str]:
        """Variables for git beside ours, where it asks this address."""
        # An address that is not SSH's may be made one by git's settings.
        agent = None if address.is_local else self.agent()
        return {"SSH_AUTH_SOCK": str(agent)} if agent is not None else {}

    def stop(self) -> None:
        """End what is being fetched, and fetch nothing any more: who waits for it gets a `GitError`."""
        self._stopped.set()

    def is_stopped(self) -> bool:
        """Whether nothing is fetched any more."""
        return self._stopped.is_set()

    def close(self) -> None:
        """End git's processes, and the agent."""
        with self._lock:
            for clone in self._clones.values():
                clone.close()
        with self._agent_lock:
            self._agent = self._open_agent = None
            self._resources.close()


def _tell_nobody(what: str, url: str) -> None:
    del what, url
