"""`conveyor logs`: what the commands of a stage said when it was built."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from msgspec import Struct

from conveyor.cli.command import Command
from conveyor.cli.option_values import ProjectOptions, StorageOptions
from conveyor.cli.options import project_options, storage_options

if TYPE_CHECKING:
    from conveyor.build.results import ImageResult
    from conveyor.config.models import Project

_PIECE_BYTES = 1 << 16


@click.command("logs", cls=Command)
@click.argument("target", metavar="[IMAGE[/STAGE]]", default="")
@project_options
@storage_options
def command(target: str, project: ProjectOptions, storage: StorageOptions) -> None:
    """Print the log of a stage, or of all stages of an image, as they are selected at HEAD; builds nothing."""
    from conveyor.cli.at_head import not_stored, open_at_head
    from conveyor.config.naming import display_name

    with open_at_head(project, storage) as at_head:
        image, stage = _parse(target, at_head.opened.project)
        result = at_head.resolve(image)
        found = _find(result, at_head.rooms.home_dir)
    if stage:
        found = [item for item in found if item.stage == stage]
        if not found:
            _refuse(result, stage)
        _show(found[0])
        return
    shown = [item for item in found if item.path is not None]
    for number, item in enumerate(shown):
        click.echo(("\n" if number else "") + f"==> {display_name(image)}/{item.stage}")
        _show(item)
    if result.last is None and not (shown and shown[-1].note):
        raise not_stored(result)
    if not shown:
        click.echo(f"no log of image {display_name(image)} is here: {_WHY_NONE}", err=True)


_WHY_NONE = "its stages ran no commands, were not built on this machine, or their logs were removed"


class _Found(Struct, frozen=True):
    stage: str
    path: Path | None
    note: str = ""
    why_none: str = ""


def _parse(target: str, project: Project) -> tuple[str, str]:
    """Image and stage; names of images may hold slashes themselves. A word that is a stage alone is of the only image."""
    from conveyor.cli.at_head import find_image
    from conveyor.stages.order import conveyor_of

    names = {image.name for image in project.images} | {"~", ""}
    before, slash, after = target.rpartition("/")
    if target in names or not slash:
        return find_image(project, target), ""
    image = find_image(project, before)
    stages = [kind.name for kind in conveyor_of(project.image(image))]
    if after not in stages:
        from conveyor.config.suggestions import did_you_mean
        from conveyor.errors import UsageError

        raise UsageError(f"there is no stage {after}", hint=did_you_mean(after, stages) or f"stages: {', '.join(stages)}")
    return image, after


def _find(result: ImageResult, home_dir: Path) -> list[_Found]:
    """The stages of an image, in order, each with its log; at last the one that is not stored."""
    from conveyor.build.logs import find_failed_log, find_log, find_running_log
    from conveyor.config.models import USER_STAGES
    from conveyor.storage.names import parse_stage_name

    found = []
    for stage in result.stages:
        name = parse_stage_name(stage.name)
        path = find_log(home_dir, name) if name is not None else None
        if stage.stage in (*USER_STAGES, "dockerfile"):
            why = f"stage {stage.name} was not built on this machine, or its log was removed"
        else:
            why = "the stage runs no commands"
        found.append(_Found(stage.stage, path, why_none=why))
    missing = result.missing
    if missing is not None:
        running = find_running_log(home_dir, missing.digest)
        failed = find_failed_log(home_dir, missing.digest)
        if running is not None:
            found.append(_Found(missing.stage, running, "the stage is being built; this is its log so far"))
        elif failed is not None:
            found.append(_Found(missing.stage, failed, "the stage is not stored; this is its last build here, which failed"))
    return found


def _show(item: _Found) -> None:
    from conveyor.errors import ConveyorError
    from conveyor.events.lines import LineBuffer, strip_control

    if item.path is None:
        raise ConveyorError(
            f"there is no log of stage {item.stage}: {item.why_none}",
            reason="no_log",
            hint="" if "no commands" in item.why_none else "the log is on the machine that built it",
        )
    if item.note:
        click.echo(item.note, err=True)
    colors = sys.stdout.isatty()
    lines = LineBuffer()
    with item.path.open("rb") as file:
        while data := file.read(_PIECE_BYTES):
            for line in lines.feed(data):
                click.echo(strip_control(line, keep_colors=colors))
    for line in lines.flush():
        click.echo(strip_control(line, keep_colors=colors))


def _refuse(result: ImageResult, stage: str) -> NoReturn:
    """Why there is not even a stage."""
    from conveyor.cli.at_head import not_stored
    from conveyor.config.naming import display_name
    from conveyor.errors import UsageError

    missing = result.missing
    if result.last is None and (missing is None or stage in (missing.stage, *missing.unknown)):
        raise not_stored(result)
    has = ", ".join(item.stage for item in result.stages)
    raise UsageError(f"image {display_name(result.name)} has no stage {stage} at this commit", hint=f"it has {has}")
