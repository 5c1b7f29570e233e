"""`dockerfile`: a whole image, built from a Dockerfile by the engine's BuildKit.

Its key holds what the target needs (`conveyor.dockerfile.resolve`) and the files that are taken of the context, and just
these files are sent: what is not in the key cannot reach the image.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from conveyor.config.models import Image
from conveyor.keys.encoding import Value
from conveyor.keys.key import Part
from conveyor.stages.api import Context, Decision, Need
from conveyor.storage.facts import LABEL_PREFIX
from stapel.oci.api import ImageConfig

if TYPE_CHECKING:
    from conveyor.stages.dockerfile_inputs import Inputs


class DockerfileStage(Struct, frozen=True):
    """The only stage of an image with a Dockerfile."""

    name: str = "dockerfile"

    def may_exist(self, image: Image) -> bool:
        """Where the image has a Dockerfile."""
        return image.dockerfile is not None

    def takes(self, image: Image) -> tuple[Need, ...]:
        """The images whose names and digests are given to it."""
        return tuple(dict.fromkeys(Need(item.image) for item in image.dependencies))

    def decide(self, context: Context) -> Decision:
        """What the target is made of. `ConfigError` for a Dockerfile that is not there or that cannot be read."""
        from conveyor.stages.dockerfile_inputs import read_inputs

        inputs = read_inputs(context)
        return Decision(
            parts=tuple(_parts(context, inputs)),
            git={},
            configure=_without_our_labels,
            sources=tuple(context.others.take(need).stored for need in self.takes(context.image)),
            dockerfile=inputs.build,
        )


def _parts(context: Context, inputs: Inputs) -> list[Part]:
    image = context.image
    assert image.dockerfile is not None
    resolved = inputs.resolved
    parts = [Part("dockerfile", resolved.instructions)]
    if resolved.args:
        parts.append(Part("args", resolved.args))
    files: list[Value] = [[blob.path, blob.mode, blob.oid] for blob in inputs.files]
    if files:
        parts.append(Part("files", files))
    configured: Mapping[str, Value] = {
        "addHost": image.dockerfile.add_hosts,
        "network": image.network,
        "cacheVersion": image.cache_version,
    }
    return parts + [Part(name, value) for name, value in configured.items() if value]


def _without_our_labels(config: ImageConfig) -> ImageConfig:
    labels = {name: value for name, value in config.labels.items() if not name.startswith(LABEL_PREFIX)}
    return config.with_(run={**config.run, "Labels": labels or None})
