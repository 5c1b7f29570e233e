"""Whether an image is what it says: every digest, size and diff id, and every layer a tar that can be read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from stapel.oci.api import Descriptor, ImageView
from stapel.oci.archive import LayerReader
from stapel.oci.errors import BadLayer, Broken, StapelError
from stapel.oci.manifest import digest_bytes, is_foreign, parse_manifest

_DOCKER_LAYER, _OCI_LAYER = "application/vnd.docker.image.rootfs.", "application/vnd.oci.image.layer."


def validate_image(image: ImageView) -> tuple[str, ...]:
    """What is wrong with an image, each fault a sentence that names the part; () where nothing is.

    Reads every blob. `Unreachable` and `NotFound` (the image went away) are passed on: nothing is known then.
    """
    return tuple(_faults(image))


def _faults(image: ImageView) -> Iterator[str]:
    try:
        config = image.config
        layers = image.layers()
    except Broken as error:
        yield str(error)
        return
    yield from _faults_of_manifest(image)
    diff_ids = config.diff_ids
    if len(diff_ids) != len(layers):
        yield f"there are {len(layers)} layers, and {len(diff_ids)} diff ids in the configuration"
    for key in ("os", "architecture"):
        if not isinstance(config.document.get(key), str) or not config.document[key]:
            yield f"the configuration does not say its {key}"
    history = config.document.get("history")
    if isinstance(history, list) and history:
        filled = [step for step in history if isinstance(step, dict) and not step.get("empty_layer")]
        if len(filled) != len(diff_ids):
            yield f"the history has {len(filled)} steps with a layer, and there are {len(diff_ids)} diff ids"
    for number, layer in enumerate(layers):
        if not is_foreign(layer):
            for fault in _faults_of_layer(image, layer, diff_ids[number] if number < len(diff_ids) else ""):
                yield f"layer {number + 1} ({layer.digest}): {fault}"


def _faults_of_manifest(image: ImageView) -> Iterator[str]:
    data = getattr(image, "manifest_bytes", None)
    if not isinstance(data, bytes):
        return
    said = image.descriptor
    if said.digest.startswith("sha256:") and digest_bytes(data) != said.digest:
        yield f"the manifest has the digest {digest_bytes(data)}, not {said.digest}"
    if len(data) != said.size_bytes:
        yield f"the manifest has {len(data)} bytes, not {said.size_bytes}"
    try:
        manifest = parse_manifest(data, said.media_type, "the manifest")
    except Broken as error:
        yield str(error)
        return
    for layer in manifest.layers:
        if not layer.media_type.startswith((_DOCKER_LAYER, _OCI_LAYER)):
            yield f"the manifest has a layer of the type {layer.media_type!r}"
    try:
        with image.open(manifest.config) as stream:
            raw = stream.read()
    except Broken as error:
        yield str(error)
        return
    if digest_bytes(raw) != manifest.config.digest or len(raw) != manifest.config.size_bytes:
        yield f"the configuration has the digest {digest_bytes(raw)} and {len(raw)} bytes, not those of the manifest"


def _faults_of_layer(image: ImageView, layer: Descriptor, diff_id: str) -> Iterator[str]:
    try:
        with image.open(layer) as stream:
            counted = _Counted(stream)
            reader = LayerReader(counted)
            try:
                for _ in reader.members():
                    pass
                found = reader.finish()
                counted.drain()
            except BadLayer as error:
                yield str(error)
                return
    except StapelError as error:
        if not isinstance(error, Broken):
            raise
        yield str(error)
        return
    if diff_id and found != diff_id:
        yield f"its diff id is {found}, not {diff_id}"
    if layer.size_bytes >= 0:
        if counted.size_bytes != layer.size_bytes:
            yield f"it has {counted.size_bytes} bytes, not {layer.size_bytes}"
        if layer.digest.startswith("sha256:") and counted.digest != layer.digest:
            yield f"its digest is {counted.digest}"


class _Counted:
    """A stream whose bytes are counted and hashed while they are read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    @property
    def digest(self) -> str:
        """Of what was read."""
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes."""
        data = self._stream.read(size)
        self._hash.update(data)
        self.size_bytes += len(data)
        return data

    def drain(self) -> None:
        """Read what is left, as it may be behind the end of a compressed stream."""
        while self.read(1 << 20):
            pass
