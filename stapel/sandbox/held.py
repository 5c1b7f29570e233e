"""What the sandbox has ready to build on: an image of its store, or layers that have no image yet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from stapel.oci.api import ImageConfig
from stapel.sandbox.records import Layer, chain_digest

if TYPE_CHECKING:
    from stapel.sandbox.readying import Readied


class SandboxHeld:
    """Layers and a configuration; `image_id` is "" until they are stored. Thread-safe.

    `readied`: commands that are ready to go on here.
    """

    def __init__(
        self,
        config: ImageConfig,
        layers: tuple[Layer, ...],
        image_id: str = "",
        *,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._config = config
        self.layers = layers
        self.image_id = image_id
        self._shared = _Shared(on_close)
        self._closed = False
        self.readied: Readied | None = None

    @property
    def id(self) -> str:
        """The image id, or what names its files."""
        return self.image_id or f"chain:{chain_digest([layer.diff_id for layer in self.layers])}"

    @property
    def config(self) -> ImageConfig:
        """Its configuration."""
        return self._config

    def again(self) -> SandboxHeld:
        """The same image, held once more."""
        other = SandboxHeld(self._config, self.layers, self.image_id)
        other._shared, other.readied = self._shared, self.readied
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

    def __init__(self, on_close: Callable[[], None] | None) -> None:
        self.lock = threading.Lock()
        self.holders = 1
        self._on_close = on_close

    def drop(self) -> None:
        """One holder less."""
        with self.lock:
            self.holders -= 1
            last = not self.holders
        if last and self._on_close is not None:
            self._on_close()
