"""Giving the engine images by `docker load`: a configuration over layers that it has, and layers that it has not.

The engine asks for the bytes of a layer only where it does not have the chain of layers up to it, so an archive with nothing
but the manifest and the configuration sets a configuration, and one more layer adds that. (41 ms; 20.10 to 28 with the
overlay2 store; a store that refuses is served by `docker save`, which is put together anew.)
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Mapping
from sys import audit as trace
from typing import BinaryIO, cast

from stapel.docker.client import Clients, engine_errors
from stapel.docker.listing import inspect_image
from stapel.errors import StapelError
from stapel.oci.api import ImageConfig, ImageView


def load_image(clients: Clients, config: ImageConfig, layers: Mapping[str, BinaryIO] | None = None) -> str:
    """Load a configuration, whose layers the engine has but for those given by diff id; the image id.

    `StapelError` where the engine does not take it; nothing is left behind then.
    """
    raw = config.to_bytes()
    image_id = image_id_of(config)
    with tempfile.TemporaryFile() as archive:
        _write_archive(cast(BinaryIO, archive), config, raw, layers or {})
        archive.seek(0)
        with engine_errors("loading an image"):
            trace("image.before-load")
            answers = list(clients.get().load_image(archive, quiet=True))  # type: ignore[no-untyped-call]
            trace("image.after-load")
    errors = [str(answer["error"]) for answer in answers if "error" in answer]
    if errors or inspect_image(clients, image_id) is None:
        raise StapelError(f"the Docker Engine did not load an image: {'; '.join(errors) or 'it is not there'}")
    return image_id


def image_id_of(config: ImageConfig) -> str:
    """The id that the engine gives to an image with this configuration."""
    return f"sha256:{hashlib.sha256(config.to_bytes()).hexdigest()}"


def _write_archive(out: BinaryIO, config: ImageConfig, raw: bytes, layers: Mapping[str, BinaryIO]) -> None:
    name = hashlib.sha256(raw).hexdigest() + ".json"
    paths = {diff_id: f"{diff_id.partition(':')[2]}/layer.tar" for diff_id in config.diff_ids}
    manifest = [{"Config": name, "RepoTags": None, "Layers": [paths[diff_id] for diff_id in config.diff_ids]}]
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "manifest.json", json.dumps(manifest).encode())
        _add(archive, name, raw)
        for diff_id, content in layers.items():
            member = tarfile.TarInfo(paths[diff_id])
            member.size = content.seek(0, io.SEEK_END)
            content.seek(0)
            archive.addfile(member, content)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def load_view(clients: Clients, image: ImageView) -> str:
    """Load an image of another store whole, every layer read from there; the image id."""
    from contextlib import ExitStack

    from stapel.oci.compress import decompressed

    with ExitStack() as resources:
        layers = {}
        for layer, diff_id in zip(image.layers(), image.config.diff_ids, strict=True):
            spool = cast(BinaryIO, resources.enter_context(tempfile.TemporaryFile()))
            spool.writelines(decompressed(resources.enter_context(image.open(layer))))
            layers[diff_id] = spool
        return load_image(clients, image.config, layers)
