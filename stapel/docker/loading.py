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
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from sys import audit as trace
from typing import Any, BinaryIO, cast

from stapel.docker.client import Clients
from stapel.docker.listing import inspect_image
from stapel.errors import Damaged, StapelError
from stapel.oci.api import Descriptor, ImageConfig, ImageView
from stapel.oci.errors import BadLayer

_FETCHES = 3


def load_image(clients: Clients, config: ImageConfig, layers: Mapping[str, BinaryIO] | None = None) -> str:
    """Load a configuration, whose layers the engine has but for those given by diff id; the image id.

    `StapelError` where the engine does not take it; nothing is left behind then.
    """
    raw = config.to_bytes()
    image_id = image_id_of(config)
    with tempfile.TemporaryFile() as archive:
        _write_archive(cast(BinaryIO, archive), config, raw, layers or {})

        def load(client: Any) -> list[Mapping[str, object]]:  # noqa: ANN401 -- the SDK has no types
            archive.seek(0)
            return list(client.load_image(archive, quiet=True))

        trace("image.before-load")
        answers = clients.ask("loading an image", load)
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
    """Load an image of another store; the image id. Its layers are read from there where the engine has not all of them."""
    with suppress(StapelError):
        return load_image(clients, image.config)
    with ExitStack() as resources:
        layers = {}
        for layer, diff_id in zip(image.layers(), image.config.diff_ids, strict=True):
            layers[diff_id] = resources.enter_context(_fetched(image, layer))
        return load_image(clients, image.config, layers)


@contextmanager
def _fetched(image: ImageView, layer: Descriptor) -> Iterator[BinaryIO]:
    """A layer, uncompressed; read again where its bytes were damaged on their way."""
    from stapel.oci.compress import decompressed

    with tempfile.TemporaryFile() as file:
        spool = cast(BinaryIO, file)
        for attempt in range(1, _FETCHES + 1):
            spool.seek(0)
            spool.truncate()
            try:
                with image.open(layer) as content:
                    try:
                        spool.writelines(decompressed(content))
                    except BadLayer:
                        while content.read(1 << 20):
                            pass  # its end tells whether these are the bytes that are stored
                        raise
                break
            except Damaged:
                if attempt == _FETCHES:
                    raise
        yield spool
