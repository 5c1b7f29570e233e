"""What has to be in a registry before an image's manifest can be: the manifest, and the bytes of each blob."""

from __future__ import annotations

import io
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, BinaryIO, Protocol, cast, runtime_checkable

from msgspec import Struct

from stapel.oci.api import Descriptor, ImageView
from stapel.oci.manifest import (
    OCI_LAYER_GZIP,
    Manifest,
    build_manifest,
    digest_bytes,
    is_foreign,
    parse_manifest,
)

_WAITING_PIECES = 8
_CLOSING_S = 0.05


class Upload(Struct, frozen=True):
    """A blob and how to open its bytes; that may be done several times."""

    blob: Descriptor
    open: Callable[[], BinaryIO]


@runtime_checkable
class Unwritten(Protocol):
    """A view of an image that can have layers which nobody has compressed yet."""

    def has_unwritten(self) -> bool:
        """Whether any of these is large."""

    def unwritten(self) -> Sequence[Callable[[BinaryIO], Descriptor]]:
        """Those that are large: what writes the blob of each and tells what it is, which `layers` tells too from then on.

        One that is on its way to a store is waited for. Errors of what is written to are passed on, and leave nothing
        behind. `Broken`.
        """


class Written:
    """A blob that is read while a thread writes it. Closing it before its end ends the writing."""

    def __init__(self, write: Callable[[BinaryIO], Descriptor]) -> None:
        self._pieces: queue.Queue[bytes] = queue.Queue(_WAITING_PIECES)
        self._work = write
        self._blob: Descriptor | None = None
        self._error: BaseException | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def read(self, size: int = -1) -> bytes:
        """The next piece, of any size; b"" at the end. Raises what the writer has raised."""
        del size
        piece = self._pieces.get()
        if not piece:
            self.blob()
        return piece

    def write(self, data: bytes) -> int:
        """For the writer."""
        if self._is_closed:
            raise BrokenPipeError("nobody reads what is written")
        if data:
            self._pieces.put(data)
        return len(data)

    def blob(self) -> Descriptor:
        """What was written, when it is. Raises what the writer has raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        assert self._blob is not None
        return self._blob

    def close(self) -> None:
        """Read no more."""
        self._is_closed = True
        while self._thread.is_alive():  # it may wait for a place in the queue
            with suppress(queue.Empty):
                self._pieces.get(timeout=_CLOSING_S)

    def _run(self) -> None:
        try:
            self._blob = self._work(cast(BinaryIO, self))
        except BaseException as error:  # the thread that reads raises it
            self._error = error
        self._pieces.put(b"")


def upload_bytes(blob: Descriptor, data: bytes) -> Upload:
    """An upload of bytes in memory."""
    return Upload(blob, lambda: io.BytesIO(data))


@contextmanager
def uploads_of(image: ImageView) -> Iterator[tuple[Manifest, list[Upload]]]:
    """The manifest for an image, and its blobs: layers, lowest first, then the configuration.

    A view with `manifest_bytes` keeps its manifest. For others one is built; layers whose size is not known (Docker's own
    images) are compressed into files without a name that live as long as the context.
    """
    with ExitStack() as files:
        data = getattr(image, "manifest_bytes", None)
        if isinstance(data, bytes):
            manifest = parse_manifest(data, image.descriptor.media_type, f"image {image.descriptor.digest}")
            uploads = [_layer(image, layer) for layer in manifest.layers]
            config = image.config.to_bytes()
            if digest_bytes(config) == manifest.config.digest:
                uploads.append(upload_bytes(manifest.config, config))
            else:
                uploads.append(_layer(image, manifest.config))
        else:
            uploads = [
                _layer(image, layer) if layer.size_bytes >= 0 else _compressed(image, layer, files)
                for layer in image.layers()
            ]
            config = image.config.to_bytes()
            manifest = build_manifest(config, [upload.blob for upload in uploads])
            uploads.append(upload_bytes(manifest.config, config))
        yield manifest, [one for one in {one.blob.digest: one for one in uploads}.values() if not is_foreign(one.blob)]


def run_at_once(tasks: Sequence[Callable[[], None]], limit: int) -> None:
    """Run tasks, `limit` of them at the same time. The first error is raised when those that run have ended."""
    if len(tasks) < 2:
        for task in tasks:
            task()
        return
    from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

    with ThreadPoolExecutor(limit, "upload") as threads:
        futures = [threads.submit(task) for task in tasks]
        for future in wait(futures, return_when=FIRST_EXCEPTION).not_done:
            future.cancel()
    for future in futures:
        if future.done() and not future.cancelled():
            future.result()


def _layer(image: ImageView, layer: Descriptor) -> Upload:
    return Upload(layer, lambda: image.open(layer))


def _compressed(image: ImageView, layer: Descriptor, files: ExitStack) -> Upload:
    from stapel.oci.compress import compress, decompressed

    file = files.enter_context(_nameless_file())
    docker = layer.media_type.startswith("application/vnd.docker.")
    media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip" if docker else OCI_LAYER_GZIP
    with image.open(layer) as source:
        result = compress(decompressed(source), cast(BinaryIO, file))
    file.flush()
    return Upload(Descriptor(media_type, result.digest, result.size_bytes), lambda: _reopened(file))


@contextmanager
def _nameless_file() -> Iterator[IO[bytes]]:
    """A file that is gone with this process, however it ends."""
    import tempfile

    with tempfile.TemporaryFile() as file:
        yield file


def _reopened(file: IO[bytes]) -> BinaryIO:
    import os

    # Closing the duplicate leaves the file; they share a position, and one upload is under way at a time.
    duplicate = os.fdopen(os.dup(file.fileno()), "rb")
    duplicate.seek(0)
    return duplicate
