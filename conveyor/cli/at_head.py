"""Images as they are stored, for commands that use them: what `build --require-built-images` would select at HEAD."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import click
from msgspec import Struct

from conveyor.build.results import ImageResult, StageResult
from conveyor.build.rooms import Rooms
from conveyor.cli.option_values import BuildOptions, ProjectOptions, StorageOptions
from conveyor.cli.projects import OpenProject, open_project
from conveyor.cli.session import open_places, open_rooms
from conveyor.config.models import Project
from conveyor.config.naming import display_name
from conveyor.errors import BuildFailed, ServiceError, StagesRequired, UsageError
from conveyor.events.api import Event, Warned
from conveyor.storage.names import parse_stage_name
from stapel.errors import NotFound
from stapel.oci.api import ImageView

T = TypeVar("T")


class AtHead(Struct, frozen=True):
    """A project with all that a build works with."""

    opened: OpenProject
    rooms: Rooms

    def resolve(self, image: str) -> ImageResult:
        """An image of the project with the stages that are stored; nothing is built.

        What a secondary storage has is copied from there, as a build does. `ServiceError`, `BuildFailed`.
        """
        from conveyor.build.platforms import at_platform, choose_pass
        from conveyor.build.progress import Lane
        from conveyor.build.schedule import Limits, Schedule
        from conveyor.images.graph import needed_images

        images = needed_images(self.opened.project, (image,))
        chosen = choose_pass(self.rooms, images, image)
        rooms = at_platform(self.rooms, chosen.platform)
        results = Schedule([Lane(rooms, chosen.images)], Limits(0, require_built=True)).run()
        result = next(result for result in results if result.name == image)
        failed = next((item.failure for item in results if item.failure is not None and not item.failure.blocked_by), None)
        if result.last is None and failed is not None:
            kind = ServiceError if failed.exit_status == ServiceError.exit_status else BuildFailed
            raise kind(f"image {display_name(image)}: {failed.message}", hint=failed.hint, reason=failed.reason)
        return result

    def last_stage(self, image: str) -> StageResult:
        """The stage that is the image. `StagesRequired` where it is not stored."""
        result = self.resolve(image)
        if result.last is None:
            raise not_stored(result)
        return result.last

    def take(self, image: str, taking: Callable[[ImageView], T]) -> tuple[StageResult, T]:
        """That stage, and what `taking` makes of its image, which is there from then on.

        A stage that is gone by then is left out: mostly the image is not stored any more.
        """
        while True:
            stage = self.last_stage(image)
            try:
                return stage, taking(self.rooms.primary.store.get(stage.image_digest))
            except NotFound:
                name = parse_stage_name(stage.name)
                assert name is not None
                self.rooms.primary.forget(name)


@contextmanager
def open_at_head(project: ProjectOptions, storage: StorageOptions) -> Iterator[AtHead]:
    """The project at HEAD; warnings are told."""
    opened = open_project(project)
    try:
        with open_places(project) as places, open_rooms(opened, places, storage, BuildOptions(), _Reporter()) as rooms:
            yield AtHead(opened, rooms)
    finally:
        opened.close()


class _Reporter:
    """Tells warnings, and nothing else of what is only looked up."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Warned):
            click.echo(f"Warning: {event.message}", err=True)

    def close(self) -> None:
        """Nothing is held back."""


def find_image(project: Project, text: str) -> str:
    """The image that an argument names; "" (none was given) is the only final one. `UsageError`."""
    from conveyor.config.selection import select_images

    if text:
        names = select_images(project, (text,))
        if len(names) > 1:
            raise UsageError(f"{text} means {len(names)} images", hint="name one: " + ", ".join(map(display_name, names)))
        return names[0]
    final = [image.name for image in project.images if image.final and not image.artifact]
    if len(final) != 1:
        named = ", ".join(map(display_name, final[:10]))
        raise UsageError(f"the project has {len(final)} final images", hint=f"name one: {named}" if final else "")
    return final[0]


def not_stored(result: ImageResult) -> StagesRequired:
    """The error where an image is not stored."""
    missing = result.missing
    what = f"stage {missing.stage} is not stored ({missing.why})" if missing is not None else "what it needs is not stored"
    name = display_name(result.name)
    command = f"conveyor build {result.name}".strip()
    return StagesRequired(f"image {name} is not built at this commit: {what}", hint=f"`{command}` builds it")
