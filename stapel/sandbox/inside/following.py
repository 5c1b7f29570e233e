"""Commands that are made ready behind others: their runner and their mounts are there before they may begin."""

from __future__ import annotations

import _socket
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from stapel.sandbox.inside.building import remove
from stapel.sandbox.inside.drivers import Driver
from stapel.sandbox.inside.merging import Overlays
from stapel.sandbox.inside.process import OnNext
from stapel.sandbox.inside.running import Commands


def launch(
    driver: Driver, files: Sequence[int], lowers: list[bytes], filling: bytes, run: Mapping[str, Any]
) -> Following | None:
    """Launch what will follow the commands that run; None where that cannot be: its turn will come.

    `files` are the result's, or closed. Whole trees are not copied before it is known that they are needed.
    """
    if not isinstance(driver, Overlays):
        _close(files)
        return None
    following: Following | None = None
    try:
        following = Following(driver, files, lowers, filling, run)
        following.launch()
    except OSError:
        following.drop(beside=True) if following is not None else _close(files)
        return None
    return following


class Following:
    """One of them: launched; then `set_up`, when those before have ended; then `finish` or `drop`."""

    def __init__(
        self, driver: Overlays, files: Sequence[int], lowers: list[bytes], filling: bytes, run: Mapping[str, Any]
    ) -> None:
        self._driver, self._files, self._lowers, self._filling = driver, [*files], lowers, filling
        self._commands = Commands(driver, filling, run, files, held=True)
        self._error: Exception | None = None

    def launch(self) -> None:
        """Start the runner. `OSError`."""
        # What is being filled gets another name once it is told of.
        below = os.open(self._lowers[0], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._files.append(below)
        self._lowers[0] = b"/proc/self/fd/%d" % below
        self._commands.launch()

    def set_up(self) -> None:
        """Have the tree and its mounts, so that only the commands are left to be run. Errors are those of `finish`."""
        try:
            self._driver.begin(self._filling, self._lowers)
            self._commands.enter(self._lowers)
            self._commands.set_up()
        except Exception as error:
            self._error = error

    def finish(self, control: _socket.socket, on_next: OnNext) -> dict[str, Any]:
        """Let the commands begin, and wait for them; see `Commands.finish`."""
        try:
            if self._error is not None:
                raise self._error
            self._commands.go()
            return self._commands.finish(control, on_next)
        finally:
            self._commands.end()
            _close(self._files)

    def drop(self, *, beside: bool = False) -> None:
        """Nobody wants it. `beside`: those before it run still."""
        self._commands.end(beside=beside)
        _close(self._files)
        with suppress(OSError):  # who removes what is left of killed runs finds it
            remove(self._filling)


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)
