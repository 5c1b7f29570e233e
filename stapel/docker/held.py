"""What the Docker engine has ready to build on: an image, or an image and one more layer that it has not been given yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import BinaryIO

from stapel.oci.api import ImageConfig


class DockerHeld:
    """An image of the engine. With `layer` it is not loaded yet: its last layer is a spool here.

    A stage of files alone needs no image of its own before it is stored, so that its layer and its configuration go to the
    engine together. Thread-safe.
    """

    def __init__(
        self,
        image_id: str,
        config: ImageConfig,
        *,
        layer: BinaryIO | None = None,
        load: Callable[[DockerHeld], str] | None = None,
        on_close: Callable[[str], None] | None = None,
    ) -> None:
        self._image_id = image_id
        self._config = config
        self.layer = layer
        self._load = load
        self._on_close = on_close
        self._lock = threading.Lock()
        self._holders = 1

    @property
    def id(self) -> str:
        """The image id; loads an image that is not loaded."""
        with self._lock:
            if not self._image_id:
                assert self._load is not None
                self._image_id = self._load(self)
            return self._image_id

    @property
    def config(self) -> ImageConfig:
        """Its configuration."""
        return self._config

    def again(self) -> DockerHeld:
        """This, held once more: it takes one more `close`."""
        with self._lock:
            self._holders += 1
        return self

    def close(self) -> None:
        """Let go of it; what only this build needed is removed by the last who held it."""
        with self._lock:
            self._holders -= 1
            if self._holders != 0:
                return
            image_id, on_close = self._image_id, self._on_close
            if self.layer is not None:
                self.layer.close()
        if image_id and on_close is not None:
            on_close(image_id)
