"""Locks that keep many conveyors from doing the same work.

A lock saves work; nobody's correctness rests on it. It may be lost at any time (a lease ends, a server forgets), and its
holder is not told: whoever works under a lock must stay right without it. Implementations: `locking.file` (one machine),
`locking.redis` (many), `locking.null` (none). One conformance suite runs against each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct


class LockingError(Exception):
    """Root of the errors of locking.

    LockingError
    ├── LockTimeout       somebody else held the lock for the whole time that we were ready to wait
    └── LockUnavailable   nobody can give the lock now: no server, no permission, no space
    """


class LockTimeout(LockingError):
    """Somebody else held the lock for the whole time that we were ready to wait; `owner` says who, where it is known."""

    def __init__(self, name: str, owner: str, waited_s: float) -> None:
        super().__init__(f"lock {name} was not free within {waited_s:g} s" + (f", held by {owner}" if owner else ""))
        self.owner = owner


class LockUnavailable(LockingError):
    """Nobody can give the lock now. Temporary for all we know; the message says what failed and where.

    `told`: an error like it, of the same place, was raised before; whoever tells people tells them once.
    """

    def __init__(self, message: str, *, told: bool = False) -> None:
        super().__init__(message)
        self.told = told


class Waiting(Struct, frozen=True):
    """What is told to somebody who waits: whose lock it is and since when he holds it (0: not known)."""

    name: str
    owner: str
    since_ms: int


class Lease(Protocol):
    """A lock that we hold, as far as we know."""

    @property
    def name(self) -> str:
        """The lock's name."""

    def held(self) -> bool:
        """Whether it was ours a moment ago; False is certain, True is not."""

    def release(self) -> None:
        """Give it back. Does nothing where it is lost or was released; never raises."""


class Locks(Protocol):
    """A place that gives locks by name. Thread-safe; names are any text of up to 512 characters."""

    def acquire(self, name: str, *, timeout_s: float, on_wait: Callable[[Waiting], None] | None = None) -> Lease:
        """Wait for a lock, at most `timeout_s` seconds (0: try once).

        `on_wait` is called once, from this thread, when there is somebody to wait for. Locks are not reentrant: a thread
        that asks twice waits for itself. Raises `LockTimeout`, `LockUnavailable`.
        """

    def close(self) -> None:
        """Release what is held and forget connections. Closing twice is fine."""
