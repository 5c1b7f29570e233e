"""An image of the sandbox's store, read: layers of others as they came, layers of ours written anew and compressed.

What a layer of ours is when it is compressed is remembered by its diff id, so that one that a registry has already is not
even read. The bytes are kept no longer than the view: they can be made again, and are the same then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import BinaryIO, cast

from stapel.errors import Broken
from stapel.oci.api import Descriptor, ImageConfig
from stapel.sandbox.inside.drivers import LARGE_BYTES
from stapel.sandbox.records import Layer, PushCompression, StoredImage
from stapel.sandbox.sending import Sendings, remember_blob
from stapel.sandbox.store import Store

IMAGE_MEDIA_TYPE = "application/vnd.oci.image.config.v1+json"
_PIECE_BYTES = 1 << 20

ReadLayer = Callable[[Layer, Layer | None], AbstractContextManager[BinaryIO]]  # the tar of a layer that was made on another


class StoredConfig(ImageConfig, frozen=True):
    """A configuration that came in bytes which are not ours to write anew."""

    raw: bytes = b""

    def to_bytes(self) -> bytes:
        """The bytes that it came in."""
        return self.raw


class SandboxImage:
    """An `ImageView` of the store."""

    def __init__(
        self,
        store: Store,
        image: StoredImage,
        read_layer: ReadLayer,
        sendings: Sendings,
        compression: PushCompression = "gzip",
    ) -> None:
        self.image = image
        self._compression = compression
        self._store = store
        self._read_layer = read_layer
        self._sendings = sendings
        self._config: StoredConfig | None = None
        self._blobs: tuple[Descriptor, ...] | None = None
        self._made: dict[str, BinaryIO] = {}  # by diff id

    @property
    def descriptor(self) -> Descriptor:
        """The image id."""
        return Descriptor(IMAGE_MEDIA_TYPE, self.image.id, len(self.image.config))

    @property
    def config(self) -> ImageConfig:
        """The whole configuration."""
        if self._config is None:
            self._config = parse_config(self.image.config, self.image.id)
        return self._config

    def layers(self) -> tuple[Descriptor, ...]:
        """The layers as they came; those of ours compressed, for which they are read where nobody has done so before.

        From now on they are kept for this run. `NotFound`, `Broken`.
        """
        if self._blobs is None:
            self._keep()
            self._blobs = tuple(self._blob(number) for number in range(len(self.image.layers)))
        return self._blobs

    def open(self, blob: Descriptor) -> BinaryIO:
        """The bytes of a layer, verified. `Broken`."""
        number = [item.digest for item in self.layers()].index(blob.digest)
        layer = self.image.layers[number]
        if layer.blob is not None:
            return self._open_blob(layer.blob)
        if layer.diff_id not in self._made:
            made = self._compress(number)
            if made.digest != blob.digest:  # seen once in some hundred thousand times, with the right tar, and not explained
                made = self._compress(number)
            if made.digest != blob.digest:
                self._made.pop(layer.diff_id).close()
                raise Broken(
                    f"layer {layer.diff_id} is {made.digest} when it is compressed, and was {blob.digest}",
                    hint="run the command again: it takes what the layer is now",
                )
        # A reading of its own: several may be under way at once.
        return cast(BinaryIO, open(f"/proc/self/fd/{self._made[layer.diff_id].fileno()}", "rb"))

    def _keep(self) -> None:
        """Let nobody remove what is to be read: whoever has a view has not held the image. `NotFound`, `Broken`."""
        if self._store.pin(self.image.layers):
            return
        self.image = self._store.images.get(self.image.id)  # it may have other snapshots by now
        if not self._store.pin(self.image.layers):
            raise Broken(f"image {self.image.id} is not complete: a snapshot of it is gone from {self._store.dir}")

    def _blob(self, number: int) -> Descriptor:
        layer = self.image.layers[number]
        return layer.blob or self._store.compressed(layer.diff_id, self._compression) or self._compress(number)

    def has_unwritten(self) -> bool:
        """See `stapel.oci.uploads.Unwritten`."""
        return any(map(self._is_unwritten, self.image.layers))

    def unwritten(self) -> Sequence[Callable[[BinaryIO], Descriptor]]:
        """See `stapel.oci.uploads.Unwritten`."""
        self._keep()
        for layer in self.image.layers:
            self._sendings.wait(layer.diff_id)
        return [partial(self._write, number) for number, layer in enumerate(self.image.layers) if self._is_unwritten(layer)]

    def _is_unwritten(self, layer: Layer) -> bool:
        if layer.blob is not None or layer.size_bytes < LARGE_BYTES:
            return False
        return self._store.compressed(layer.diff_id, self._compression) is None

    def _compress(self, number: int) -> Descriptor:
        import tempfile

        file = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 -- it goes with the view
        blob = self._write(number, file)
        file.flush()
        self._made[self.image.layers[number].diff_id] = file
        return blob

    def _write(self, number: int, out: BinaryIO) -> Descriptor:
        from stapel.oci.compress import compress

        layer, below = self.image.layers[number], self.image.layers[number - 1] if number else None
        known = self._store.written(layer.diff_id)
        written = (lambda: known) if known is not None else None
        made = compress(self._tar(layer, below), out, self._compression, written=written)
        return remember_blob(self._store, made, layer.diff_id, self._compression, f" of image {self.image.id}")

    def _tar(self, layer: Layer, below: Layer | None) -> Iterator[bytes]:
        with self._read_layer(layer, below) as stream:
            while piece := stream.read(_PIECE_BYTES):
                yield piece

    def _open_blob(self, blob: Descriptor) -> BinaryIO:
        import hashlib

        try:
            file = self._store.blob_path(blob.digest).open("rb")
        except FileNotFoundError:
            raise Broken(f"blob {blob.digest} of image {self.image.id} is absent in {self._store.dir}") from None
        if f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" != blob.digest:
            file.close()
            raise Broken(f"blob {blob.digest} in {self._store.dir} has other bytes than its digest says")
        file.seek(0)
        return file


def parse_config(raw: bytes, where: str) -> StoredConfig:
    """A configuration out of its bytes. `Broken`."""
    import json

    try:
        document = json.loads(raw)
    except ValueError as error:
        raise Broken(f"the configuration of {where} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise Broken(f"the configuration of {where} is no object")
    return StoredConfig(document, raw)
