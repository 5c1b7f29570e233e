"""Whether the store is what it says: every name leads to an image, every layer is what its diff id says, byte for byte.

A layer of ours is written anew from its snapshot, by the writer that made it, and must have its diff id. A layer of others
is unpacked anew from the bytes that it came as, and must have the files of its snapshot.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from stapel.api import Fault
from stapel.errors import Broken, NotFound, StapelError
from stapel.oci.api import Descriptor
from stapel.places import show
from stapel.sandbox.bringing import unpack_again
from stapel.sandbox.cell import Cells
from stapel.sandbox.image import parse_config
from stapel.sandbox.records import Layer, StoredImage
from stapel.sandbox.store import Store
from stapel.sandbox.taking_out import take_out, take_out_leftovers


def check_store(store: Store, cells: Cells, remove: Callable[[Sequence[str]], None], *, mend: bool) -> Iterator[Fault]:
    """See `Upkeep.check`."""
    yield from _check_records(store, mend=mend)
    yield from _remove_leftovers(store, remove)
    yield from _check_names(store, mend=mend)
    blobs = _find_broken_blobs(store)
    yield from _check_layers(store, cells, blobs, remove, mend=mend)
    used = store.blobs_in_use() if mend else frozenset()
    for digest in sorted(blobs):
        if mend and digest not in used:
            store.blob_path(digest).unlink(missing_ok=True)
        yield Fault(f"blob {digest} has other bytes than its digest says", mend and digest not in used)


def _remove_leftovers(store: Store, remove: Callable[[Sequence[str]], None]) -> Iterator[Fault]:
    try:
        remove(take_out_leftovers(store))
    except Broken:
        pass  # who cannot read all records does not know what is left over
    except StapelError as error:
        yield Fault(f"what a run that is gone has left cannot be removed: {error}")


def _check_records(store: Store, *, mend: bool) -> Iterator[Fault]:
    for image_id in store.images.ids():
        why = _find_lie(store, image_id)
        if why:
            if mend:
                store.images.forget(image_id)
            yield Fault(f"image {image_id}: {why}", mend)


def _find_lie(store: Store, image_id: str) -> str:
    try:
        image = store.images.get(image_id)
        config = parse_config(image.config, image_id)
    except NotFound:
        return ""  # somebody has removed it
    except Broken as error:
        return str(error)
    found = f"sha256:{hashlib.sha256(image.config).hexdigest()}"
    if found != image_id:
        return f"its configuration has the digest {found}"
    if config.diff_ids != tuple(layer.diff_id for layer in image.layers):
        return "its configuration tells of other layers than it has"
    return ""


def _check_names(store: Store, *, mend: bool) -> Iterator[Fault]:
    there = set(store.images.ids())
    for image_id, names in store.names.of_images().items():
        if image_id in there or _is_there(store, image_id):
            continue
        if mend:
            store.images.forget(image_id)
        for name in names:
            yield Fault(f"name {name}: there is no image {image_id}", mend)


def _is_there(store: Store, image_id: str) -> bool:
    try:
        store.images.get(image_id)
    except NotFound:
        return False
    except Broken:
        pass
    return True


def _find_broken_blobs(store: Store) -> set[str]:
    """The digests of those that have other bytes."""
    broken = set()
    for path in sorted((store.dir / "blobs/sha256").iterdir()):
        if path.name.startswith("."):
            continue
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError:
            continue
        if found != path.name:
            broken.add(f"sha256:{path.name}")
    return broken


def _check_layers(
    store: Store, cells: Cells, blobs: set[str], remove: Callable[[Sequence[str]], None], *, mend: bool
) -> Iterator[Fault]:
    """Each snapshot once. A broken one goes with every image that has it."""
    results: dict[str, str] = {}
    users: dict[str, list[StoredImage]] = {}
    for image in store.images.all(readable=True):
        if not store.pin(image.layers) and not _is_there(store, image.id):
            continue
        for number, layer in enumerate(image.layers):
            users.setdefault(layer.snapshot, []).append(image)
            if layer.snapshot not in results:
                results[layer.snapshot] = _find_damage(store, cells, image.layers[: number + 1], blobs)
    for snapshot, why in results.items():
        if not why:
            continue
        images = users[snapshot]
        if mend:
            for image in images:
                with suppress(NotFound):
                    store.images.remove(image.id)
            store.forget_chains(snapshot)
            remove(take_out(store, {layer.snapshot for image in images for layer in image.layers}))
        yield Fault(f"snapshot {snapshot}, of {len(images)} {'image' if len(images) == 1 else 'images'}: {why}", mend)


def _find_damage(store: Store, cells: Cells, layers: Sequence[Layer], blobs: set[str]) -> str:
    layer = layers[-1]
    if not (store.dir / "snapshots" / layer.snapshot / "fs").is_dir():
        return "its files are gone"
    if layer.blob is not None and layer.blob.digest in blobs:
        return f"the blob {layer.blob.digest} that it came as has other bytes"
    try:
        found = _write_again(cells, layer.snapshot, layers[:-1])
        if layer.blob is None:
            wanted = layer.diff_id
            if layer.driver != "overlay" and (changed := _find_unlisted(cells, layers)):
                return f"{show(changed)} is another file than in the layers below"
        elif layer.driver == cells.driver:
            wanted = _write_foreign(store, cells, layers, layer.blob)
        else:
            wanted = found  # its files are not comparable with ours, and whoever needs them takes the bytes
    except (StapelError, OSError) as error:
        return str(error)
    return "" if found == wanted else f"its files are those of the layer {found}, not of {wanted}"


def _write_again(cells: Cells, snapshot: str, below: Sequence[Layer]) -> str:
    """The diff id of the files of a snapshot."""
    under = os.fsencode(below[-1].snapshot) + b"/fs" if below else b""
    with cells.take() as cell, open(os.devnull, "wb") as nowhere:
        written = cell.ask("read_layer", [nowhere.fileno()], snapshot=os.fsencode(snapshot) + b"/fs", below=under)
    return str(written["diff_id"])


def _find_unlisted(cells: Cells, layers: Sequence[Layer]) -> bytes:
    """A file of a whole tree that has changed, and is not of its own layer."""
    tree = os.fsencode(layers[-1].snapshot) + b"/fs"
    under = os.fsencode(layers[-2].snapshot) + b"/fs" if len(layers) > 1 else b""
    with cells.take() as cell:
        return bytes(cell.ask("find_unlisted", snapshot=tree, below=under))


def _write_foreign(store: Store, cells: Cells, layers: Sequence[Layer], blob: Descriptor) -> str:
    """What our writer makes of the files that a blob gives."""
    path = store.blob_path(blob.digest)
    if not path.is_file():
        raise Broken(f"the blob {blob.digest} that it came as is gone")
    with path.open("rb") as content, unpack_again(store, cells, content, layers[:-1], layers[-1].diff_id) as filling:
        return _write_again(cells, filling, layers[:-1])
