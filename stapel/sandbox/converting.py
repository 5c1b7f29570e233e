"""Images whose snapshots are of another driver than the one in use: their layers are applied again.

Names and images do not depend on the driver, so a store stays whole when it changes. An image is converted when it is held
for the first time, and from then on has the new snapshots; the old ones go where no other image and no other run has them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO

from stapel.errors import Broken
from stapel.sandbox.bringing import apply_again
from stapel.sandbox.cell import Cells
from stapel.sandbox.records import Layer, StoredImage
from stapel.sandbox.store import Store

ReadLayer = Callable[[Layer, Layer | None], AbstractContextManager[BinaryIO]]


def convert(store: Store, cells: Cells, image: StoredImage, read_layer: ReadLayer) -> StoredImage:
    """An image, all of whose snapshots are pinned, with snapshots by the driver in use. `Broken`."""
    driver = cells.driver
    diff_ids = [layer.diff_id for layer in image.layers]
    layers: list[Layer] = []
    for number, layer in enumerate(image.layers):
        found = layer if layer.driver == driver else store.find_chain(diff_ids[: number + 1], driver)
        if found is None:
            with _open(store, image, number, read_layer) as content:
                found = apply_again(store, cells, content, layers, layer.diff_id, layer.blob)
        layers.append(found)
    store.images.put(image.config, layers)
    return StoredImage(image.id, image.config, tuple(layers))


def _open(store: Store, image: StoredImage, number: int, read_layer: ReadLayer) -> AbstractContextManager[BinaryIO]:
    layer = image.layers[number]
    if layer.blob is None:
        return read_layer(layer, image.layers[number - 1] if number else None)
    try:
        return store.blob_path(layer.blob.digest).open("rb")
    except FileNotFoundError:
        raise Broken(f"blob {layer.blob.digest} of image {image.id} is absent in {store.dir}") from None
