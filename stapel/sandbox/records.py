"""What the sandbox's store keeps of layers and images, and how it is written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct

from stapel.oci.api import Descriptor

PushCompression = Literal["gzip", "zstd"]  # of layers of ours; those of others keep their bytes


class Layer(Struct, frozen=True):
    """A published snapshot."""

    snapshot: str
    diff_id: str
    size_bytes: int  # of its tar
    blob: Descriptor | None = None  # the bytes that it came as, where we did not make it
    driver: str = "overlay"  # what has made the snapshot, and builds on it


class StoredImage(Struct, frozen=True):
    """An image: `config` is its bytes, `layers` the lowest first."""

    id: str  # sha256:...
    config: bytes
    layers: tuple[Layer, ...]


def image_document(config: bytes, layers: Sequence[Layer]) -> dict[str, Any]:
    """What is written of an image."""
    return {
        "config": config.decode(),
        "layers": [{"snapshot": layer.snapshot, **layer_document(layer)} for layer in layers],
    }


def parse_image(image_id: str, data: bytes) -> StoredImage:
    """An image out of its record. `ValueError`, `KeyError`, `TypeError` where it is none."""
    document = json.loads(data)
    layers = tuple(parse_layer(item["snapshot"], item) for item in document["layers"])
    return StoredImage(image_id, document["config"].encode(), layers)


def layer_document(layer: Layer) -> dict[str, Any]:
    """What is written of a layer."""
    document: dict[str, Any] = {"diffId": layer.diff_id, "sizeBytes": layer.size_bytes}
    if layer.blob is not None:
        document["blob"] = blob_document(layer.blob)
    if layer.driver != "overlay":
        document["driver"] = layer.driver
    return document


def parse_layer(snapshot: str, document: Mapping[str, Any]) -> Layer:
    """A layer out of what is written of it."""
    blob = document.get("blob")
    known = parse_blob(blob) if blob else None
    return Layer(snapshot, document["diffId"], document["sizeBytes"], known, document.get("driver", "overlay"))


def blob_document(blob: Descriptor) -> dict[str, Any]:
    """What is written of a blob."""
    return {"mediaType": blob.media_type, "digest": blob.digest, "sizeBytes": blob.size_bytes}


def parse_blob(document: Mapping[str, Any]) -> Descriptor:
    """A blob out of what is written of it."""
    return Descriptor(document["mediaType"], document["digest"], document["sizeBytes"])


def chain_digest(diff_ids: Sequence[str]) -> str:
    """What names the files of a chain of layers, by their diff ids, the lowest first."""
    return hashlib.sha256("\n".join(diff_ids).encode()).hexdigest()
