"""The work of the sandbox: layers of files and of commands, trees, images brought from other stores.

Apart from the engine's door because a run that has nothing to build never comes here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from stapel.api import Cancel, Lay, Log, Run, Tree
from stapel.errors import Broken, Cancelled, CommandFailed
from stapel.oci.api import ImageStore
from stapel.places import Places
from stapel.sandbox.cell import Cell, CellError, Cells
from stapel.sandbox.cleaner import Cleaner
from stapel.sandbox.filling import fill, lowers, path_of
from stapel.sandbox.held import SandboxHeld
from stapel.sandbox.pipes import PIPE_BYTES, make_pipe
from stapel.sandbox.readying import Expected, Readied, Running
from stapel.sandbox.records import Layer
from stapel.sandbox.runs import Prepared, Runs
from stapel.sandbox.sending import Sending, Sendings
from stapel.sandbox.steps import Steps
from stapel.sandbox.store import Store
from stapel.sandbox.tree import SandboxTree

if TYPE_CHECKING:
    from stapel.oci.layer import LayerResult
    from stapel.sandbox.program import Program


class Filled(Struct, frozen=True):
    """What a worker has filled and nobody has published; `readied`: commands that wait in it to go on there."""

    layer: LayerResult | None
    status: int
    readied: Readied | None = None


class _How(Struct, frozen=True):
    """What comes with the steps of a layer."""

    log: Log
    cancel: Cancel
    key: str = ""
    sending: Sending | None = None


class Builds:
    """Builds layers over one store. Thread-safe."""

    def __init__(self, store: Store, cells: Cells, runs: Runs, sendings: Sendings) -> None:
        self._store = store
        self._cells = cells
        self._runs = runs
        self._sendings = sendings
        self._steps = Steps(store)
        self._cleaner = Cleaner(cells)
        self._has_leftovers = True  # for all we know
        self._expected = Expected()

    def build(
        self,
        on: SandboxHeld,
        lays: Sequence[Lay],
        run: Run | None,
        log: Log,
        cancel: Cancel,
        key: str = "",
        into: ImageStore | None = None,
    ) -> SandboxHeld:
        """One layer of files, then commands. `CommandFailed`; a failure leaves nothing."""
        try:
            layer, following = self._layer(on, lays, run, log, cancel, key, into)
        finally:
            self._expected.end(key)
        config = on.config.with_(rootfs={"type": "layers", "diff_ids": [*on.config.diff_ids, layer.diff_id]})
        below = on.again()  # must stay as long as what stands on it
        made = SandboxHeld(config, (*on.layers, layer), on_close=lambda: self._let_go(below, layer))
        made.readied = following
        return made

    def _layer(
        self,
        on: SandboxHeld,
        lays: Sequence[Lay],
        run: Run | None,
        log: Log,
        cancel: Cancel,
        key: str,
        into: ImageStore | None,
    ) -> tuple[Layer, Readied | None]:
        """The layer, and the commands that are ready to follow it."""
        with self._steps.take(key if run is not None else "", self._cells.driver, on.layers, log, cancel) as step:
            if step.layer is not None:
                return step.layer, None
            readied = on.readied if on.readied is not None and on.readied.run == run and not lays else None
            with fill(self._store, self._cells, readied) as (cell, filling), self._sendings.expect(into) as sending:
                with _masked(step.log, run) as step_log:
                    how = _How(step_log, cancel, key, sending)
                    if readied is not None and readied.filling == filling:
                        cell.begin("go")
                        filled = self._follow(readied.prepared, cell, on, filling, how)
                    else:
                        filled = self._fill(cell, filling, on, lays, run, how)
                if filled.status:
                    step.failed(filled.status)
                    raise CommandFailed(filled.status)
                written = filled.layer
                assert written is not None, "a worker tells what it has made"
                layer = self._store.publish(filling, on.layers, written.diff_id, written.size_bytes, driver=cell.driver)
                self._store.note_written(written)
                if sending is not None:
                    sending.settle(written)
            step.done(layer)
            return layer, filled.readied

    def make_ready(self, steps: Callable[[], Sequence[Lay | Run]], after: str) -> None:
        """Make commands, which nothing is laid before, ready behind those that run under a key, or will run."""
        if self._cells.driver != "overlay":
            return
        match steps():
            case [Run() as run]:
                running = self._expected.note(run, after)
                if running is not None:
                    running.make_ready(run, self._store, self._runs)

    def shell(self, on: SandboxHeld, run: Run, program: Program | None = None) -> int:
        """A shell, or a program, on the user's terminal; its exit status. What it changes is thrown away."""
        from stapel.sandbox.shell import ShellTerminal

        with fill(self._store, self._cells) as (cell, filling), ExitStack() as resources:
            shell = ShellTerminal(resources)
            prepared = self._runs.prepare(on, run, self._store.absolute(filling), resources, shell, program)
            self._begin(cell, prepared.files, on, filling, prepared.request, has_layer=False)
            shell.begin()
            shell.pass_on(cell)
            answer, _ = cell.finish()
            return int(answer["status"])

    def run(self, on: SandboxHeld, command: Sequence[str]) -> int:
        """The image's own program on the user's terminal; its exit status. What it changes is thrown away."""
        from stapel.sandbox.program import MISSING_STATUS, find_program, is_missing

        with self.tree(on) as tree:
            program = find_program(on.config, command, tree)
            name, path = program.name, program.environment["PATH"]
            if is_missing(name, path, program.directory, tree):
                where = "" if "/" in name else f" in its PATH ({path})"
                sys.stderr.write(f"the image has no program {name}{where}\n")
                return MISSING_STATUS
            directory = Places(tree).directory(program.directory.strip("/").encode())
            is_there = not directory or tree.stat(directory) is not None
        if is_there:
            return self.shell(on, Run(""), program)
        made = self.build(on, [Lay(lambda: iter(()), empty=[directory])], None, lambda stream, data: None, Cancel())
        try:
            return self.shell(made, Run(""), program)
        finally:
            made.close()

    def shell_failed(self, on: SandboxHeld, lays: Sequence[Lay], run: Run) -> int:
        """Likewise in what the files and commands leave, whatever their status."""
        with fill(self._store, self._cells) as (cell, filling):
            self._fill(cell, filling, on, lays, run, _How(lambda stream, data: None, Cancel()))
            left = SandboxHeld(on.config, (*on.layers, Layer(filling, "", 0)))
            return self.shell(left, run)

    @contextmanager
    def tree(self, held: SandboxHeld) -> Iterator[Tree]:
        """The merged files of an image."""
        with self._cells.take() as cell, _open_tree(cell, held.layers) as tree:
            yield tree

    @contextmanager
    def reading(self, layer: Layer, below: Layer | None) -> Iterator[BinaryIO]:
        """The tar of a layer, while it is written. Who does not read it to its end closes it, and nothing is wrong."""
        snapshot = self._open_directory(layer.snapshot)
        try:
            with self._reading(snapshot, below) as stream:
                yield stream
        finally:
            os.close(snapshot)

    def _open_directory(self, snapshot: str) -> int:
        try:
            return os.open(self._store.absolute(snapshot), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Broken(f"snapshot {snapshot} is gone from {self._store.dir}") from None

    @contextmanager
    def _reading(self, snapshot: int, below: Layer | None) -> Iterator[BinaryIO]:
        """That of an open directory, which may get another name meanwhile."""
        under = path_of(below) if below is not None else b""
        with self._cells.take() as cell:
            reading, writing = make_pipe()
            with os.fdopen(reading, "rb") as stream:
                try:
                    cell.begin("send_layer", [writing, snapshot], below=under)
                finally:
                    os.close(writing)
                try:
                    yield stream
                except BaseException:
                    stream.close()
                    with suppress(CellError):
                        cell.finish()
                    raise
            cell.finish()

    def collect(self, snapshots: Sequence[str]) -> None:
        """Remove the snapshots, of these, that nobody needs: nobody finds them from now on, their files go later."""
        from stapel.sandbox.taking_out import take_out

        taken = take_out(self._store, snapshots)
        if taken:
            self._cleaner.remove_later(lambda: taken)

    def _remove_leftovers(self) -> None:
        """Remove what killed runs left, once, beside what comes next."""
        is_first, self._has_leftovers = self._has_leftovers, False
        if is_first:
            from stapel.sandbox.taking_out import take_out_leftovers

            self._cleaner.remove_later(lambda: take_out_leftovers(self._store))

    def close(self) -> None:
        """Wait until all is removed."""
        self._sendings.close()
        self._remove_leftovers()
        self._cleaner.close()

    def _let_go(self, on: SandboxHeld, layer: Layer) -> None:
        """End of what was built on `on`: its files stay where an image has them."""
        if not self._store.images.has_put(layer):
            self.collect([layer.snapshot])
        on.close()

    def _fill(
        self,
        cell: Cell,
        filling: str,
        on: SandboxHeld,
        lays: Sequence[Lay],
        run: Run | None,
        how: _How,
    ) -> Filled:
        plan = None
        if lays:
            with _open_tree(cell, on.layers) as tree:
                from stapel.lay import plan_lays

                plan = plan_lays(lays, tree, now_s=int(time.time()))
        how.cancel.check()
        with ExitStack() as resources:
            prepared = self._runs.prepare(on, run, self._store.absolute(filling), resources) if run is not None else None
            files: list[int] = []
            stream = theirs = None
            if plan is not None:
                reading, writing = make_pipe()
                theirs = resources.enter_context(ExitStack())
                theirs.callback(os.close, reading)
                stream = resources.enter_context(os.fdopen(writing, "wb", PIPE_BYTES))
                files.append(reading)
            if prepared is not None:
                files += prepared.files
            request = prepared.request if prepared is not None else None
            self._begin(cell, files, on, filling, request, has_layer=plan is not None)
            if plan is not None and stream is not None and theirs is not None:
                from stapel.sandbox.laying import stream_layer

                theirs.close()  # the worker's alone: where it takes no more, we are told
                written = stream_layer(cell, plan, stream, how.cancel)
            if prepared is None:
                answer, _ = cell.finish()
                return Filled(_layer_of(answer) or written, 0)
            return self._follow(prepared, cell, on, filling, how)

    def _follow(self, prepared: Prepared, cell: Cell, on: SandboxHeld, filling: str, how: _How) -> Filled:
        self._remove_leftovers()  # now: the worker is busy, and we wait
        if how.sending is not None:
            self._cells.start_early(2)
        running = Running(cell, on, filling)
        following = self._expected.begin(running, how.key)

        def send() -> None:
            if how.sending is not None:
                below = on.layers[-1] if on.layers else None
                how.sending.begin(self._open_directory(filling), lambda snapshot: self._reading(snapshot, below))

        answer: dict[str, Any] = {}
        try:
            if following is not None:
                running.make_ready(following, self._store, self._runs)
            answer = prepared.follow(cell, how.log, how.cancel, send)
        finally:
            cell.readied = running.end(answer)
        if answer["status"] < 0:
            raise Cancelled
        return Filled(_layer_of(answer), answer["status"], cell.readied)

    def _begin(
        self,
        cell: Cell,
        files: Sequence[int],
        on: SandboxHeld,
        filling: str,
        run: Mapping[str, Any] | None,
        *,
        has_layer: bool,
    ) -> None:
        # The list of a layer that commands are still to change would be of no use.
        how = {"has_layer": has_layer, "foreign": False, "listed": run is None}
        cell.begin("build", files, lowers=lowers(on.layers), filling=os.fsencode(filling), run=run, **how)


def _layer_of(answer: Mapping[str, Any]) -> LayerResult | None:
    """The layer that a worker tells, where it does."""
    if "diff_id" not in answer:
        return None
    from stapel.oci.layer import LayerResult

    return LayerResult(answer["diff_id"], answer["size_bytes"], answer["crc32"])


@contextmanager
def _masked(log: Log, run: Run | None) -> Iterator[Log]:
    """What is said, without the secrets: a step keeps it in a file, from which others may read it."""
    if run is None or not run.secrets:
        yield log
        return
    from stapel.mask import Mask, masking

    with masking(log, Mask(run.secrets.values())) as masked:
        yield masked


@contextmanager
def _open_tree(cell: Cell, layers: Sequence[Layer]) -> Iterator[Tree]:
    cell.ask("open_tree", lowers=lowers(layers))
    try:
        yield SandboxTree(cell)
    finally:
        if cell.is_usable:
            cell.ask("close_tree")
