"""What the Docker engine has ready to build on: an image, or an image and one more layer that it has not been given yet."""

from __future__ import annotations

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
