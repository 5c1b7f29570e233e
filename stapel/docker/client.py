"""The Docker Engine's API through its SDK: a client a thread, no timeouts of the SDK's own, errors in our words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stapel.docker.endpoint import find_endpoint
from stapel.errors import NotFound, StapelError, Unreachable

if TYPE_CHECKING:
    from docker import APIClient

# A commit, a load or a push may take as long as it takes; what does not answer at all is found by the kernel.
_LONG_S = 24 * 3600
_IMPORTING = threading.Lock()


class Clients:
    """Gives each thread its own client (the SDK's are not made to be shared). Nothing is imported before the first use."""

    def __init__(self, docker_config: str | None = None) -> None:
        self.endpoint = find_endpoint(docker_config)
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
                f"the Docker Engine at {self.endpoint} does not answer: {_reason(error)}", hint=_HINT
            ) from error
        with self._lock:
            self._all.append(client)
        return client

    def close(self) -> None:
        """Close all clients."""
        with self._lock:
            clients, self._all = self._all, []
        for client in clients:
            client.close()


_HINT = "start it, or name it by DOCKER_HOST; `docker info` tells whether it answers and whether you may use it"


def _import_sdk() -> None:
    """Import the package as a whole first: two threads that import different modules of it at once wait for one another."""
    with _IMPORTING:
        import docker  # noqa: F401


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn the SDK's errors into ours: `NotFound`, `Unreachable`, else `StapelError`."""
    _import_sdk()
    from docker.errors import APIError, DockerException
    from docker.errors import NotFound as DockerNotFound
    from requests.exceptions import RequestException

    try:
        yield
    except DockerNotFound as error:
        raise NotFound(f"{doing}: {error.explanation or error}") from error
    except APIError as error:
        raise StapelError(f"the Docker Engine refused {doing}: {error.explanation or error}") from error
    except (RequestException, DockerException, OSError) as error:
        raise Unreachable(
            f"the Docker Engine went away while {doing}: {_reason(error)}", hint=_HINT, temporary=True
        ) from error


def _reason(error: BaseException) -> str:
    cause: BaseException | None = error
    texts = []
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__ or cause.__context__
    return next((text for text in reversed(texts) if text), type(error).__name__)
