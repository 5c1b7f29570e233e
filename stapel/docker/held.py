"""What the Docker engine has ready to build on: an image, or an image and one more layer that it has not been given yet."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import BinaryIO

from stapel.oci.api import ImageConfig


class DockerHeld:
    """An image of the engine. With `layer` it is not loaded yet: its last layer is a spool here.

    A stage of files alone needs no image of its own before it is stored, so that its layer and its configuration go to the
    engine together. With `committed_env` the image is what a container left, and its configuration is not `config`: these
    variables are set in it. Thread-safe.
    """

    def __init__(
        self,
        image_id: str,
        config: ImageConfig,
        *,
        layer: BinaryIO | None = None,
        load: Callable[[DockerHeld], str] | None = None,
        committed_env: frozenset[str] | None = None,
        on_close: Callable[[str], None] | None = None,
    ) -> None:
        self._config = config
        self.layer = layer
        self.committed_env = committed_env
        self._load = load
        self._shared = _Shared(image_id, layer, on_close)
        self._closed = False

    @property
    def id(self) -> str:
        """The image id; loads an image that is not loaded."""
        with self._shared.lock:
            if not self._shared.image_id:
                assert self._load is not None
                self._shared.image_id = self._load(self)
            return self._shared.image_id

    @property
    def config(self) -> ImageConfig:
        """Its configuration."""
        return self._config

    def again(self) -> DockerHeld:
        """The same image, held once more."""
        other = DockerHeld("", self._config, layer=self.layer, load=self._load, committed_env=self.committed_env)
        other._shared = self._shared
        with self._shared.lock:
            self._shared.holders += 1
        return other

    def close(self) -> None:
        """Let go of it; what only this build needed is removed with the last who held it."""
        with self._shared.lock:
            closed, self._closed = self._closed, True
        if not closed:
            self._shared.drop()


class _Shared:
    """What all who hold one image share."""

    def __init__(self, image_id: str, layer: BinaryIO | None, on_close: Callable[[str], None] | None) -> None:
        self.lock = threading.Lock()
        self.image_id = image_id
        self.holders = 1
        self._layer = layer
        self._on_close = on_close

    def drop(self) -> None:
        """One holder less."""
        with self.lock:
            self.holders -= 1
            if self.holders:
                return
            if self._layer is not None:
                self._layer.close()
        if self.image_id and self._on_close is not None:
            self._on_close(self.image_id)


class Reading:
    """One reading of a spool; any number of them may be under way in as many threads."""

    def __init__(self, spool: BinaryIO) -> None:
        self._spool = spool.fileno()
        self._at = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of a file, from its start or its end."""
        self._at = offset + (os.fstat(self._spool).st_size if whence == os.SEEK_END else 0)
        return self._at

    def read(self, size: int) -> bytes:
        """Up to `size` bytes."""
        data = os.pread(self._spool, size, self._at)
        self._at += len(data)
        return data
