"""Locks in a Redis, for all machines that reach it.

A lock is a lease: it ends by itself unless its holder extends it, so a holder that is gone keeps nobody waiting for long. A
thread extends the leases that we hold. By our own clock a lease ends before it does by that of the server: we count from
the moment when we asked, and the server from the moment when it heard us.

Who comes first is served first. Who waits sleeps until he is woken by the one who gives the lock back, or until the lease
ends. What happens in the server stands in `locking.redis_scripts`; how we speak to it, in `locking.redis_line`.

The package `redis` is imported by the first request: most builds save nothing and ask for no lock.
"""

from __future__ import annotations

import importlib.util
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from sys import audit as trace
from typing import TYPE_CHECKING, Any

from locking import redis_scripts as scripts
from locking.api import LockTimeout, LockUnavailable, Waiting
from locking.owners import describe_owner
from locking.redis_address import Address, parse_address
from locking.redis_line import REPLY_S, Line

if TYPE_CHECKING:
    import redis

_LEASE_S = 15.0
_WAITER_S = 6.0
_ASK_AGAIN_S = 2.0


class RedisLease:
    """A lease that is ours until its deadline, which is put off while the server agrees."""

    def __init__(self, name: str, token: str, deadline_s: float, give_back: Callable[[RedisLease], None]) -> None:
        self._name = name
        self._token = token
        self._deadline_s = deadline_s
        self._give_back = give_back
        self._over = False
        self._mutex = threading.Lock()

    @property
    def name(self) -> str:
        """The lock's name."""
        return self._name

    @property
    def token(self) -> str:
        """What the server knows this lease by."""
        return self._token

    def held(self) -> bool:
        """Whether it was neither released nor lost, and its end has not come."""
        return not self._over and time.monotonic() < self._deadline_s

    def release(self) -> None:
        """Give it back, and have the next one woken. A second time does nothing."""
        with self._mutex:
            if self._over:
                return
            self._over = True
        trace("lock.before-release")
        self._give_back(self)
        trace("lock.after-release")

    def extend(self, deadline_s: float) -> bool:
        """Put the deadline off; False where it is over or too late: what was lost once stays lost."""
        with self._mutex:
            if not self.held():
                self._over = True
                return False
            self._deadline_s = deadline_s
            return True

    def lose(self) -> None:
        """Note that it is another's now, or nobody's."""
        self._over = True


