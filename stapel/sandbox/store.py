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
who removes holds the lock alone while it looks, and takes what it removes out of sight before it lets go.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from sys import audit as trace
from typing import TYPE_CHECKING

from stapel.errors import Broken, NotFound
from stapel.oci.api import Descriptor
from stapel.runs import is_alive
from stapel.sandbox.naming import Names
from stapel.sandbox.records import (
    Layer,
    PushCompression,
    StoredImage,
    blob_document,
    chain_digest,
    image_document,
    layer_document,
    parse_blob,
    parse_image,
    parse_layer,
)

if TYPE_CHECKING:
    from stapel.oci.layer import LayerResult

EMPTY = "0"
FORMAT = "3"
_ID_CHARACTERS, _ID_LENGTH = "abcdefghijklmnopqrstuvwxyz234567", 8  # short, for they stand in the options of overlays
_TOUCH_S = 3600.0
_NAMED_LATER = ("", "images", "compressed", "blobs/sha256")  # where files are made aside; and beside names
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
        self._home_dir = home_dir
        self.run_id = run_id
        self._count = itertools.count(1)
        self.names = Names(self.dir / "names", lambda: f".{run_id}-{next(self._count)}")
        self._ready = False
        self._pinning = threading.Lock()
        self._pinned: set[str] = set()
        self._stored: set[str] = set()
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
        name = f"{self.run_id}-{next(self._count)}"
        trace("filling.before-make")
        os.mkdir(f"{self._place}/filling/{name}", 0o755)
        trace("filling.after-make")
        return f"../filling/{name}"

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
            self._pin([layer.snapshot])
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

    # -- keeping and removing

    def pin(self, layers: Sequence[Layer]) -> bool:
        """Keep snapshots from being removed while this run lives; False where one of them is gone already."""
        wanted = [layer.snapshot for layer in layers if layer.snapshot not in self._pinned]
        if not wanted:
            return True
        self._pin(wanted)
        gone = {snapshot for snapshot in wanted if not (self.dir / "snapshots" / snapshot).exists()}
        with self._pinning:
            self._pinned -= gone
        return not gone

    def unpin(self) -> None:
        """End of this run: nothing is kept for it any more."""
        (self.dir / "pins" / self.run_id).unlink(missing_ok=True)

    def _pin(self, snapshots: Sequence[str]) -> None:
        with self._pinning, self._locked(fcntl.LOCK_SH):
            with open(f"{self._place}/pins/{self.run_id}", "ab", 0) as file:
                file.write("".join(f"{snapshot}\n" for snapshot in snapshots).encode())
            self._pinned.update(snapshots)

    def take_out(self, snapshots: Iterable[str]) -> list[str]:
        """Take those that nobody needs out of sight; where they are now, relative to the snapshots, to be removed."""
        asked = list(snapshots)
        if not asked:
            return []
        with self._locked(fcntl.LOCK_EX):
            return self._take_out_unused(asked)

    def _take_out_unused(self, snapshots: Iterable[str]) -> list[str]:
        used = self._used_snapshots()
        return [self._take_out(snapshot) for snapshot in snapshots if snapshot not in used]

    def _used_snapshots(self) -> set[str]:
        return {layer.snapshot for image in self.images() for layer in image.layers} | self._pins_of_others()

    def unused_snapshots(self) -> list[str]:
        """The snapshots that nobody needs at this moment."""
        there = self.snapshots()
        used = self._used_snapshots()
        return [snapshot for snapshot in there if snapshot not in used]

    def take_out_images(self, unused_since: Mapping[str, float]) -> tuple[tuple[str, ...], list[str]]:
        """Forget images that were not used since, with their names, and take out the snapshots that only they have.

        The images that are gone, and where their snapshots are now. What a living run has pinned stays.
        """
        removed: list[str] = []
        snapshots: set[str] = set()
        with self._locked(fcntl.LOCK_EX):
            pinned = self.pins()
            names = self.names.links()
            for image_id, since_s in unused_since.items():
                with suppress(FileNotFoundError, NotFound, Broken):
                    own = {layer.snapshot for layer in self.image(image_id).layers}
                    if self.used_s(image_id) <= since_s and pinned.isdisjoint(own):
                        # Before the snapshots: who finds one of them gone finds that the image is.
                        self._forget_image(image_id, names)
                        snapshots |= own
                        removed.append(image_id)
            return tuple(removed), self._take_out_unused(sorted(snapshots))

    def take_out_leftovers(self) -> list[str]:
        """Likewise what runs that are gone were filling, and what they had made and no image has."""
        gone = [path for path in (self.dir / "pins").iterdir() if not self._lives(path.name)]
        pinned = _read_pins(gone)
        taken = self.take_out(sorted(snapshot for snapshot in pinned if (self.dir / "snapshots" / snapshot).exists()))
        for path in (*gone, *self._unfinished()):
            path.unlink(missing_ok=True)
        for path in self.leftovers():
            name = f"{self.run_id}-{next(self._count)}"
            with suppress(FileNotFoundError):  # another run has taken it
                path.rename(self.dir / "filling" / name)
                taken.append(f"../filling/{name}")
        return taken

    def has_leftovers(self) -> bool:
        """Whether runs that are gone have left something here."""
        if not (self.dir / "pins").is_dir():
            return False
        pins = (path for path in (self.dir / "pins").iterdir() if not self._lives(path.name))
        return any(True for _ in itertools.chain(pins, self.leftovers(), self._unfinished()))

    def _unfinished(self) -> Iterator[Path]:
        """Files of runs that are gone, which have no name yet."""
        for directory in (*(self.dir / name for name in _NAMED_LATER), *(self.dir / "names").iterdir()):
            try:
                names = os.listdir(directory)
            except FileNotFoundError:  # removed by another run
                continue
            for name in names:
                run_id, dash, _ = name[1:].partition("-")
                if dash and name.startswith(".") and not self._lives(run_id):
                    yield directory / name

    def leftovers(self) -> list[Path]:
        """What runs that are gone were filling, and what their workers had for it."""
        found = list((self.dir / "filling").iterdir())
        with suppress(FileNotFoundError):  # in a store of an earlier version
            found += (self.dir / "work").iterdir()
        return [path for path in found if not self._lives(path.name.partition("-")[0])]

    def _take_out(self, snapshot: str) -> str:
        name = f"{self.run_id}-{next(self._count)}"
        self._pinned.discard(snapshot)  # without its lock, which is taken before that of the store
        with suppress(FileNotFoundError):
            (self.dir / "snapshots" / snapshot).rename(self.dir / "filling" / name)
        return f"../filling/{name}"

    def pins(self) -> frozenset[str]:
        """The snapshots that other living runs use."""
        return frozenset(self._pins_of_others())

    def _pins_of_others(self) -> set[str]:
        files = [path for path in (self.dir / "pins").iterdir() if path.name != self.run_id and self._lives(path.name)]
        return _read_pins(files)

    def _lives(self, run_id: str) -> bool:
        return run_id == self.run_id or is_alive(self._home_dir, run_id)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        lock = os.open(f"{self._place}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)

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

    # -- images

    def put_image(self, config: bytes, layers: Sequence[Layer]) -> str:
        """Keep an image; its id."""
        digest = hashlib.sha256(config).hexdigest()
        self._write(self.dir / "images" / digest, json.dumps(image_document(config, layers)).encode())
        self._stored.update(layer.snapshot for layer in layers)
        return f"sha256:{digest}"

    def is_stored(self, layer: Layer) -> bool:
        """Whether this run has put a layer into an image."""
        return layer.snapshot in self._stored

    def image(self, image_id: str) -> StoredImage:
        """An image by its id. `NotFound`, `Broken`."""
        try:
            with open(self._image_path(image_id), "rb") as file:
                return parse_image(image_id, file.read())
        except FileNotFoundError:
            raise _no_image(image_id) from None
        except (ValueError, KeyError, TypeError) as error:
            raise Broken(
                f"image {image_id} in {self.dir} cannot be read: {error}", hint="`conveyor host fsck --repair` removes it"
            ) from error

    def check_image(self, image_id: str) -> None:
        """`NotFound` where there is no such image."""
        if not os.access(self._image_path(image_id), os.F_OK):
            raise _no_image(image_id)

    def _image_path(self, image_id: str) -> str:
        algorithm, _, digest = image_id.partition(":")
        if algorithm != "sha256" or "/" in digest:
            raise _no_image(image_id)
        return f"{self.dir}/images/{digest}"

    def remove_image(self, image_id: str) -> tuple[Layer, ...]:
        """Forget an image and all its names; the layers that it had."""
        gone = self.image(image_id)
        self._forget_image(image_id, self.names.links())
        return gone.layers

    def forget_unreadable(self, image_id: str) -> None:
        """Forget an image whose record cannot be read, and its names."""
        self._forget_image(image_id, self.names.links())

    def _forget_image(self, image_id: str, names: Mapping[str, Sequence[Path]]) -> None:
        self.names.forget(image_id, names)
        (self.dir / "images" / image_id.partition(":")[2]).unlink(missing_ok=True)

    def images(self, *, readable: bool = False) -> Iterator[StoredImage]:
        """All images. `Broken` for one that cannot be read, unless `readable` leaves it out."""
        for image_id in self.image_ids():
            try:
                yield self.image(image_id)
            except NotFound:
                continue
            except Broken:
                if not readable:
                    raise

    def image_ids(self) -> list[str]:
        """The ids of all images."""
        names = sorted(path.name for path in (self.dir / "images").iterdir())
        return [f"sha256:{name}" for name in names if not name.startswith(".")]

    def used_s(self, image_id: str) -> float:
        """When an image was used last. `FileNotFoundError`."""
        return os.stat(self._image_path(image_id)).st_mtime

    def touch(self, image_id: str) -> None:
        """Note that an image is used; one that is not here is none of ours. It costs a question but once in an hour."""
        with suppress(OSError, NotFound):
            if self.used_s(image_id) < time.time() - _TOUCH_S:
                os.utime(self._image_path(image_id))

    def snapshots(self) -> list[str]:
        """All published snapshots."""
        return sorted(path.name for path in (self.dir / "snapshots").iterdir() if path.name != EMPTY)

    def blobs_in_use(self) -> frozenset[str]:
        """The digests of the blobs that a layer came as."""
        found = {layer.blob.digest for image in self.images() for layer in image.layers if layer.blob is not None}
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


def _read_pins(files: Iterable[Path]) -> set[str]:
    """The snapshots that runs use; a run that has ended meanwhile uses none."""
    found: set[str] = set()
    for path in files:
        with suppress(FileNotFoundError):
            found.update(path.read_text().split())
    return found


def _new_id() -> str:
    return "".join(_ID_CHARACTERS[byte & 31] for byte in os.urandom(_ID_LENGTH))


def _no_image(image_id: str) -> NotFound:
    return NotFound(f"there is no image {image_id}")
