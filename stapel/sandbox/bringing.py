"""Images of other stores brought into the sandbox's: layers that are not here yet, and the configuration as it came."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO

from stapel.errors import Broken
from stapel.oci.api import Descriptor, ImageView
from stapel.oci.compress import decompressed
from stapel.sandbox.cell import Cell, CellError, Cells
from stapel.sandbox.filling import fill, lowers
from stapel.sandbox.pipes import make_pipe
from stapel.sandbox.records import Layer
from stapel.sandbox.store import Store

_PIECE_BYTES = 1 << 20


def bring(store: Store, cells: Cells, image: ImageView) -> str:
    """Have an image of another store here; its image id. `NotFound`, `Broken`, `Unreachable`."""
    config = _raw_config(image)
    image_id = f"sha256:{hashlib.sha256(config).hexdigest()}"
    diff_ids = image.config.diff_ids
    blobs = image.layers()
    if len(blobs) != len(diff_ids):
        raise Broken(f"image {image_id} has {len(blobs)} layers, and its configuration tells of {len(diff_ids)}")
    layers: list[Layer] = []
    driver = cells.driver
    for number, blob in enumerate(blobs):
        found = store.find_chain(diff_ids[: number + 1], driver)
        layers.append(found if found is not None else _bring_layer(store, cells, image, blob, diff_ids[number], layers))
    return store.images.put(config, layers)


def _raw_config(image: ImageView) -> bytes:
    manifest = getattr(image, "manifest", None)
    if manifest is None:
        return image.config.to_bytes()
    with image.open(manifest.config) as content:
        return content.read()


def _bring_layer(store: Store, cells: Cells, image: ImageView, blob: Descriptor, diff_id: str, below: list[Layer]) -> Layer:
    path = store.temporary_blob()
    try:
        kept = _download(image, blob, path)
        with path.open("rb") as content:
            path.rename(store.blob_path(kept.digest))  # before anything refers to it
            return apply_again(store, cells, content, below, diff_id, kept)
    finally:
        path.unlink(missing_ok=True)


def import_layer(store: Store, cells: Cells, archive: BinaryIO) -> Layer:
    """A snapshot of a root filesystem, whose layer is written anew from the files. An equal one that is here is used."""
    with fill(store, cells) as (cell, filling):
        _apply(cell, archive, [], filling, "", listed=False)
        with open(os.devnull, "wb") as nowhere:
            written = cell.ask("read_layer", [nowhere.fileno()], snapshot=os.fsencode(filling) + b"/fs", below=b"")
        diff_id = str(written["diff_id"])
        found = store.find_chain([diff_id], cell.driver)
        return found or store.publish(filling, (), diff_id, int(written["size_bytes"]), driver=cell.driver)


@contextmanager
def unpack_again(store: Store, cells: Cells, blob: BinaryIO, below: Sequence[Layer], diff_id: str) -> Iterator[str]:
    """The files of a layer, unpacked aside from the bytes that it came as; where they are, relative to the snapshots.

    `Broken` where the bytes are of another layer.
    """
    with fill(store, cells) as (cell, filling):
        _apply(cell, blob, below, filling, diff_id, listed=False)
        yield filling


def apply_again(
    store: Store, cells: Cells, content: BinaryIO, below: list[Layer], diff_id: str, blob: Descriptor | None
) -> Layer:
    """A snapshot of a layer that exists, by its tar, compressed or not. `blob`: where its bytes are kept. `Broken`."""
    with fill(store, cells) as (cell, filling):
        size_bytes = _apply(cell, content, below, filling, diff_id, listed=blob is None)
        return store.publish(filling, below, diff_id, size_bytes, blob, driver=cell.driver)


def _apply(cell: Cell, content: BinaryIO, below: Sequence[Layer], filling: str, diff_id: str, *, listed: bool) -> int:
    """Have a worker apply a layer, compressed or not; the size of its tar. `Broken` where it has not the diff id given."""
    digest, size_bytes = hashlib.sha256(), 0
    reading, writing = make_pipe()
    with os.fdopen(writing, "wb", 0) as stream:
        how = {"has_layer": True, "foreign": True, "listed": listed, "run": None}
        try:
            cell.begin("build", [reading], lowers=lowers(below), filling=os.fsencode(filling), **how)
        finally:
            os.close(reading)  # the worker's alone: where it takes no more, we are told
        try:
            for data in decompressed(content):
                digest.update(data)
                size_bytes += len(data)
                stream.write(data)
        except BrokenPipeError:
            pass  # the answer says why
        except BaseException:
            stream.close()
            with suppress(CellError):
                cell.tell("abandoned")
                cell.finish()
            raise
    found = f"sha256:{digest.hexdigest()}"
    cell.tell("complete" if found == diff_id or not diff_id else "abandoned")
    try:
        cell.finish()
    except CellError:
        if diff_id and found != diff_id:
            raise Broken(f"a layer has the diff id {found}, and its image says {diff_id}") from None
        raise
    return size_bytes


def _download(image: ImageView, blob: Descriptor, path: os.PathLike[str]) -> Descriptor:
    digest, size_bytes = hashlib.sha256(), 0
    with image.open(blob) as source, open(path, "wb") as out:
        while data := source.read(_PIECE_BYTES):
            digest.update(data)
            size_bytes += len(data)
            out.write(data)
    found = f"sha256:{digest.hexdigest()}"
    if blob.size_bytes >= 0 and blob.digest.startswith("sha256:") and found != blob.digest:
        raise Broken(f"a layer has the digest {found}, and its image says {blob.digest}")
    return Descriptor(blob.media_type, found, size_bytes)
