"""Trying again: what passes is waited for, a bounded number of times, with jitter, and as long as the server asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from stapel.oci.errors import Unreachable

T = TypeVar("T")


class Retries(Struct, frozen=True):
    """How often something is tried, and the waits between: doubling from `first_s` up to `longest_s`.

    The defaults give a server that is being restarted about half a minute. `longest_asked_s` bounds a Retry-After.
    """

    attempts: int = 6
    first_s: float = 1.0
    longest_s: float = 8.0
    longest_asked_s: float = 60.0

    def delay_s(self, attempt: int, asked_s: float | None = None) -> float:
        """The wait after the attempt of this number (from 1)."""
        import random

        if asked_s is not None:
            # Everybody was told the same time: a little later, each at another moment.
            return min(asked_s, self.longest_asked_s) + random.uniform(0, min(self.first_s, 1.0))
        return min(self.first_s * 2.0 ** (attempt - 1), self.longest_s) * random.uniform(0.75, 1.25)


class Passing(Exception):
    """Raised by a try that may end otherwise later. `at_most` bounds the attempts where it is rather a mistake."""

    def __init__(self, what: str, *, asked_s: float | None = None, at_most: int = 1000, hint: str = "") -> None:
        super().__init__(what)
        self.asked_s = asked_s
        self.at_most = at_most
        self.hint = hint


def with_retries(doing: str, once: Callable[[], T], retries: Retries, on_retry: Callable[[str], None] | None = None) -> T:
    """`once()`, again after every `Passing`; `Unreachable` after the last one, with its reason."""
    attempt = 1
    while True:
        try:
            return once()
        except Passing as passing:
            last = min(retries.attempts, passing.at_most)
            if attempt >= last:
                tries = f", {attempt} times" if attempt > 1 else ""
                raise Unreachable(f"{doing}: {passing}{tries}", hint=passing.hint, temporary=True) from passing
            delay_s = retries.delay_s(attempt, passing.asked_s)
            if on_retry is not None:
                on_retry(f"{doing}: {passing}; trying again in {delay_s:.1f} s ({attempt + 1} of {last})")
        time.sleep(delay_s)
        attempt += 1


def first_then(first: T, renew: Callable[[], T] | None) -> Callable[[], T]:
    """What the first call gets, and what `renew` gives to all that follow (where there is none: the same)."""
    begun = False

    def take() -> T:
        nonlocal begun
        if not begun or renew is None:
            begun = True
            return first
        return renew()

    return take


def retry_after_s(value: str | None, now_s: float) -> float | None:
    """A Retry-After header, seconds or an HTTP date, as seconds from `now_s` (epoch); None: absent or nonsense."""
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    date_s = http_date_s(value)
    return None if date_s is None else max(0.0, date_s - now_s)


def http_date_s(value: str) -> float | None:
    """An HTTP date as seconds since the epoch; None: nonsense."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
