"""Layers that are sent while they are made: a large one is on its way to a registry before its diff id is known.

The worker that has run the commands reads what they left for the diff id, which the next stage needs. Another one reads it
at the same time, to be compressed and sent. What does not come to its end costs nothing but that: who puts the image sends
what is not there, and tells what is wrong.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from stapel.errors import Broken, Cancelled
from stapel.oci.api import Descriptor, ImageStore, StreamStore
from stapel.sandbox.records import PushCompression
from stapel.sandbox.store import Store

if TYPE_CHECKING:
    from stapel.oci.compress import CompressedLayer
    from stapel.oci.layer import LayerResult

_PIECE_BYTES = 1 << 20
_AT_ONCE = 4  # each has a worker, three threads and a connection; what comes in between is sent when it is put

Read = Callable[[int], AbstractContextManager[BinaryIO]]  # the tar of the layer in an open directory


def remember_blob(
    store: Store, made: CompressedLayer, diff_id: str, compression: PushCompression, where: str = ""
) -> Descriptor:
    """What a layer of ours was compressed to, remembered. `Broken` where its tar was not what its diff id says."""
    if made.diff_id != diff_id:
        raise Broken(f"layer {diff_id}{where} has changed: it is {made.diff_id or 'another'} now")
    blob = Descriptor(made.media_type, made.digest, made.size_bytes)
    store.remember_compressed(diff_id, compression, blob)
    return blob


class Sendings:
    """The layers of a run that may be on their way. Thread-safe."""

    def __init__(self, store: Store, compression: PushCompression) -> None:
        self._store = store
        self._compression = compression
        self._lock = threading.Lock()
        self._running: set[Sending] = set()
        self._by_diff_id: dict[str, Sending] = {}

    @contextmanager
    def expect(self, into: ImageStore | None) -> Iterator[Sending | None]:
        """A layer that is made meanwhile, for this store; None where it takes none before it is known."""
        sending = Sending(self, into, self._store, self._compression) if isinstance(into, StreamStore) else None
        try:
            yield sending
        except BaseException:
            if sending is not None:
                sending.drop()
            raise

    def may_begin(self, sending: Sending) -> bool:
        """Whether there are not too many. One that may runs until `note_ended`."""
        with self._lock:
            if len(self._running) >= _AT_ONCE:
                return False
            self._running.add(sending)
            return True

    def note_ended(self, sending: Sending) -> None:
        """It is not on its way any more."""
        with self._lock:
            self._running.discard(sending)

    def note_settled(self, sending: Sending, diff_id: str) -> None:
        """It is known what it sends."""
        with self._lock:
            self._by_diff_id[diff_id] = sending

    def wait(self, diff_id: str) -> None:
        """Wait until a layer is not on its way any more."""
        with self._lock:
            sending = self._by_diff_id.get(diff_id)
        if sending is not None:
            sending.wait()

    def close(self) -> None:
        """End what nobody has waited for."""
        with self._lock:
            running = list(self._running)
        for sending in running:
            sending.drop()
            sending.wait()


class Sending:
    """One of them: `begin` where it turns out to be large; then `settle` or `drop`."""

    def __init__(self, sendings: Sendings, into: StreamStore, store: Store, compression: PushCompression) -> None:
        self._sendings = sendings
        self._into = into
        self._store = store
        self._compression = compression
        self._layer: LayerResult | None = None
        self._is_settled = threading.Event()
        self._is_dropped = False
        self._thread: threading.Thread | None = None

    def begin(self, snapshot: int, read: Read) -> None:
        """Send what is in an open directory, by a thread of its own; the directory is closed."""
        if not self._sendings.may_begin(self):
            os.close(snapshot)
            return
        self._thread = threading.Thread(target=self._send, args=(snapshot, read), name="sandbox-sending", daemon=True)
        self._thread.start()

    def settle(self, layer: LayerResult) -> None:
        """This is what it has to be."""
        if self._thread is None:
            return
        if self._store.compressed(layer.diff_id, self._compression) is not None:
            self.drop()  # a registry that it was sent to has it, probably
            return
        self._layer = layer
        self._sendings.note_settled(self, layer.diff_id)
        self._is_settled.set()

    def drop(self) -> None:
        """Nobody wants it, or not so."""
        self._is_dropped = True
        self._is_settled.set()

    def wait(self) -> None:
        """Wait for its end, whatever that is."""
        if self._thread is not None:
            self._thread.join()

    def _send(self, snapshot: int, read: Read) -> None:
        try:
            with suppress(Exception):  # who puts the image finds out what is wrong
                self._into.put_written(lambda out: self._write(read(snapshot), out))
        finally:
            os.close(snapshot)
            self._sendings.note_ended(self)

    def _write(self, reading: AbstractContextManager[BinaryIO], out: BinaryIO) -> Descriptor:
        from stapel.oci.compress import compress

        with reading as stream:
            made = compress(self._pieces(stream), out, self._compression, written=self._settled)
        return remember_blob(self._store, made, self._settled().diff_id, self._compression)

    def _pieces(self, stream: BinaryIO) -> Iterator[bytes]:
        while piece := stream.read(_PIECE_BYTES):
            if self._is_dropped:
                raise Cancelled
            yield piece

    def _settled(self) -> LayerResult:
        self._is_settled.wait()
        if self._layer is None or self._is_dropped:
            raise Cancelled
        return self._layer
