"""Images in memory, for tests of the places that keep them."""

import hashlib
import io

from stapel.oci.api import Descriptor, ImageConfig
from stapel.oci.compress import compress
from stapel.oci.layer import Entry, write_layer
from stapel.oci.manifest import build_manifest


def layer(**files):
    """The tar of a layer with these files."""
    out = io.BytesIO()
    write_layer(
        [Entry(name.encode(), "file", 0o644, size=len(data), content=data) for name, data in sorted(files.items())], out
    )
    return out.getvalue()


class Image:
    """An image whose layers are tars, compressed as told."""

    def __init__(self, *tars, compression="gzip", history=None, **labels):
        self.blobs, self._layers, diff_ids = {}, [], []
        for tar in tars:
            blob = io.BytesIO()
            made = compress([tar], blob, compression)
            self.blobs[made.digest] = blob.getvalue()
            self._layers.append(Descriptor(made.media_type, made.digest, made.size_bytes))
            diff_ids.append("sha256:" + hashlib.sha256(tar).hexdigest())
        self.config = ImageConfig(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "2024-01-02T03:04:05Z",
                "config": {"Labels": labels, "Cmd": ["x"]},
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
                "history": [{"created_by": "a test"} for _ in tars] if history is None else history,
            }
        )

    @property
    def descriptor(self):
        return build_manifest(self.config.to_bytes(), self.layers()).descriptor

    def layers(self):
        return tuple(self._layers)

    def open(self, blob):
        return io.BytesIO(self.blobs[blob.digest])
