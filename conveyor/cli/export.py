"""`conveyor export`: an image as it was built, given to another place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.command import Command
from conveyor.cli.completion import complete_images
from conveyor.cli.option_values import ProjectOptions, StorageOptions
from conveyor.cli.options import project_options, storage_options

if TYPE_CHECKING:
    from stapel.oci.api import ImageView

_TO = (
    "docker-daemon:REF, docker-archive:FILE[:REF], oci:DIR[:NAME], oci-archive:FILE[:NAME], "
    "or docker://HOST/REPO[:TAG], a registry."
)


@click.command("export", cls=Command)
@click.argument("image", metavar="[IMAGE]", default="", shell_complete=complete_images)
@click.option("--to", "target", envvar="CONVEYOR_TO", show_envvar=True, required=True, metavar="PLACE", help=_TO)
@click.option(
    "--keep-labels/--no-keep-labels",
    default=False,
    envvar="CONVEYOR_KEEP_LABELS",
    show_envvar=True,
    help="Keep conveyor's own labels too.",
)
@project_options
@storage_options
def command(image: str, target: str, keep_labels: bool, project: ProjectOptions, storage: StorageOptions) -> None:
    """Write an image of the project, as it is built at HEAD, to a file, an engine or a registry."""
    from conveyor.cli.at_head import find_image, open_at_head
    from conveyor.cli.session import open_store
    from conveyor.storage.exporting import Unlabelled, export_image, parse_target

    place = parse_target(target)
    with open_at_head(project, storage) as at_head:
        stage, found = at_head.take(find_image(at_head.opened.project, image), _keep)
        with open_store(place, storage, _warn) as store:
            export_image(found if keep_labels else Unlabelled(found), place, store)
    click.echo(f"exported {stage.reference} to {target}", err=True)


def _keep(image: ImageView) -> ImageView:
    image.layers()  # from now on nobody removes them
    return image


def _warn(message: str) -> None:
    click.echo(f"Warning: {message}", err=True)
