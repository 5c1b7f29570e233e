"""Images of places that keep blobs under their digests, and blobs verified while they are read."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

from stapel.oci.api import Description, Descriptor, ImageConfig
from stapel.oci.errors import Broken, NotFound
from stapel.oci.manifest import (
    INDEXES,
    Manifest,
    choose_platform,
    digest_bytes,
    media_type_of,
    own_platform,
    parse_document,
    parse_manifest,
    parse_time_ms,
)
from stapel.oci.reference import is_digest

OpenBlob = Callable[[str], BinaryIO]  # by its digest; `NotFound`

_BUFFER_BYTES = 1 << 18
_MOST_DOCUMENT_BYTES = 16 << 20


class BlobImage:
    """An image whose manifest is here; everything else is read when it is asked for. `where` begins messages."""

    def __init__(self, manifest: Manifest, open_blob: OpenBlob, where: str) -> None:
        self.manifest = manifest
        self._open_blob = open_blob
        self._where = where
        self._config: ImageConfig | None = None

    @property
    def descriptor(self) -> Descriptor:
        """Media type, digest and size of the manifest."""
        return self.manifest.descriptor

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest as it is stored: a copy made with it has the same digest."""
        return self.manifest.data

    @property
    def config(self) -> ImageConfig:
        """The whole configuration. `Broken`."""
        if self._config is None:
            where = f"the configuration of {self._where}"
            self._config = ImageConfig(parse_document(self._read(self.manifest.config), where))
        return self._config

    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, lowest first."""
        return self.manifest.layers

    def open(self, blob: Descriptor) -> BinaryIO:
        """The bytes of a layer (or of the configuration), verified while they are read. `Broken`."""
        try:
            stream = self._open_blob(blob.digest)
        except NotFound as error:
            raise Broken(f"{self._where} is not complete: {error}") from error
        return open_verified(stream, blob, f"blob {blob.digest} of {self._where}")

    def _read(self, blob: Descriptor) -> bytes:
        if blob.size_bytes > _MOST_DOCUMENT_BYTES:
            raise Broken(f"blob {blob.digest} of {self._where} is said to be a document of {blob.size_bytes} bytes")
        with self.open(blob) as stream:
            return stream.read()


def find_image(open_blob: OpenBlob, blob: Descriptor, where: str, platform: str = "") -> BlobImage:
    """The image of a manifest; of an index that for `platform` (default: this machine's). `NotFound`, `Broken`."""
    document = _read_document(open_blob, blob, where)
    if media_type_of(parse_document(document, where), blob.media_type) in INDEXES:
        chosen = choose_platform(parse_document(document, where), platform or own_platform(), where)
        try:
            document, blob = _read_document(open_blob, chosen, where), chosen
        except NotFound as error:
            raise Broken(f"{where} is not complete: {error}") from error
    return BlobImage(parse_manifest(document, blob.media_type, where), open_blob, where)


def describe_image(manifest: Manifest, config: ImageConfig) -> Description:
    """What selection reads of an image that has a manifest."""
    sizes = [layer.size_bytes for layer in manifest.layers]
    return Description(
        descriptor=manifest.descriptor,
        labels=config.labels,
        size_bytes=sum(sizes),
        created_ms=parse_time_ms(config.document.get("created")),
        image_id=manifest.config.digest,
        parent_size_bytes=sum(sizes[:-1]) if sizes else -1,
    )


def open_verified(stream: BinaryIO, blob: Descriptor, where: str) -> BinaryIO:
    """The bytes of `stream`; in place of the last ones `Broken` where they are not what the digest and the size say.

    A size of -1 is not known. Closing the result closes `stream`.
    """
    if not is_digest(blob.digest):
        stream.close()
        raise Broken(f"{where} has a digest that cannot be verified: {blob.digest!r}")
    return cast(BinaryIO, io.BufferedReader(_Verified(stream, blob, where), _BUFFER_BYTES))


def stream_of(pieces: Iterator[bytes], close: Callable[[], object] = lambda: None) -> BinaryIO:
    """A stream that reads pieces one after the other."""
    return cast(BinaryIO, io.BufferedReader(_Pieces(pieces, close), _BUFFER_BYTES))


def _read_document(open_blob: OpenBlob, blob: Descriptor, where: str) -> bytes:
    with open_blob(blob.digest) as stream:
        data = stream.read(_MOST_DOCUMENT_BYTES + 1)
    if digest_bytes(data) != blob.digest and len(data) <= _MOST_DOCUMENT_BYTES:
        raise Broken(f"{where} is damaged: the manifest has other bytes than its digest {blob.digest} says")
    if len(data) > _MOST_DOCUMENT_BYTES:
        raise Broken(f"{where}: the manifest is larger than {_MOST_DOCUMENT_BYTES} bytes")
    return data


class _Verified(io.RawIOBase):
    def __init__(self, stream: BinaryIO, blob: Descriptor, where: str) -> None:
        super().__init__()
        self._stream, self._blob, self._where = stream, blob, where
        self._hash = hashlib.new(blob.digest.partition(":")[0])
        self._got = 0
        self._done = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the only buffer that BufferedReader gives
        if self._done:
            return 0
        data = self._stream.read(len(buffer))
        self._got += len(data)
        self._hash.update(data)
        if not data or self._got >= self._blob.size_bytes >= 0:
            # Before the last bytes are given away: somebody who counts never asks for what comes behind them.
            self._verify()
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._stream.close()
        super().close()

    def _verify(self) -> None:
        self._done = True
        size = self._blob.size_bytes
        if 0 <= size < self._got or (size >= 0 and self._stream.read(1)):
            raise Broken(f"{self._where} is damaged: it is longer than {size} bytes")
        if 0 <= size != self._got:
            raise Broken(f"{self._where} is damaged: it ends after {self._got} of {size} bytes")
        if self._hash.hexdigest() != self._blob.digest.partition(":")[2]:
            raise Broken(f"{self._where} is damaged: it has other bytes than its digest says")


class _Pieces(io.RawIOBase):
    def __init__(self, pieces: Iterator[bytes], close: Callable[[], object]) -> None:
        super().__init__()
        self._pieces, self._close = pieces, close
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = memoryview(piece)
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._close()
        super().close()
