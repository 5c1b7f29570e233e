"""No locks: everybody gets every lock at once. What is right without locks stays right."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from locking.api import Waiting


class NullLease(Struct, frozen=True):
    """A lease that keeps nobody out."""

    name: str

    def held(self) -> bool:
        """Never: nobody else is kept out."""
        return False

    def release(self) -> None:
        """Nothing to give back."""


class NullLocks:
    """Gives every lock to everybody."""

    def acquire(self, name: str, *, timeout_s: float, on_wait: Callable[[Waiting], None] | None = None) -> NullLease:
        """A lease, at once."""
        del timeout_s, on_wait
        return NullLease(name)

    def close(self) -> None:
        """Nothing to close."""
