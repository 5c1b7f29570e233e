"""What the sandbox keeps on disk, below `HOME/sandbox`.

    snapshots/<id>/fs            the files of one layer: an overlay's upper directory, or with another driver the whole tree
    snapshots/<id>/layer.json    its diff id, size and driver
    snapshots/<id>/entries       of a whole tree: the list of its layer, without contents
    snapshots/0                  no files
    chains/<digest>              a link to the snapshot that has the files of a chain of layers; by other drivers than
                                 overlay: `<driver>-<digest>`
    images/<digest>              an image: its configuration, byte for byte, and its snapshots
    names/<repository>/<tag>     a link that says which image
    blobs/sha256/<digest>        compressed layers of others, whose bytes nobody can make again
    compressed/<digest>          what a layer of ours, by its diff id, is when it is compressed; `<digest>.zstd`: by zstd
    filling/<run>-<n>            what is being made; of a run that is gone: rubbish
    work/<run>-worker<pid>.<n>   what the kernel needs for an overlay, likewise
    steps/<digest>.lock          held by who runs a step; in it what came of it, for those who wait
    logs/<key>.log               what the commands of a step said last
    stubs/<digest>               mount points, the lowest layer under running commands
    pins/<run>                   the snapshots that a run uses or has made, a line each
    driver                       which driver `auto` has chosen, and where that was
    lock                         held by all who pin, and by one who removes
    mnt, aside                   where each worker mounts, in a namespace of its own

Everything is made at a temporary place and published by one step (rename, or a link), so whoever reads sees all or
nothing. A snapshot never changes once it is published. It is removed when no image has it and no living run has pinned it:
who removes (`taking_out`) holds the lock alone while it looks, and takes what it removes out of sight before it lets go.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from sys import audit as trace
from typing import TYPE_CHECKING

from stapel.oci.api import Descriptor
from stapel.sandbox.image_records import ImageRecords
from stapel.sandbox.naming import Names
from stapel.sandbox.pins import Pins
from stapel.sandbox.records import (
    Layer,
    PushCompression,
    blob_document,
    chain_digest,
    layer_document,
    parse_blob,
    parse_layer,
)

if TYPE_CHECKING:
    from stapel.oci.layer import LayerResult

EMPTY = "0"
FORMAT = "3"
_ID_CHARACTERS, _ID_LENGTH = "abcdefghijklmnopqrstuvwxyz234567", 8  # short, for they stand in the options of overlays
_DIRECTORIES = (
    *("chains", "images", "names", "blobs/sha256", "compressed", "filling", "work", "stubs", "pins", "steps", "logs"),
    *("mnt", "aside"),
    f"snapshots/{EMPTY}",
)
_SCATTERED = ("filling", "work")  # directories in these have nothing to do with one another


class Store:
    """The files of one home. Thread-safe; any number of processes may use it at once."""

    def __init__(self, home_dir: Path, run_id: str) -> None:
        self.dir = home_dir / "sandbox"
        self._place = str(self.dir)  # what is done for each stage does without Path
        self.run_id = run_id
        self._count = itertools.count(1)
        self.names = Names(self.dir / "names", lambda: f".{run_id}-{next(self._count)}")
        self.images = ImageRecords(self.dir, self.names, self._write)
        self.pins = Pins(home_dir, self.dir, run_id)
        self._ready = False
        self._written: dict[str, LayerResult] = {}  # by diff id

    def open(self) -> None:
        """Have the directories. `OSError`."""
        if self._ready:
            return
        if self._format() != FORMAT:
            from stapel.scattering import scatter

            self.dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            scatter(self._place)
            for name in _DIRECTORIES:
                (self.dir / name).mkdir(parents=True, exist_ok=True)
            for name in _SCATTERED:
                scatter(f"{self._place}/{name}")
            (self.dir / "format").write_text(FORMAT)
        self._ready = True

    def forget_open(self) -> None:
        """The directories are gone: have them again with the next `open`."""
        self._ready = False

    def _format(self) -> str:
        try:
            return (self.dir / "format").read_text()
        except FileNotFoundError:
            return ""

    # -- making

    def new_filling(self) -> str:
        """A new directory to fill; its path relative to the snapshots."""
        filling = self.next_filling()
        trace("filling.before-make")
        os.mkdir(f"{self._place}/snapshots/{filling}", 0o755)
        trace("filling.after-make")
        return filling

    def next_filling(self) -> str:
        """Where such a directory may be made, or brought to."""
        return f"../filling/{self.run_id}-{next(self._count)}"

    def absolute(self, filling: str) -> Path:
        """The directory of `new_filling`."""
        return self.dir / "snapshots" / filling

    def is_filling(self, filling: str) -> bool:
        """Whether it is there, and no snapshot yet."""
        return os.path.exists(f"{self._place}/snapshots/{filling}")

    def publish(
        self,
        filling: str,
        below: Sequence[Layer],
        diff_id: str,
        size_bytes: int,
        blob: Descriptor | None = None,
        *,
        driver: str,
    ) -> Layer:
        """Make a snapshot of what a driver has filled, on top of `below`."""
        path = f"{self._place}/snapshots/{filling}"
        with open(f"{path}/layer.json", "wb", 0) as file:
            file.write(json.dumps(layer_document(Layer("", diff_id, size_bytes, blob, driver))).encode())
        while True:
            layer = Layer(_new_id(), diff_id, size_bytes, blob, driver)
            self.pins.add([layer.snapshot])
            try:
                trace("snapshot.before-rename")
                os.rename(path, f"{self._place}/snapshots/{layer.snapshot}")
                trace("snapshot.after-rename")
            except OSError:
                if not (self.dir / "snapshots" / layer.snapshot).exists():
                    raise
                continue  # an id that is in use
            break
        link = self._chain_link([item.diff_id for item in (*below, layer)], driver)
        try:
            os.symlink(layer.snapshot, link)
        except FileExistsError:
            if not (link.parent.parent / "snapshots" / link.readlink()).exists():
                link.unlink(missing_ok=True)  # of a snapshot that was removed
                with suppress(FileExistsError):
                    link.symlink_to(layer.snapshot)
        return layer

    def find_chain(self, diff_ids: Sequence[str], driver: str) -> Layer | None:
        """The snapshot by a driver of the uppermost of these layers on top of the others, where one is here."""
        link = self._chain_link(diff_ids, driver)
        try:
            snapshot = str(link.readlink())
            document = json.loads((self.dir / "snapshots" / snapshot / "layer.json").read_bytes())
        except FileNotFoundError:
            return None
        layer = parse_layer(snapshot, document)
        return layer if self.pin([layer]) else None

    def forget_chains(self, snapshot: str) -> None:
        """Let no chain of layers lead to a snapshot."""
        for link in (self.dir / "chains").iterdir():
            with suppress(OSError):
                if str(link.readlink()) == snapshot:
                    link.unlink()

    def _chain_link(self, diff_ids: Sequence[str], driver: str) -> Path:
        digest = chain_digest(diff_ids)
        return self.dir / "chains" / (digest if driver == "overlay" else f"{driver}-{digest}")

    def pin(self, layers: Sequence[Layer]) -> bool:
        """Keep snapshots from being removed while this run lives; False where one of them is gone already."""
        wanted = self.pins.missing(layer.snapshot for layer in layers)
        if not wanted:
            return True
        self.pins.add(wanted)
        gone = [snapshot for snapshot in wanted if not (self.dir / "snapshots" / snapshot).exists()]
        self.pins.forget(gone)
        return not gone

    # -- blobs

    def blob_path(self, digest: str) -> Path:
        """Where the bytes of a digest are, or would be."""
        algorithm, _, value = digest.partition(":")
        return self.dir / "blobs" / algorithm / value

    def temporary_blob(self) -> Path:
        """A new path beside the blobs, to be renamed."""
        return self.dir / "blobs/sha256" / f".{self.run_id}-{next(self._count)}"

    def compressed(self, diff_id: str, compression: PushCompression) -> Descriptor | None:
        """What a layer of ours is when it is compressed so, where it is known."""
        try:
            return parse_blob(json.loads(self._compressed_path(diff_id, compression).read_bytes()))
        except (FileNotFoundError, ValueError):
            return None

    def remember_compressed(self, diff_id: str, compression: PushCompression, blob: Descriptor) -> None:
        """Remember it."""
        self._write(self._compressed_path(diff_id, compression), json.dumps(blob_document(blob)).encode())

    def _compressed_path(self, diff_id: str, compression: PushCompression) -> Path:
        name = diff_id.partition(":")[2]
        return self.dir / "compressed" / (name if compression == "gzip" else f"{name}.{compression}")

    def note_written(self, layer: LayerResult) -> None:
        """Note what a layer was when this run wrote it."""
        self._written[layer.diff_id] = layer

    def written(self, diff_id: str) -> LayerResult | None:
        """What a layer was when this run wrote it, where it did."""
        return self._written.get(diff_id)

    # -- all

    def snapshots(self) -> list[str]:
        """All published snapshots."""
        return sorted(path.name for path in (self.dir / "snapshots").iterdir() if path.name != EMPTY)

    def blobs_in_use(self) -> frozenset[str]:
        """The digests of the blobs that a layer came as."""
        found = {layer.blob.digest for image in self.images.all() for layer in image.layers if layer.blob is not None}
        for path in (self.dir / "snapshots").glob("*/layer.json"):
            with suppress(FileNotFoundError, ValueError):
                blob = parse_layer("", json.loads(path.read_bytes())).blob
                if blob is not None:
                    found.add(blob.digest)
        return frozenset(found)

    def _write(self, path: Path, data: bytes) -> None:
        temporary = path.parent / f".{self.run_id}-{next(self._count)}"
        temporary.write_bytes(data)
        trace("image-record.before-rename")
        temporary.rename(path)
        trace("image-record.after-rename")


def _new_id() -> str:
    return "".join(_ID_CHARACTERS[byte & 31] for byte in os.urandom(_ID_LENGTH))
