"""Images from one store into another, by digest, without a name: between registries, and to and from the engine's own."""

from __future__ import annotations

from stapel.api import Cancel, Engine
from stapel.oci.api import Descriptor, ImageStore


def put_copy(engine: Engine, source: ImageStore, digest: str, into: ImageStore, cancel: Cancel) -> Descriptor:
    """Put an image of `source` into another store; complete, or without effect.

    Between registries the manifest is kept byte for byte. `NotFound` and `Broken` are about the source; `Refused` and
    `Unreachable` about either.
    """
    if source is not engine.images and into is not engine.images:
        return into.put(source.get(digest))
    held = engine.hold(source.get(digest))
    try:
        return engine.put(held, held.config, into, cancel)
    finally:
        held.close()
