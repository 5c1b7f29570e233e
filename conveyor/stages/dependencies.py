"""The stages between the user stages: files and values of other images (`dependenciesBeforeInstall` and its kin)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from conveyor.config.models import Dependency, Image, Import, Injection
from conveyor.keys.encoding import Value
from conveyor.keys.key import Part
from conveyor.stages.api import Context, Decision, Need, Taken, Workshop
from conveyor.stages.importing import describe_external, import_digest, lay_external, lay_import, source_of
from stapel.api import Lay, Run
from stapel.image_config import configure
from stapel.oci.api import ImageConfig


class Dependencies(Struct, frozen=True):
    """Exists where the image imports from others, or takes their names, at this place of the conveyor."""

    name: str
    when: Literal["before", "after"]
    stage: Literal["install", "setup"]

    def may_exist(self, image: Image) -> bool:
        """Where something is imported or injected here."""
        return bool(self._imports(image) or self._dependencies(image))

    def takes(self, image: Image) -> tuple[Need, ...]:
        """The sources of the imports, and the last stages of the dependencies."""
        needs = [source_of(item) for item in self._imports(image) if not item.external]
        return tuple(dict.fromkeys([*needs, *(Need(item.image) for item in self._dependencies(image))]))

    def decide(self, context: Context) -> Decision:
        """The digests of the imported files, and the values that are injected."""
        imports, dependencies = self._imports(context.image), self._dependencies(context.image)
        digests = [None if item.external else import_digest(context, item, self.name) for item in imports]
        values = {
            injection.target_env: injected_value(injection, context.others.take(Need(item.image)))
            for item in dependencies
            for injection in item.imports
        }
        parts = []
        if imports:
            described: list[Value] = [
                [*([digest] if digest is not None else describe_external(item)), item.to, item.owner, item.group]
                for digest, item in zip(digests, imports, strict=True)
            ]
            parts.append(Part("imports", described))
        if values:
            types = {injection.target_env: injection.type for item in dependencies for injection in item.imports}
            parts.append(Part("dependencies", [[types[name], name, value] for name, value in values.items()]))
        checks: list[Callable[[], None]] = []

        def steps(workshop: Workshop) -> tuple[Lay | Run, ...]:
            lays = []
            for digest, item in zip(digests, imports, strict=True):
                if digest is None:
                    lay, check = lay_external(context, item, self.name, workshop)
                else:
                    lay, check = lay_import(context, item, digest, self.name, workshop)
                lays.append(lay)
                checks.append(check)
            return tuple(lays)

        def check() -> None:
            for check_one in checks:
                check_one()

        def inject(config: ImageConfig) -> ImageConfig:
            return configure(config, None, env=values) if values else config

        return Decision(
            parts=tuple(parts),
            git=context.below.git,
            steps=steps,
            configure=inject,
            check=check,
            sources=tuple(context.others.take(need).stored for need in self.takes(context.image)),
        )

    def _imports(self, image: Image) -> tuple[Import, ...]:
        return tuple(item for item in image.imports if (item.when, item.stage) == (self.when, self.stage))

    def _dependencies(self, image: Image) -> tuple[Dependency, ...]:
        return tuple(item for item in image.dependencies if (item.when, item.stage) == (self.when, self.stage))


def injected_value(injection: Injection, taken: Taken) -> str:
    """What a dependency injects of an image."""
    repository, _, tag = taken.reference.rpartition(":")
    description = taken.stored.description
    return {
        "ImageName": taken.reference,
        "ImageTag": tag,
        "ImageRepo": repository,
        "ImageID": description.image_id,
        "ImageDigest": description.descriptor.digest,
    }[injection.type]
