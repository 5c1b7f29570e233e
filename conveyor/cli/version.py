"""`conveyor version`."""

from __future__ import annotations

import click

from conveyor import __version__
from conveyor.cli.command import Command


@click.command("version", cls=Command)
def command() -> None:
    """Print the version."""
    click.echo(__version__)