class RedisLocks:
    """Locks at a `redis://` or `rediss://` address. Thread-safe; nothing is asked of the server before the first lock.

    Raises `ValueError` for what is no such address, and `ImportError` where the package `redis` is not installed.
    """

    def __init__(self, address: str, *, lease_s: float = _LEASE_S) -> None:
        where = parse_address(address)
        if importlib.util.find_spec("redis") is None:
            raise ImportError("the Python package redis is not installed")
        self._line: Line[redis.Redis] = Line(str(where), partial(_connect, where), _disconnect, _explain)
        self._lease_s = lease_s
        self._leases: set[RedisLease] = set()
        self._changed = threading.Condition()
        self._beating = False
        self._told = False

    def acquire(self, name: str, *, timeout_s: float, on_wait: Callable[[Waiting], None] | None = None) -> RedisLease:
        """Wait for a lock, at most `timeout_s` seconds. `LockTimeout`.

        `LockUnavailable` within some seconds where the server gives no answer or a bad one, and at once for a while after.
        """
        try:
            self._line.check()
            return self._queue(name, timeout_s, on_wait)
        except LockUnavailable as error:
            with self._changed:
                error.told, self._told = self._told, True
            raise

    def close(self) -> None:
        """Release what is held and close connections."""
        with self._changed:
            leases = list(self._leases)
        for lease in leases:
            lease.release()
        self._line.close()

    def _queue(self, name: str, timeout_s: float, on_wait: Callable[[Waiting], None] | None) -> RedisLease:
        token = secrets.token_hex(16)
        leave = partial(scripts.leave, name=name, token=token)
        try:
            return self._wait(name, token, time.monotonic() + timeout_s, timeout_s, on_wait)
        except LockUnavailable:
            # It may have heard us all the same. This undoes it, or else the end of the lease that nobody extends.
            self._line.tell(leave, patience_s=self._lease_s)
            raise
        except BaseException:
            with suppress(LockUnavailable):
                self._line.ask(leave)
            raise

    def _wait(
        self, name: str, token: str, until_s: float, timeout_s: float, on_wait: Callable[[Waiting], None] | None
    ) -> RedisLease:
        owner = describe_owner()

        def ask(client: redis.Redis, waiter_s: float) -> tuple[float, scripts.Answer]:
            asked_s = time.monotonic()
            return asked_s, scripts.acquire(client, name, token, owner, lease_s=self._lease_s, waiter_s=waiter_s)

        while True:
            waiter_s = _WAITER_S if time.monotonic() < until_s else 0
            asked_s, answer = self._line.ask(partial(ask, waiter_s=waiter_s))
            if answer.taken:
                trace("lock.after-take")
                return self._hold(RedisLease(name, token, asked_s + self._lease_s, self._take_back))
            if on_wait is not None:
                since_ms = time.time_ns() // 1_000_000 - answer.held_ms if answer.held_ms is not None else 0
                on_wait(Waiting(name, answer.owner, since_ms))
                on_wait = None
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                raise LockTimeout(name, answer.owner, timeout_s)
            self._sleep(token, min(left_s, answer.again_in_s, _ASK_AGAIN_S))

    def _sleep(self, token: str, seconds: float) -> None:
        try:
            self._line.ask_once(partial(scripts.sleep, token=token, seconds=seconds), busy_s=seconds)
        except Exception:
            # Whether the server is there, the next question shows. Where it is, and this alone fails, we ask now and then.
            time.sleep(min(seconds, 0.25))

    def _hold(self, lease: RedisLease) -> RedisLease:
        with self._changed:
            self._leases.add(lease)
            if not self._beating:
                # A process that can start no thread has its lease without extending it: it ends in time, like any other.
                with suppress(RuntimeError):
                    threading.Thread(target=self._beat, name="redis leases", daemon=True).start()
                    self._beating = True
        return lease

    def _take_back(self, lease: RedisLease) -> None:
        self._forget(lease)
        leave = partial(scripts.leave, name=lease.name, token=lease.token)
        # Who releases does not wait for a server that is away; it frees the lock itself when the lease ends.
        if self._line.rests():
            self._line.tell(leave, patience_s=self._lease_s)
            return
        with suppress(LockUnavailable):
            self._line.ask(leave)

    def _forget(self, lease: RedisLease) -> None:
        with self._changed:
            self._leases.discard(lease)
            self._changed.notify_all()

    def _beat(self) -> None:
        failed = False
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._leases, self._lease_s / (15 if failed else 3))
                if not self._leases:
                    self._beating = False
                    return
                leases = list(self._leases)
            # One by one, and after a failure the others at the next beat: a server that is away is not asked many times.
            failed = not all(self._extend(lease) for lease in leases)

    def _extend(self, lease: RedisLease) -> bool:
        """Extend one lease; False where the server gave no answer."""
        asked_s = time.monotonic()
        try:
            renew = partial(scripts.renew, name=lease.name, token=lease.token, lease_s=self._lease_s)
            ours = lease.held() and self._line.ask_once(renew)
        except Exception:
            return False  # the deadline decides
        if not ours:
            lease.lose()
            self._forget(lease)
        elif not lease.extend(asked_s + self._lease_s):
            # Too late, and nobody has it: do not let it stand there until its new end.
            self._forget(lease)
            self._line.tell(partial(scripts.leave, name=lease.name, token=lease.token), patience_s=self._lease_s)
        return True


def _connect(where: Address) -> redis.Redis:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    tls: dict[str, Any] = {}
    if where.tls is not None:
        # Older versions of redis-py do not compare the host's name unless they are told to.
        tls = {"ssl": True, "ssl_check_hostname": where.tls.get("ssl_cert_reqs") != "none", **where.tls}
    return redis.Redis(
        host=where.host,
        port=where.port,
        db=where.db,
        username=where.user,
        password=where.password,
        socket_connect_timeout=REPLY_S,
        socket_timeout=_ASK_AGAIN_S + REPLY_S,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        **tls,
    )


def _disconnect(client: redis.Redis) -> None:
    client.connection_pool.disconnect(inuse_connections=False)


def _explain(error: Exception) -> tuple[str, bool]:
    """What an error means, and what to look at; whether it may pass in a moment."""
    try:
        from redis import exceptions
    except ImportError as missing:
        return f"the Python package redis cannot be imported: {missing}", False
    text = " ".join(str(error).partition(" script: ")[0].split()).rstrip(".") or type(error).__name__
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError() | exceptions.NoPermissionError():
            return f"{text} (look at the user and the password in its address, and at the user's rights)", False
        case exceptions.BusyLoadingError() | exceptions.ReadOnlyError() | exceptions.ClusterDownError():
            return f"{text} (it has just started, or is a replica)", True
        case exceptions.ResponseError():
            return f"{text} (it is full, not able to save, or older than Redis 6)", False
        case exceptions.ConnectionError() | exceptions.TimeoutError() | OSError():
            return f"{text} (look whether it is up, and whether it can be reached from here)", True
        case _:
            return f"{type(error).__name__}: {text}", False
