"""The Docker Engine's API through its SDK: a client a thread, no timeouts of the SDK's own, errors in our words.

An engine that has answered and is gone may be starting again: what may be said twice is said again, for about half a
minute. One that has not answered yet is not waited for: it does not run, or it is elsewhere.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from stapel.docker.endpoint import find_endpoint
from stapel.errors import NotFound, StapelError, Unreachable
from stapel.oci.retries import Passing, Retries, with_retries

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")

# A commit, a load or a push may take as long as it takes; what does not answer at all is found by the kernel.
_LONG_S = 24 * 3600
_IMPORTING = threading.Lock()
_GONE_STATUSES = frozenset({502, 503, 504})


class Clients:
    """Gives each thread its own client (the SDK's are not made to be shared). Nothing is imported before the first use."""

    def __init__(
        self,
        docker_config: str | None = None,
        *,
        on_retry: Callable[[str], None] | None = None,
        retries: Retries | None = None,
    ) -> None:
        """`on_retry` is told of every wait, from any thread."""
        self.endpoint = find_endpoint(docker_config)
        self._on_retry = on_retry
        self._retries = retries or Retries()
        self._has_answered = False
        self._is_lost = False  # it was waited for in vain: from now on it is asked once
        self._own = threading.local()
        self._lock = threading.Lock()
        self._all: list[APIClient] = []

    def get(self) -> APIClient:
        """This thread's client. `Unreachable`."""
        client: APIClient | None = getattr(self._own, "client", None)
        if client is None:
            client = self.make()
            self._own.client = client
        return client

    def make(self) -> APIClient:
        """A client of its own, for what must run beside a call of this thread. `Unreachable`."""
        _import_sdk()
        from docker import APIClient
        from docker.errors import DockerException
        from docker.utils import kwargs_from_env

        try:
            arguments = kwargs_from_env()
            arguments["base_url"] = self.endpoint
            client = APIClient(version="auto", timeout=_LONG_S, **arguments)
        except (DockerException, OSError) as error:
            raise Unreachable(
                f"the Docker Engine at {self.endpoint} does not answer: {_reason(error)}", hint=_HINT, temporary=True
            ) from error
        with self._lock:
            self._all.append(client)
        return client

    def ask(self, doing: str, question: Callable[[APIClient], T]) -> T:
        """What the engine answers to something that does no harm when it is said twice.

        `NotFound`, `StapelError`; `Unreachable` where it is gone and does not come back.
        """

        def once() -> T:
            with engine_errors(doing):
                return question(self.get())

        return self.retrying(doing, once)

    def retrying(self, doing: str, once: Callable[[], T]) -> T:
        """`once`, again where it raises an `Unreachable` that is temporary and the engine has answered before."""

        def try_it() -> T:
            try:
                found = once()
            except EngineGone as error:
                if not self._has_answered:
                    raise
                raise Passing(f"the Docker Engine went away: {error.why}", hint=error.hint) from error
            except Unreachable as error:
                if not self._has_answered or not error.temporary:
                    raise
                raise Passing(str(error), hint=error.hint) from error
            self._has_answered, self._is_lost = True, False
            return found

        try:
            return with_retries(doing, try_it, Retries(attempts=1) if self._is_lost else self._retries, self._on_retry)
        except Unreachable as error:
            self._is_lost = self._is_lost or error.temporary
            raise

    def close(self) -> None:
        """Close all clients."""
        with self._lock:
            clients, self._all = self._all, []
        for client in clients:
            client.close()


class EngineGone(Unreachable):
    """The engine does not answer any more; `why`, without what was being done."""

    def __init__(self, doing: str, why: str) -> None:
        super().__init__(f"the Docker Engine went away while {doing}: {why}", hint=_HINT, temporary=True)
        self.why = why


_HINT = "start it, or name it by DOCKER_HOST; `docker info` tells whether it answers and whether you may use it"


def _import_sdk() -> None:
    """Import the package as a whole first: two threads that import different modules of it at once wait for one another."""
    with _IMPORTING:
        import docker  # noqa: F401


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn the SDK's errors into ours: `NotFound`, `EngineGone`, else `StapelError`."""
    _import_sdk()
    from docker.errors import APIError, DockerException
    from docker.errors import NotFound as DockerNotFound
    from requests.exceptions import RequestException

    try:
        yield
    except DockerNotFound as error:
        raise NotFound(f"{doing}: {error.explanation or error}") from error
    except APIError as error:
        answer = error.response
        if (
            error.status_code in _GONE_STATUSES
            and answer is not None
            and "json" not in answer.headers.get("Content-Type", "")
        ):
            # The engine itself would say it in JSON: something stands before it.
            raise EngineGone(doing, str(error.explanation or error)) from error
        raise StapelError(f"the Docker Engine refused {doing}: {error.explanation or error}") from error
    except (RequestException, DockerException, OSError) as error:
        raise EngineGone(doing, _reason(error)) from error


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    texts = []
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    return next((text for text in reversed(texts) if text), type(error).__name__)
