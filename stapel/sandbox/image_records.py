"""The images of a store: a record each, by the digest of its configuration."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stapel.errors import Broken, NotFound
from stapel.sandbox.naming import Names
from stapel.sandbox.records import Layer, StoredImage, image_document, parse_image

_TOUCH_S = 3600.0


class ImageRecords:
    """The records in the store at `store_dir`. `write` makes a file in one step. Thread-safe."""

    def __init__(self, store_dir: Path, names: Names, write: Callable[[Path, bytes], None]) -> None:
        self._store_dir = store_dir
        self._dir = store_dir / "images"
        self._place = str(self._dir)  # what is done for each stage does without Path
        self._names = names
        self._write = write
        self._put: set[str] = set()

    def put(self, config: bytes, layers: Sequence[Layer]) -> str:
        """Keep an image; its id."""
        digest = hashlib.sha256(config).hexdigest()
        self._write(self._dir / digest, json.dumps(image_document(config, layers)).encode())
        self._put.update(layer.snapshot for layer in layers)
        return f"sha256:{digest}"

    def has_put(self, layer: Layer) -> bool:
        """Whether this run has put a layer into an image."""
        return layer.snapshot in self._put

    def get(self, image_id: str) -> StoredImage:
        """An image by its id. `NotFound`, `Broken`."""
        try:
            with open(self._path(image_id), "rb") as file:
                return parse_image(image_id, file.read())
        except FileNotFoundError:
            raise _no_image(image_id) from None
        except (ValueError, KeyError, TypeError) as error:
            raise Broken(
                f"image {image_id} in {self._store_dir} cannot be read: {error}",
                hint="`conveyor host fsck --repair` removes it",
            ) from error

    def check(self, image_id: str) -> None:
        """`NotFound` where there is no such image."""
        if not os.access(self._path(image_id), os.F_OK):
            raise _no_image(image_id)

    def remove(self, image_id: str) -> tuple[Layer, ...]:
        """Forget an image and all its names; the layers that it had. `NotFound`, `Broken`."""
        gone = self.get(image_id)
        self.forget(image_id)
        return gone.layers

    def forget(self, image_id: str, links: Mapping[str, Sequence[Path]] | None = None) -> None:
        """Forget an image, whatever its record says, and its names; `links`: those of all images, where they are known."""
        self._names.forget(image_id, links if links is not None else self._names.links())
        (self._dir / image_id.partition(":")[2]).unlink(missing_ok=True)

    def all(self, *, readable: bool = False) -> Iterator[StoredImage]:
        """All images. `Broken` for one that cannot be read, unless `readable` leaves it out."""
        for image_id in self.ids():
            try:
                yield self.get(image_id)
            except NotFound:
                continue
            except Broken:
                if not readable:
                    raise

    def ids(self) -> list[str]:
        """The ids of all images."""
        names = sorted(path.name for path in self._dir.iterdir())
        return [f"sha256:{name}" for name in names if not name.startswith(".")]

    def used_s(self, image_id: str) -> float:
        """When an image was used last. `FileNotFoundError`."""
        return os.stat(self._path(image_id)).st_mtime

    def touch(self, image_id: str) -> None:
        """Note that an image is used; one that is not here is none of ours. It costs a question but once in an hour."""
        with suppress(OSError, NotFound):
            if self.used_s(image_id) < time.time() - _TOUCH_S:
                os.utime(self._path(image_id))

    def _path(self, image_id: str) -> str:
        algorithm, _, digest = image_id.partition(":")
        if algorithm != "sha256" or "/" in digest:
            raise _no_image(image_id)
        return f"{self._place}/{digest}"


def _no_image(image_id: str) -> NotFound:
    return NotFound(f"there is no image {image_id}")
