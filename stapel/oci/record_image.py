"""The image that all records of a repository are names of: it has nothing in it."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping

from stapel.oci.api import Descriptor
from stapel.oci.manifest import OCI_LAYER_GZIP, RECORD_CONFIG, Manifest, build_manifest, digest_bytes
from stapel.oci.repository import ManifestInvalid

# An empty tar, compressed: for registries that take no manifest without layers.
_EMPTY_LAYER_CONFIG = (
    b'{"architecture":"amd64","config":{},"os":"linux","rootfs":{"diff_ids":'
    b'["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"],"type":"layers"}}'
)


def put_record_image(put: Callable[[Manifest, Mapping[Descriptor, bytes]], None]) -> Manifest:
    """Put it in the form that the registry takes; `put` is given a manifest, and its blobs. Raises what that raises."""
    try:
        manifest = build_manifest(RECORD_CONFIG, ())
        put(manifest, {manifest.config: RECORD_CONFIG})
    except ManifestInvalid:
        content = gzip.compress(bytes(1024), mtime=0)
        layer = Descriptor(OCI_LAYER_GZIP, digest_bytes(content), len(content))
        manifest = build_manifest(_EMPTY_LAYER_CONFIG, [layer])
        put(manifest, {layer: content, manifest.config: _EMPTY_LAYER_CONFIG})
    return manifest
