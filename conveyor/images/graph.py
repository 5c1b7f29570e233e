"""The graph of images: what must be built for what was asked, and the sets that are shown to the user."""

from __future__ import annotations

from collections.abc import Iterable

from conveyor.config.models import Image, MountPoint, Project


def needed_images(project: Project, names: Iterable[str]) -> tuple[Image, ...]:
    """The images of these names and all that they take from, in order of configuration. The project has no cycles."""
    wanted: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack += project.image(name).needs()
    return tuple(image for image in project.images if image.name in wanted)


def independent_sets(images: Iterable[Image]) -> tuple[tuple[Image, ...], ...]:
    """Images by level: those of a set need only images of the sets before it. A picture of the plan, no barrier."""
    levels: dict[str, int] = {}
    waiting = {image.name: image for image in images}
    ordered = list(waiting.values())
    while waiting:
        ready = [image for image in waiting.values() if all(need in levels for need in image.needs())]
        if not ready:
            raise ValueError(f"images need one another: {', '.join(waiting)}")
        for image in ready:
            levels[image.name] = max((levels[need] + 1 for need in image.needs()), default=0)
            del waiting[image.name]
    count = max(levels.values(), default=-1) + 1
    return tuple(tuple(image for image in ordered if levels[image.name] == level) for level in range(count))


def effective_mounts(project: Project, image: Image) -> tuple[MountPoint, ...]:
    """The mounts of an image: those of the images it is built on, lowest first, then its own; one a mount point."""
    inherited: tuple[MountPoint, ...] = ()
    if image.base.kind == "image":
        inherited = effective_mounts(project, project.image(image.base.reference))
    return tuple({mount.to: mount for mount in (*inherited, *image.mounts)}.values())
