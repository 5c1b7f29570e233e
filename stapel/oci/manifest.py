"""Manifests: the document that ties a configuration and layers together; OCI's and Docker's (schema 2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from stapel.oci.api import Descriptor
from stapel.oci.errors import Broken, NotFound
from stapel.oci.reference import is_digest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"

# What a record is: an image of nothing.
RECORD_CONFIG = b'{"architecture":"amd64","config":{},"os":"linux","rootfs":{"diff_ids":[],"type":"layers"}}'

MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEXES = (OCI_INDEX, DOCKER_INDEX)

_DOCKER_LAYER = "application/vnd.docker.image.rootfs"
_OCI_FOR_DOCKER = {
    "application/vnd.docker.image.rootfs.diff.tar": OCI_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": OCI_LAYER_GZIP,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}


class Manifest(Struct, frozen=True):
    """A parsed image manifest: its descriptor, its exact bytes, and what it names."""

    descriptor: Descriptor
    data: bytes
    config: Descriptor
    layers: tuple[Descriptor, ...]


def digest_bytes(data: bytes) -> str:
    """`sha256:...` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def matches(data: bytes, digest: str) -> bool:
    """Whether bytes are what a digest (sha256 or sha512) says."""
    algorithm, _, value = digest.partition(":")
    return is_digest(digest) and hashlib.new(algorithm, data).hexdigest() == value


def is_foreign(layer: Descriptor) -> bool:
    """Whether a layer is one that registries do not hold (base layers of Windows)."""
    return "nondistributable" in layer.media_type or "foreign" in layer.media_type


def build_manifest(config: bytes, layers: Sequence[Descriptor]) -> Manifest:
    """The manifest for a configuration and layers, lowest first. Equal input gives equal bytes.

    Docker's manifest where every layer is of Docker's types, else OCI's (Docker's types are then written as OCI's).
    """
    docker = bool(layers) and all(layer.media_type.startswith(_DOCKER_LAYER) for layer in layers)
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    if not docker:
        layers = [
            Descriptor(_OCI_FOR_DOCKER.get(layer.media_type, layer.media_type), layer.digest, layer.size_bytes)
            for layer in layers
        ]
    config_descriptor = Descriptor(DOCKER_CONFIG if docker else OCI_CONFIG, digest_bytes(config), len(config))
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": _to_json(config_descriptor),
        "layers": [_to_json(layer) for layer in layers],
    }
    data = json.dumps(document, separators=(",", ":")).encode()
    return Manifest(Descriptor(media_type, digest_bytes(data), len(data)), data, config_descriptor, tuple(layers))


def parse_manifest(data: bytes, media_type: str, where: str) -> Manifest:
    """Read an image manifest. `Broken` where it is none; `where` begins the message."""
    document = parse_document(data, where)
    media_type = media_type_of(document, media_type)
    if media_type not in MANIFESTS:
        raise Broken(f"{where} is no image manifest but {media_type or 'of no media type'}")
    layers = document.get("layers")
    if not isinstance(layers, list):
        raise Broken(f"{where}: the manifest has no list of layers")
    return Manifest(
        Descriptor(media_type, digest_bytes(data), len(data)),
        data,
        _from_json(document.get("config"), where),
        tuple(_from_json(layer, where) for layer in layers),
    )


def build_index(images: Sequence[tuple[Descriptor, str]]) -> tuple[Descriptor, bytes]:
    """An index of manifests, each with its platform; of Docker's type where all of them are."""
    is_dockers = all(image.media_type == DOCKER_MANIFEST for image, _ in images)
    entries = []
    for image, platform in images:
        names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
        entries.append({**_to_json(image), "platform": names})
    media_type = DOCKER_INDEX if is_dockers else OCI_INDEX
    document = {"schemaVersion": 2, "mediaType": media_type, "manifests": entries}
    data = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    return Descriptor(media_type, digest_bytes(data), len(data)), data


def parse_document(data: bytes, where: str) -> Mapping[str, Any]:
    """A JSON object. `Broken`."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Broken(f"{where} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise Broken(f"{where} is not a JSON object")
    return document


def media_type_of(document: Mapping[str, Any], header: str) -> str:
    """What a manifest is: what it says itself, else the Content-Type it came with, else what its fields show."""
    written = document.get("mediaType")
    if isinstance(written, str) and written:
        return written
    header = header.partition(";")[0].strip()
    if header in MANIFESTS or header in INDEXES:
        return header
    if "manifests" in document:
        return OCI_INDEX
    if "config" in document and "layers" in document:
        return OCI_MANIFEST
    return "a manifest of schema 1" if document.get("schemaVersion") == 1 else header


def choose_platform(document: Mapping[str, Any], platform: str, where: str) -> Descriptor:
    """The manifest of an index for `os/architecture[/variant]`. `NotFound` names the platforms that are there."""
    entries = [entry for entry in document.get("manifests") or () if isinstance(entry, dict)]
    wanted = platform.split("/")
    suitable, seen = list[tuple[int, Descriptor]](), list[str]()
    for entry in entries:
        has = entry.get("platform")
        has = has if isinstance(has, dict) else {}
        parts = [str(has.get(key) or "") for key in ("os", "architecture", "variant")]
        if parts[0] != "unknown" and parts[0]:  # attestations stand there as unknown/unknown
            seen.append("/".join(part for part in parts if part))
        if parts[:2] == wanted[:2]:
            rank = _variant_rank(wanted[1], wanted[2] if len(wanted) > 2 else "", parts[2])
            if rank is not None:
                suitable.append((rank, _from_json(entry, where)))
    if not suitable:
        raise NotFound(f"{where} has no image for {platform}; it has {', '.join(dict.fromkeys(seen)) or 'none'}")
    return min(suitable, key=lambda pair: pair[0])[1]


def _variant_rank(architecture: str, wanted: str, has: str) -> int | None:
    """0: the very one; None: cannot be used. arm64 without a variant is v8, arm without one is v7; a lower arm runs too."""
    default = {"arm64": "v8", "arm": "v7"}.get(architecture, "")
    wanted, has = wanted or default, has or default
    if wanted == has:
        return 0
    if architecture in ("arm", "amd64"):
        # amd64 without a variant is v1; a processor runs what was made for a lower one.
        levels = [variant.removeprefix("v") or "1" for variant in (wanted, has)]
        if all(level.isdigit() for level in levels) and int(levels[1]) < int(levels[0]):
            return int(levels[0]) - int(levels[1])
    return None


def own_platform() -> str:
    """`linux/ARCHITECTURE` of this machine, in Go's words."""
    import os

    machine = os.uname().machine
    known = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm/v7", "armv6l": "arm/v6", "i386": "386", "i686": "386"}
    return f"linux/{known.get(machine, machine)}"


def parse_time_ms(value: object) -> int:
    """An RFC 3339 time as milliseconds since the epoch; 0 for nonsense and for times before it."""
    from datetime import datetime

    try:
        seconds = datetime.fromisoformat(value).timestamp() if isinstance(value, str) else 0.0
    except (ValueError, OverflowError):
        return 0
    return max(0, int(seconds * 1000))


def _to_json(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size_bytes}


def _from_json(value: object, where: str) -> Descriptor:
    if isinstance(value, dict):
        media_type, digest, size = value.get("mediaType"), value.get("digest"), value.get("size")
        if isinstance(digest, str) and is_digest(digest) and type(size) is int and size >= 0:
            return Descriptor(media_type if isinstance(media_type, str) else "", digest, size)
    raise Broken(f"{where}: a descriptor in it has no valid digest and size")
