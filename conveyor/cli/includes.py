"""`conveyor includes ...`: files of other repositories among those of the project."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from conveyor.cli.command import Command, Group
from conveyor.cli.option_values import ProjectOptions
from conveyor.cli.options import project_options

if TYPE_CHECKING:
    from conveyor.cli.projects import OpenFiles


@click.group("includes", cls=Group)
def command() -> None:
    """Show and update what the project includes of other repositories."""


@command.command("update", cls=Command)
@project_options
def update(project: ProjectOptions) -> None:
    """Write `werf-includes.lock`: the commits that the branches and tags of `werf-includes.yaml` are at now.

    The file is read as it is on the disk; commit both together.
    """
    from conveyor.build.replacing import replace_file
    from conveyor.cli.projects import make_clones
    from conveyor.config.includes.decode import CONFIG_FILE, LOCK_FILE, decode_includes, format_lock
    from conveyor.errors import UsageError
    from conveyor.gitrepo.remotes import FetchedRemotes

    directory = project.dir.resolve()
    try:
        content = (directory / CONFIG_FILE).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{directory / CONFIG_FILE} cannot be read: {error.strerror}", hint="--dir names the project"
        ) from None
    clones = make_clones(project)
    remotes = FetchedRemotes(clones, str(directory))
    try:
        commits = [(include.source, remotes.newest(include.source)) for include in decode_includes(content, CONFIG_FILE)]
    finally:
        remotes.close()
        clones.close()
    replace_file(str(directory / LOCK_FILE), format_lock(commits))
    for source, commit in dict(commits).items():
        click.echo(f"{source.address.url}: {source.kind} {source.ref} is at {commit}", err=True)


@command.command("ls-files", cls=Command)
@click.argument("globs", metavar="[GLOB...]", nargs=-1)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="source=SOURCE[,SOURCE...]",
    envvar="CONVEYOR_FILTER",
    show_envvar=True,
    help="Files of these only: `local`, or addresses of repositories as the list shows them.",
)
@project_options
def list_files(globs: tuple[str, ...], filters: tuple[str, ...], project: ProjectOptions) -> None:
    """Print the files that a configuration can read, or those that a glob means, and where each comes from."""
    from conveyor.cli.projects import open_files
    from conveyor.gitrepo.matching import compile_matcher

    wanted = _wanted(filters)
    with open_files(project) as opened:
        sources = {**_included(opened), **_local(opened)}
    matcher = compile_matcher(tuple(glob.strip("/") for glob in globs if glob.strip("/") not in ("", ".")), ())
    rows = [
        (path, source)
        for path, source in sorted(sources.items())
        if matcher.matches(os.fsencode(path)) and (not wanted or source in wanted)
    ]
    width = max((len(path) for path, _ in rows), default=0)
    for path, source in [("PATH", "SOURCE"), *rows]:
        click.echo(f"{path.ljust(max(width, 4))}  {source}".encode("utf-8", "surrogateescape"))


@command.command("get-file", cls=Command)
@click.argument("file", metavar="FILE")
@project_options
def get_file(file: str, project: ProjectOptions) -> None:
    """Print a file as a configuration reads it: the project's own, else that of an include."""
    from conveyor.cli.projects import open_files
    from conveyor.errors import UsageError

    with open_files(project) as opened:
        content = opened.files.read(file, "config.goTemplateRendering.allowUncommittedFiles")
        opened.refusals.raise_any()
        if content is None:
            message, hint = opened.files.explain_missing(file)
            raise UsageError(message, hint=hint or "`conveyor includes ls-files` lists what is there")
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def _local(opened: OpenFiles) -> dict[str, str]:
    from conveyor.gitrepo.api import Selector

    blobs = opened.repo.files(opened.repo.head, Selector(opened.prefix))
    return {os.fsdecode(blob.path): "local" for blob in blobs}


def _included(opened: OpenFiles) -> dict[str, str]:
    from conveyor.config.includes.files import IncludedFiles

    if not isinstance(opened.files.included, IncludedFiles):
        return {}
    return {path: include.source.address.url for path, include in opened.files.included.sources().items()}


def _wanted(filters: tuple[str, ...]) -> frozenset[str]:
    from conveyor.errors import UsageError

    wanted: set[str] = set()
    for text in filters:
        name, equals, values = text.partition("=")
        if name != "source" or not equals:
            raise UsageError(f"--filter {text} is not understood", hint="write --filter=source=local or --filter=source=URL")
        wanted.update(filter(None, values.split(",")))
    return frozenset(wanted)
