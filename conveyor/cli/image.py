"""`conveyor image`: images of the sandbox's store that are no stages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from conveyor.cli.command import Command, Group
from conveyor.cli.flags import PREFIX, values_of_environment
from conveyor.cli.option_values import ProjectOptions, StorageOptions
from conveyor.cli.options import project_options, storage_options

if TYPE_CHECKING:
    from stapel.image_config import Instructions


@click.group("image", cls=Group)
def command() -> None:
    """Make base images for the sandbox."""


@command.command("import", cls=Command)
@click.argument("reference", metavar="REFERENCE")
@click.argument("archive", metavar="ROOTFS.tar", type=click.File("rb"))
@click.option(
    "--change",
    "changes",
    multiple=True,
    metavar="INSTRUCTION",
    callback=lambda ctx, parameter, value: values_of_environment(os.environ, PREFIX + "CHANGE") + value,
    help=(
        "A Dockerfile's CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME or WORKDIR. May be repeated.  "
        f"[env var: {PREFIX}CHANGE_*]"
    ),
)
@click.option(
    "--platform",
    metavar="PLATFORM",
    default="",
    envvar=[PREFIX + "PLATFORM", "DOCKER_DEFAULT_PLATFORM"],
    show_envvar=True,
    help="What its programs run on, OS/ARCH[/VARIANT]; default: this machine.",
)
@project_options
@storage_options
def import_image(
    reference: str,
    archive: BinaryIO,
    changes: tuple[str, ...],
    platform: str,
    project: ProjectOptions,
    storage: StorageOptions,
) -> None:
    """Make a base image of a root filesystem, a tar (compressed or not; `-` reads stdin); prints its id.

    `from: REFERENCE` means it then, on this machine, before any registry is asked.
    """
    from conveyor.cli.session import open_sandbox
    from stapel.image_config import configure
    from stapel.oci.api import ImageConfig

    instructions = _instructions(changes)
    run = configure(ImageConfig({}), instructions).run

    def warn(message: str) -> None:
        click.echo(f"Warning: {message}", err=True)

    with open_sandbox(project, storage, warn) as engine:
        click.echo(engine.import_base(reference, archive, run, platform))


def _instructions(changes: Sequence[str]) -> Instructions:
    from conveyor.errors import UsageError
    from stapel.image_config import Instructions

    given: dict[str, Any] = {"env": {}, "label": {}, "expose": (), "volume": ()}
    for text in changes:
        name, _, value = text.strip().partition(" ")
        key, value = name.lower(), value.strip()
        if not value or key not in ("cmd", "entrypoint", "env", "expose", "label", "user", "volume", "workdir"):
            raise UsageError(f"--change {text!r} is no instruction that an import takes", hint="for example `ENV A=b`")
        if key in ("env", "label"):
            variable, equals, content = value.partition("=")
            if not equals:
                raise UsageError(f"--change {text!r}: NAME=VALUE is asked for")
            given[key][variable.strip()] = content
        elif key in ("expose", "volume"):
            given[key] += tuple(value.split())
        else:
            given[key] = _command(value) if key in ("cmd", "entrypoint") else value
    return Instructions(**given)


def _command(value: str) -> str | tuple[str, ...]:
    import json

    if value.startswith("["):
        try:
            parsed = json.loads(value)
        except ValueError:
            return value
        if isinstance(parsed, list) and all(isinstance(item, str) for item in parsed):
            return tuple(parsed)
    return value
