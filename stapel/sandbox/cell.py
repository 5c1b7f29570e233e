"""Cells: the processes in which files with foreign owners are touched and commands are started.

A cell is root of a user namespace and has mounts that nobody else sees. It is spawned, never forked from this process,
which may be large and full of threads; it ends with its socket, so with us, however we end. All cells of a store have
equal maps of ids; each serves one request at a time.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from stapel.errors import Cancelled, StapelError
from stapel.programs import find_program
from stapel.sandbox.identity import Identity
from stapel.sandbox.spawning import spawn, take_early
from stapel.sandbox.wire import Gone, receive, send


class CellError(StapelError):
    """A cell cannot start, or says that something cannot be done; `number` is the system's, 0 where it is not its."""

    reason = "sandbox_error"

    def __init__(self, message: str, *, number: int = 0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.number = number


class Readied(Protocol):
    """Commands that are ready in a cell, for who takes it with them."""

    def drop(self) -> None:
        """They will not run."""


class Cell:
    """One worker. Used by one thread at a time; `cancel` may be called by any."""

    def __init__(self, store_dir: Path, identity: Identity, asked: str, run_id: str) -> None:
        self._lock = threading.Lock()
        self._running = False
        self._socket, self._pid = take_early(str(store_dir)) or spawn(str(store_dir))
        self.failed = False
        self.readied: Readied | None = None
        try:
            self._answer()
            _map_ids(self._pid, identity)
            # What it makes of its own has this name, so that what is left when it is killed is known as this run's.
            send(self._socket, (asked, f"{run_id}-worker{self._pid}".encode()))
            self.driver, _ = self._answer()
        except BaseException:
            self.close()
            raise

    def ask(self, call: str, files: Sequence[int] = (), **arguments: Any) -> Any:  # noqa: ANN401 -- values of the wire
        """Ask and wait for the answer. `CellError`."""
        value, given = self.ask_for_files(call, files, **arguments)
        assert not given
        return value

    def ask_for_files(self, call: str, files: Sequence[int] = (), **arguments: Any) -> tuple[Any, list[int]]:  # noqa: ANN401
        """Likewise, where descriptors may be in the answer."""
        self.begin(call, files, **arguments)
        return self.finish()

    def begin(self, call: str, files: Sequence[int] = (), **arguments: Any) -> None:  # noqa: ANN401
        """Ask. The answer is taken by `finish`."""
        self.drop_readied()
        with self._lock:
            self._running = True
            try:
                send(self._socket, (call, arguments), files)
            except Gone as error:
                raise self._ended() from error

    def tell(self, word: str, files: Sequence[int] = (), **arguments: Any) -> None:  # noqa: ANN401
        """Say something to a call that waits for it. `CellError`."""
        with self._lock:
            try:
                send(self._socket, (word, arguments), files)
            except Gone as error:
                raise self._ended() from error

    def finish(self, on_large: Callable[[], None] = lambda: None) -> tuple[Any, list[int]]:
        """Wait for the answer. `CellError`. `on_large` is called where the layer that is made turns out to be large."""
        try:
            answer = self._answer(on_large)
        except CellError:
            self._end_call()
            raise
        # Who is interrupted before leaves a call behind that runs, and so a cell of no use.
        self._end_call()
        return answer

    def _end_call(self) -> None:
        with self._lock:
            self._running = False

    @property
    def is_usable(self) -> bool:
        """Whether it lives and waits for a question."""
        return not self.failed and not self._running

    def fileno(self) -> int:
        """Becomes readable with the answer."""
        return self._socket.fileno()

    def cancel(self) -> None:
        """Stop the commands that run, where some do."""
        with self._lock:
            if self._running:
                with suppress(Gone):
                    send(self._socket, ("cancel", {}))

    def drop_readied(self) -> None:
        """Nothing is ready in it any more: the next question ends what was."""
        readied, self.readied = self.readied, None
        if readied is not None:
            readied.drop()

    def close(self) -> None:
        """End it and what it has started."""
        self.drop_readied()
        self.hang_up()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def hang_up(self) -> None:
        """Let it end; `close` waits for it."""
        self._socket.close()

    def _answer(self, on_large: Callable[[], None] = lambda: None) -> tuple[Any, list[int]]:
        try:
            (state, value), files = receive(self._socket)
            if state == "large":
                on_large()
                (state, value), files = receive(self._socket)
        except Gone as error:
            raise self._ended() from error
        if state == "failed":
            number, text = value
            raise CellError(text, number=number)
        return value, files

    def _ended(self) -> CellError:
        self.failed = True
        return CellError("a worker of the sandbox has ended", hint="was it killed, or is the machine out of memory?")


class Cells:
    """The cells of an engine, started when they are needed. Thread-safe.

    `asked` names the driver of the store, or `auto`: then the first cell finds out, and `on_choice` is told.
    """

    def __init__(
        self,
        store_dir: Path,
        identity: Identity,
        run_id: str,
        asked: str = "overlay",
        on_choice: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store_dir = store_dir
        self._identity = identity
        self._run_id = run_id
        self._asked = asked
        self._on_choice = on_choice
        self._choosing = threading.Lock()
        self._lock = threading.Lock()
        self._idle: list[Cell] = []
        self._busy: set[Cell] = set()
        self._ending: list[Cell] = []
        self._closed = False
        self._early: threading.Thread | None = None

    def start_early(self, wanted: int = 1) -> None:
        """Start a cell beside what the caller does, where there are not so many of them."""

        def start() -> None:
            with suppress(StapelError, OSError, Cancelled):
                cell = self._start()
                with self._lock:
                    self._idle.append(cell)

        with self._lock:
            is_starting = self._early is not None and self._early.is_alive()
            if not is_starting and len(self._idle) + len(self._busy) < wanted:
                self._early = threading.Thread(target=start, name="sandbox-cell", daemon=True)
                self._early.start()

    @property
    def driver(self) -> str:
        """The name of the driver in use, for which the first cell may have to be started. `CellError`."""
        if self._asked == "auto":
            with self.take():
                pass
        return self._asked

    @contextmanager
    def take(self, readied: Readied | None = None) -> Iterator[Cell]:
        """A cell for this thread alone; the one where commands are ready, if it is still there. `CellError`."""
        cell = self._take(readied)
        try:
            yield cell
        finally:
            with self._lock:
                self._busy.discard(cell)
                keep = not self._closed and cell.is_usable
                if keep:
                    self._idle.append(cell)
            if not keep:
                cell.close()

    def rest(self) -> None:
        """Let those end that nobody has taken; `close` waits for them."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._ending += idle
        for cell in idle:
            cell.hang_up()

    def close(self) -> None:
        """End them all."""
        early = self._early
        if early is not None:
            early.join()
        with self._lock:
            self._closed = True
        self.rest()
        for cell in self._ending:
            cell.close()

    def _take(self, readied: Readied | None) -> Cell:
        cell = self._choose(readied)
        early = self._early
        if cell is None and early is not None:
            early.join()
            cell = self._choose(readied)
        if cell is None:
            cell = self._start()
        if cell.readied is not readied:
            cell.drop_readied()
        with self._lock:
            self._busy.add(cell)
        return cell

    def _choose(self, readied: Readied | None) -> Cell | None:
        """The idle cell that has what was made ready; else one that has nothing of the kind, rather than one that has."""
        with self._lock:
            if self._closed:
                raise Cancelled
            wanted = [cell for cell in self._idle if readied is not None and cell.readied is readied]
            free = wanted or [cell for cell in self._idle if cell.readied is None] or self._idle
            cell = free[-1] if free else None
            if cell is not None:
                self._idle.remove(cell)
            return cell

    def _start(self) -> Cell:
        if self._asked != "auto":
            return Cell(self._store_dir, self._identity, self._asked, self._run_id)
        with self._choosing:  # all cells of a store have one driver
            cell = Cell(self._store_dir, self._identity, self._asked, self._run_id)
            if self._asked == "auto":
                self._asked = cell.driver
                self._on_choice(cell.driver)
            return cell


def _map_ids(pid: int, identity: Identity) -> None:
    process = Path(f"/proc/{pid}")
    if os.geteuid() == 0:
        (process / "uid_map").write_text(identity.uids.map_text(identity.uid))
        (process / "gid_map").write_text(identity.gids.map_text(identity.gid))
    elif identity.has_ranges:
        for program, own, ids in (
            ("newuidmap", identity.uid, identity.uids),
            ("newgidmap", identity.gid, identity.gids),
        ):
            _call(program, str(pid), *ids.map_text(own).split())
    else:
        (process / "setgroups").write_text("deny")
        (process / "uid_map").write_text(f"0 {identity.uid} 1\n")
        (process / "gid_map").write_text(f"0 {identity.gid} 1\n")


def _call(program: str, *arguments: str) -> None:
    path = find_program(program, "/usr/bin:/bin")
    if path is None:
        raise CellError(f"{program} is not found", hint="install the package uidmap")
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writing, 2)]
        pid = os.posix_spawn(path, [program, *arguments], {"PATH": "/usr/bin:/bin"}, file_actions=actions)
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as complaints:
        said = complaints.read().decode("utf-8", "replace").strip()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise CellError(
            f"{program} ended with exit status {status}: {said}",
            hint="does /etc/subuid (and /etc/subgid) give this user a range?",
        )
