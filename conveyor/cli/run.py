"""`conveyor run`: an image as it was built, run on this machine."""

from __future__ import annotations

import signal

import click

from conveyor.cli.command import Command
from conveyor.cli.completion import complete_images
from conveyor.cli.option_values import ProjectOptions, StorageOptions
from conveyor.cli.options import project_options, storage_options


class _RunCommand(Command):
    """Everything behind `--` is the command that runs, whether an image stands before it or not."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep it apart from what is ours."""
        ours, rest = (args[: args.index("--")], args[args.index("--") + 1 :]) if "--" in args else (args, [])
        ctx.meta["conveyor.run.command"] = tuple(rest)
        return super().parse_args(ctx, ours)


@click.command("run", cls=_RunCommand)
@click.argument("image", metavar="[IMAGE]", default="", shell_complete=complete_images)
@click.argument("words", metavar="[COMMAND...]", nargs=-1)
@project_options
@storage_options
@click.pass_context
def command(
    ctx: click.Context, image: str, words: tuple[str, ...], project: ProjectOptions, storage: StorageOptions
) -> None:
    """Run an image of the project as it is built at HEAD, on this terminal.

    COMMAND, behind `--` where it has flags of its own, stands in the place of the image's CMD. What it changes in the
    image is thrown away.
    """
    from conveyor.cli.at_head import find_image, open_at_head

    signal.signal(signal.SIGTERM, _interrupt)
    with open_at_head(project, storage) as at_head:
        engine = at_head.rooms.engine
        _, held = at_head.take(find_image(at_head.opened.project, image), engine.hold)
        try:
            status = engine.run(held, words + ctx.meta["conveyor.run.command"])
        finally:
            held.close()
    if status:
        raise click.exceptions.Exit(status)


def _interrupt(number: int, frame: object) -> None:
    del number, frame
    raise KeyboardInterrupt
