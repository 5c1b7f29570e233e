"""`dockerInstructions`: the image's configuration; no file is touched and no container is started."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import asdict

from conveyor.config.models import DockerInstructions as Configured
from conveyor.config.models import Image
from conveyor.errors import ConfigError, Problem
from conveyor.keys.key import Part
from conveyor.stages.api import Context, Decision, Need
from stapel.image_config import Instructions, configure
from stapel.oci.api import ImageConfig

_NAMES = {"exact_values": "exactValues"}


class DockerInstructions(Struct, frozen=True):
    """Exists where the directive `docker` does."""

    name: str = "dockerInstructions"

    def may_exist(self, image: Image) -> bool:
        """Where the directive `docker` stands."""
        return image.docker is not None

    def takes(self, image: Image) -> tuple[Need, ...]:
        """Nothing."""
        del image
        return ()

    def decide(self, context: Context) -> Decision:
        """The instructions, each a named part."""
        assert context.image.docker is not None
        instructions = _instructions(context.image.docker)
        unset = asdict(Instructions())  # an empty CMD is a value: it resets the base's
        parts = tuple(
            Part(_NAMES.get(name, name), value) for name, value in asdict(instructions).items() if value != unset[name]
        )
        place = context.image.docker.place

        def instruct(config: ImageConfig) -> ImageConfig:
            try:
                return configure(config, instructions)
            except ValueError as error:  # by what a variable of the base is
                raise ConfigError([Problem(place, str(error))]) from error

        return Decision(parts, context.below.git, configure=instruct)


def _instructions(configured: Configured) -> Instructions:
    return Instructions(
        volume=configured.volume,
        expose=configured.expose,
        env=configured.env,
        label=configured.label,
        cmd=configured.cmd,
        entrypoint=configured.entrypoint,
        workdir=configured.workdir,
        user=configured.user,
        healthcheck=configured.healthcheck,
        exact_values=configured.exact_values,
    )
