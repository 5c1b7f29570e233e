"""Requests to a server that may be away, slow or dead: each comes to an end in a few seconds, whatever the server does.

Timeouts of sockets do not see to that: finding an address, a host with many of them, and a server that answers byte by
byte take their own time. So every request runs in a thread of its own that is waited for so long and no longer; it is a
daemon, and it ends with the timeouts of its socket.

What fails is tried again while it may be a cut connection or a restart, `_PATIENCE_S` in all. After that the server rests:
for `_REST_S` every request fails at once, so that a build without its server is not held up at each stage.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from locking.api import LockUnavailable

Client = TypeVar("Client")
Answer = TypeVar("Answer")

REPLY_S = 2.0
_PATIENCE_S = 3.0
_REST_S = 30.0
_IDLE_S = 30.0


class Line(Generic[Client]):
    """A server, as one client of it. Thread-safe.

    `connect` makes the client at the first request; `disconnect` closes what of its connections nobody uses; `explain`
    says in one line what an error of the client means, and whether the same request may succeed in a moment.
    """

    def __init__(
        self,
        address: str,
        connect: Callable[[], Client],
        disconnect: Callable[[Client], None],
        explain: Callable[[Exception], tuple[str, bool]],
    ) -> None:
        self._address = address
        self._connect = connect
        self._disconnect = disconnect
        self._explain = explain
        self._mutex = threading.Lock()
        self._client: Client | None = None
        self._used_s = 0.0
        self._outage: tuple[float, str] | None = None  # until when, and why

    def ask(self, request: Callable[[Client], Answer]) -> Answer:
        """The answer of the server, tried again for a while. `LockUnavailable` says why there is none."""
        self.check()
        failing_since_s: float | None = None
        pause_s = 0.05
        while True:
            try:
                answer = self.ask_once(request)
            except Exception as error:  # a client may fail in any way, and no build fails of it
                now_s = time.monotonic()
                why, passing = self._explain(error)
                if failing_since_s is None:
                    failing_since_s = now_s - (REPLY_S if isinstance(error, TimeoutError) else 0)
                if not passing or now_s - failing_since_s >= _PATIENCE_S:
                    raise self._rest(why) from error
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, 1)
            else:
                self._outage = None
                return answer

    def ask_once(self, request: Callable[[Client], Answer], *, busy_s: float = 0.0) -> Answer:
        """The answer, or whatever error the client has. `TimeoutError` after a while, to which `busy_s` is added."""
        client = self._client_to_use()
        try:
            return bounded(lambda: request(client), REPLY_S + busy_s)
        except Exception:
            # Connections that lie idle may be as dead as this one, and not know it.
            self._disconnect_idle(client)
            raise

    def tell(self, request: Callable[[Client], object], *, patience_s: float) -> None:
        """Have a request made without waiting for it, tried again for so long, whatever becomes of it."""
        until_s = time.monotonic() + patience_s

        def attempt() -> None:
            while time.monotonic() < until_s:
                with suppress(Exception):
                    request(self._client_to_use())
                    return
                time.sleep(1)

        with suppress(RuntimeError):  # no thread can be started
            threading.Thread(target=attempt, name="redis tell", daemon=True).start()

    def check(self) -> None:
        """Raise `LockUnavailable` while the server rests: nothing would be asked of it."""
        outage = self._outage
        if outage is not None and time.monotonic() < outage[0]:
            raise LockUnavailable(outage[1])

    def rests(self) -> bool:
        """Whether requests fail at once for now."""
        outage = self._outage
        return outage is not None and time.monotonic() < outage[0]

    def close(self) -> None:
        """Close connections; a later request opens one again."""
        with self._mutex:
            client, self._client = self._client, None
        if client is not None:
            self._disconnect_idle(client)

    def _client_to_use(self) -> Client:
        with self._mutex:
            now_s = time.monotonic()
            if self._client is None:
                self._client = self._connect()
            elif now_s - self._used_s > _IDLE_S:
                # What stands between us and the server may have forgotten connections that nothing was sent through.
                self._disconnect_idle(self._client)
            self._used_s = now_s
            return self._client

    def _disconnect_idle(self, client: Client) -> None:
        with suppress(Exception):
            self._disconnect(client)

    def _rest(self, why: str) -> LockUnavailable:
        message = f"no locks from {self._address}: {why}"
        self._outage = (time.monotonic() + _REST_S, message)
        return LockUnavailable(message)


def bounded(call: Callable[[], Answer], timeout_s: float) -> Answer:
    """What a call gives or raises, in a thread that is left alone with it after so long. Then `TimeoutError`."""
    results: SimpleQueue[tuple[Callable[[], Answer]]] = SimpleQueue()

    def run() -> None:
        try:
            answer = call()
        except BaseException as caught:
            error = caught

            def fail() -> Answer:
                raise error

            results.put((fail,))
        else:
            results.put((lambda: answer,))

    threading.Thread(target=run, name="redis request", daemon=True).start()
    try:
        (result,) = results.get(timeout=timeout_s)
    except Empty:
        raise TimeoutError(f"no answer within {timeout_s:g} s") from None
    return result()
