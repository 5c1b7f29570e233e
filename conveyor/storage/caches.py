"""Cache storages: repositories near the builder that give the bytes of stages, and are given those of new ones.

They are asked by digest alone and all that they give is verified, so they decide nothing: a cache that lies, lags or is
empty costs time. Nothing that goes wrong with one fails a build.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from sys import audit as trace
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from conveyor.storage.selection import StoredStage
from stapel.errors import NotFound, StapelError, Unreachable
from stapel.oci.api import ImageStore, ImageView

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")
Doing: TypeAlias = Literal["use", "fill"]

FILLS_AT_ONCE = 2


class Caches:
    """The cache storages of a run, in order. Thread-safe; `close` ends it."""

    def __init__(self, stores: Sequence[ImageStore], primary: ImageStore, warn: Callable[[str], None]) -> None:
        """`primary` is the store whose images are given to the caches."""
        self._stores = tuple(stores)
        self._primary = primary
        self._warn = warn
        self._lock = threading.Lock()
        self._lost: set[tuple[str, Doing]] = set()
        self._asked: set[str] = set()
        self._fills: list[Future[None]] = []
        self._pool: ThreadPoolExecutor | None = None

    def use(self, stage: StoredStage, using: Callable[[ImageView], T]) -> T | None:
        """What `using` makes of the image of a stage in the first cache that has it; None where none gives it.

        A cache that lacks the image, or gives it damaged, is given it in the background.
        """
        if not self._stores:
            return None
        for store in self._stores:
            if (store.address, "use") in self._lost:
                continue
            try:
                return using(store.get(stage.description.descriptor.digest))
            except NotFound:
                continue
            except StapelError as error:
                self._tell(store, "use", f"stage {stage.name} is not taken from there", error)
        self.fill(stage)
        return None

    def fill(self, stage: StoredStage) -> None:
        """Begin to give the caches the image of a stage of the primary, once a run."""
        with self._lock:
            if not self._stores or str(stage.name) in self._asked:
                return
            self._asked.add(str(stage.name))
            if self._pool is None:
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(FILLS_AT_ONCE, "cache")
            self._fills += [self._pool.submit(self._fill, store, stage) for store in self._stores]

    def finish(self) -> None:
        """Wait until the caches have been given all."""
        with self._lock:
            fills, self._fills = self._fills, []
        if fills:
            from concurrent.futures import wait

            wait(fills)

    def close(self) -> None:
        """Drop what has not begun, wait for what has."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _fill(self, store: ImageStore, stage: StoredStage) -> None:
        if (store.address, "fill") in self._lost:
            return
        digest = stage.description.descriptor.digest
        try:
            try:
                descriptor = store.get(digest).descriptor
            except NotFound:
                descriptor = store.put(self._primary.get(digest))
            trace("cache.before-name")
            store.name(str(stage.name), descriptor)  # an image without a name would be cleaned up there
        except StapelError as error:
            self._tell(store, "fill", f"it is not given stage {stage.name}", error)

    def _tell(self, store: ImageStore, doing: Doing, what: str, error: StapelError) -> None:
        gives_up = isinstance(error, Unreachable)
        with self._lock:
            told = (store.address, doing) in self._lost
            if gives_up:
                self._lost.add((store.address, doing))
        if not told:
            end = ", nor any other in this run" if gives_up else ""
            self._warn(f"the cache {store.address} fails, {what}{end}: {error}")
