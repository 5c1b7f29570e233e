"""`imageSpec`: the last word on an image's configuration; no file is touched and no container is started."""

from __future__ import annotations

import re

from msgspec import Struct
from msgspec.structs import replace

from conveyor.config.models import Image
from conveyor.keys.key import Part
from conveyor.stages.api import Context, Decision, Need
from stapel.image_spec import ImageSpec, apply_spec


class ImageSpecStage(Struct, frozen=True):
    """Exists where a final image has the directive, or the project has it for all."""

    name: str = "imageSpec"

    def may_exist(self, image: Image) -> bool:
        """Where the directive says something."""
        return image.image_spec is not None

    def takes(self, image: Image) -> tuple[Need, ...]:
        """Nothing."""
        del image
        return ()

    def decide(self, context: Context) -> Decision:
        """What the directive says, each a named part."""
        assert context.image.image_spec is not None
        spec = _named(context.image.image_spec, context.image.name, context.project.name)
        unset = ImageSpec()
        said = [(name, getattr(spec, name)) for name in spec.__struct_fields__]
        parts = tuple(
            Part(_in_camel_case(name), value) for name, value in said if value not in (False, getattr(unset, name))
        )
        return Decision(parts, context.below.git, configure=lambda config: apply_spec(config, spec))


def _named(spec: ImageSpec, image: str, project: str) -> ImageSpec:
    """The spec with the names that its labels ask for."""
    names = {"%image%": image, "%project%": project}

    def put_in(text: str) -> str:
        return re.sub("%image%|%project%", lambda match: names[match[0]], text)

    return replace(spec, labels={put_in(name): put_in(value) for name, value in spec.labels.items()})


def _in_camel_case(name: str) -> str:
    return re.sub("_([a-z])", lambda match: match[1].upper(), name)
