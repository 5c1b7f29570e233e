"""`conveyor completion`, and what a shell is offered for the words of a command."""

from __future__ import annotations

import click

from conveyor.cli.command import Command
from conveyor.cli.options import project_of

VARIABLE = "_CONVEYOR_COMPLETE"


@click.command("completion", cls=Command)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what makes a shell complete commands, flags and names of images."""
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"click does not know {shell}.")
    click.echo(completion(ctx.find_root().command, {}, "conveyor", VARIABLE).source())


def complete_images(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of the images at HEAD. Where the configuration cannot be read there is nothing to offer, and nothing to say."""
    del parameter
    from conveyor.cli.projects import open_project
    from conveyor.errors import ConveyorError

    try:
        opened = open_project(project_of(ctx))
    except (ConveyorError, OSError):
        return []
    opened.close()
    return [image.name for image in opened.project.images if image.name and image.name.startswith(incomplete)]


def complete_fields(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Paths of fields of the configuration, one word further than what is there."""
    del ctx, parameter
    from conveyor.config.explain import paths_of_fields

    depth = incomplete.count(".")
    return sorted(path for path in paths_of_fields() if path.startswith(incomplete) and path.count(".") == max(depth, 1))
