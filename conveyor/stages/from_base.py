"""`from`: the base of an image, with its mount points emptied and without the labels of the image below."""

from __future__ import annotations

from msgspec import Struct

from conveyor.config.models import Image
from conveyor.images.graph import effective_mounts
from conveyor.keys.key import Part
from conveyor.stages.api import Context, Decision, Need, Workshop
from conveyor.storage.facts import LABEL_PREFIX
from stapel.api import Lay, Run
from stapel.image_config import drop_labels
from stapel.oci.api import ImageConfig
from stapel.oci.reference import normalise


class FromBase(Struct, frozen=True):
    """Always exists. Its key holds what is named, not what is found under the name, except with `fromLatest`."""

    name: str = "from"

    def may_exist(self, image: Image) -> bool:
        """Always."""
        del image
        return True

    def takes(self, image: Image) -> tuple[Need, ...]:
        """The image that this one is built on, where it is one of the project."""
        return (Need(image.base.reference),) if image.base.kind == "image" else ()

    def decide(self, context: Context) -> Decision:
        """The base, the cache versions and the mounts."""
        image = context.image
        mounts = effective_mounts(context.project, image)
        parts = [Part("base", _base(context))]
        if image.from_latest and image.base.kind == "external":
            parts.append(Part("fromLatest", context.others.resolve_digest(image.base.reference)))
        if image.cache_version:
            parts.append(Part("cacheVersion", image.cache_version))
        if image.from_cache_version:
            parts.append(Part("fromCacheVersion", image.from_cache_version))
        if mounts:
            parts.append(Part("mounts", [[mount.kind, mount.source, mount.to] for mount in mounts]))
        points = tuple(mount.to.strip("/").encode() for mount in mounts)

        def empty_mount_points(workshop: Workshop) -> tuple[Lay | Run, ...]:
            return (Lay(files=lambda: iter(()), empty=points, mtime_s=workshop.commit_time_s),) if points else ()

        return Decision(parts=tuple(parts), git={}, steps=empty_mount_points, configure=_without_our_labels)


def _base(context: Context) -> list[str]:
    base = context.image.base
    if base.kind == "image":
        return ["image", context.others.take(Need(base.reference)).stored.facts.content_digest]
    if base.kind == "scratch":
        return ["scratch"]
    return ["external", normalise(base.reference)]


def _without_our_labels(config: ImageConfig) -> ImageConfig:
    return drop_labels(config, LABEL_PREFIX)
