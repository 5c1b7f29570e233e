"""A container that runs: its output while it comes, its end, and a connection that breaks in between.

Output is read from a stream that ends when the container has ended, when it has closed its output, or when a connection is
closed that somebody has between. The engine is asked which.
"""

from __future__ import annotations

from contextlib import closing, suppress
from itertools import count
from socket import SHUT_WR
from sys import audit as trace
from typing import Any

from stapel.api import Cancel, Log
from stapel.docker.client import Clients, EngineGone, engine_errors
from stapel.errors import NotFound, Unreachable

_DOING = "running a build container"
_END_S = 2.0  # after the end of its output a container ends at once, as a rule
_LONGEST_S = 3600.0
_KILLED = frozenset({128 + 9, 128 + 15})


class Following:
    """The way of one container from its start to its end."""

    def __init__(self, clients: Clients, container: str, log: Log, stdin: bytes = b"") -> None:
        self._clients = clients
        self._container = container
        self._log = log
        self._stdin = stdin
        self._output: Any = ()

    def start(self, cancel: Cancel) -> None:
        """Listen, then start it. `EngineGone`: nobody knows whether it was started. `Cancelled`."""
        with engine_errors(_DOING):
            client = self._clients.get()
            self._output = self._attach(client)
            stdin = client.attach_socket(self._container, params={"stdin": 1, "stream": 1}) if self._stdin else None
            cancel.check()
            trace("container.before-start")
            client.start(self._container)
            trace("container.after-start")
            if stdin is not None:
                self._give(stdin)

    def end(self, cancel: Cancel) -> int:
        """Pass its output on; the exit status. `EngineGone` where its end was not seen; `Cancelled` instead of waiting."""
        for asked in count():
            try:
                with engine_errors(_DOING):
                    self._pass_on()
                    status = self._wait(min(_END_S * 4**asked, _LONGEST_S))
                    if status is not None:
                        if status in _KILLED:
                            self._clients.get().ping()  # an engine that ends kills what runs
                        return status
                    self._attach_again()
            except EngineGone as error:
                cancel.check()
                self._listen_again(error)
                cancel.check()
        raise AssertionError

    def _give(self, attached: Any) -> None:  # noqa: ANN401 -- the SDK's
        """Write its stdin and close it. A container that has ended meanwhile says why itself."""
        connection = getattr(attached, "_sock", attached)
        with closing(attached), suppress(OSError):
            connection.sendall(self._stdin)
            connection.shutdown(SHUT_WR)

    def _listen_again(self, error: EngineGone) -> None:
        """Go on after a broken connection, if the container runs yet."""
        try:
            state = self._clients.ask(
                "looking for a build container", lambda client: client.inspect_container(self._container)["State"]
            )
        except NotFound:
            state = {}
        except Unreachable as again:
            raise Unreachable(f"{error}, and does not come back", hint=again.hint, temporary=True) from again
        if not state.get("Running"):
            raise error
        self._attach_again()
        self._log("stderr", b"conveyor: the connection to the Docker Engine broke; what was said meanwhile is lost\n")

    def _attach_again(self) -> None:
        """Listen to what runs. The output of a container that has ended meanwhile would not end: it may be started again."""
        with engine_errors(_DOING):
            client = self._clients.get()
            output = self._attach(client)
            running = client.inspect_container(self._container)["State"]["Running"]
            self._output = output if running else ()

    def _attach(self, client: Any) -> Any:  # noqa: ANN401 -- the SDK's
        return client.attach(self._container, stdout=True, stderr=True, stream=True, demux=True)

    def _pass_on(self) -> None:
        for stdout, stderr in self._output:
            if stdout:
                self._log("stdout", stdout)
            if stderr:
                self._log("stderr", stderr)

    def _wait(self, timeout_s: float) -> int | None:
        """The exit status; None where it has not ended by then."""
        from requests.exceptions import RequestException

        try:
            return int(self._clients.get().wait(self._container, timeout=timeout_s)["StatusCode"])  # type: ignore[arg-type]
        except RequestException as error:
            if not _timed_out(error):
                raise
            return None


def _timed_out(error: BaseException) -> bool:
    from requests.exceptions import ReadTimeout
    from urllib3.exceptions import ReadTimeoutError

    return isinstance(error, ReadTimeout) or any(isinstance(one, ReadTimeoutError) for one in error.args)
