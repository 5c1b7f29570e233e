"""`conveyor build`, as it is read from a command line. What it does stands in `conveyor.cli.build_run`."""

from __future__ import annotations

import click

from conveyor.cli.command import Command
from conveyor.cli.completion import complete_images
from conveyor.cli.option_values import BuildCommand, BuildOptions, LogOptions, ProjectOptions, StorageOptions
from conveyor.cli.options import build_options, log_options, project_options, storage_options
from conveyor.cli.werf_names import told


@click.command("build", cls=Command)
@click.argument("images", metavar="[IMAGE...]", nargs=-1, shell_complete=complete_images)
@project_options
@storage_options
@build_options
@log_options
@click.pass_context
def command(
    ctx: click.Context,
    images: tuple[str, ...],
    project: ProjectOptions,
    storage: StorageOptions,
    build: BuildOptions,
    log: LogOptions,
) -> None:
    """Build the images of the project at HEAD, or those named (globs, `!` takes away), and what they need."""
    from conveyor.cli.build_run import run_build

    status = run_build(BuildCommand(images, project, storage, build, log, told(ctx)))
    if status:
        raise click.exceptions.Exit(status)
