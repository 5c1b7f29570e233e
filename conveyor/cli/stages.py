"""`conveyor stages`: what is stored, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from conveyor.cli.command import Command, Group
from conveyor.cli.completion import complete_images
from conveyor.cli.option_values import ProjectOptions, StorageOptions
from conveyor.cli.options import project_options, storage_options

if TYPE_CHECKING:
    from conveyor.config.models import Project
    from conveyor.storage.names import StageName
    from conveyor.storage.saving import Saving
    from conveyor.storage.selection import StoredStage
    from conveyor.storage.storage import Storage


_FROM = "Repository to copy from, HOST[:PORT]/NAME; `:local`: the engine's own store."
_TO = "Repository to copy to, or `:local`."


@click.group("stages", cls=Group)
def command() -> None:
    """Look at the stored stages, lift marks, copy them."""


@command.command("ls", cls=Command)
@click.argument("images", metavar="[IMAGE...]", nargs=-1, shell_complete=complete_images)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    envvar="CONVEYOR_FORMAT",
    show_envvar=True,
    help="A table, or an object a line.",
)
@project_options
@storage_options
def list_stages(images: tuple[str, ...], form: str, project: ProjectOptions, storage: StorageOptions) -> None:
    """List the stages of the project in its storage, oldest first: all, or those of these images."""
    from conveyor.cli.projects import open_project
    from conveyor.config.selection import select_images

    opened = open_project(project, checks_work_tree=False)
    opened.close()
    chosen = set(select_images(opened.project, images)) if images else None
    with _open_storage(opened.project, project, storage) as (primary, _):
        names = primary.all_stages()[::-1]
        stages = dict(zip(names, primary.describe(names), strict=True))
        rejected = primary.rejected()
        for name, error in primary.take_broken():
            if str(name) not in rejected:
                _warn(f"stage {name} is broken: {error}")
    for name, stage in stages.items():
        # Of a stage that is broken its own label may be lost: with its mark it is shown all the same.
        told = stage is None and str(name) in rejected and chosen is None
        if stage is not None:
            told = stage.facts.project == opened.project.name and (chosen is None or stage.facts.image in chosen)
        if told:
            click.echo(_json(name, stage, rejected) if form == "json" else _row(name, stage, rejected))


@command.command("unreject", cls=Command)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@project_options
@storage_options
def unreject_stages(names: tuple[str, ...], project: ProjectOptions, storage: StorageOptions) -> None:
    """Take back that stages are broken: they may be used again. A NAME is the stage's, or its whole reference."""
    from conveyor.cli.projects import open_project
    from conveyor.errors import UsageError
    from conveyor.storage.names import parse_stage_name
    from conveyor.storage.rejecting import unreject

    stages = []
    for name in names:
        stage = parse_stage_name(name.rpartition(":")[2].removesuffix("-rejected"))
        if stage is None:
            raise UsageError(f"{name} is no name of a stage", hint="`conveyor stages ls` tells the names")
        stages.append(stage)
    opened = open_project(project, checks_work_tree=False)
    opened.close()
    with _open_storage(opened.project, project, storage) as (primary, saving):
        for stage in stages:
            if unreject(primary, stage, saving):
                click.echo(f"{stage} may be used again", err=True)
            else:
                click.echo(f"{stage} is not marked as rejected in {primary.address}", err=True)


@command.command("copy", cls=Command)
@click.option("--from", "source", envvar="CONVEYOR_FROM", show_envvar=True, required=True, metavar="ADDRESS", help=_FROM)
@click.option("--to", "target", envvar="CONVEYOR_TO", show_envvar=True, required=True, metavar="ADDRESS", help=_TO)
@click.option(
    "--all/--no-all",
    "everything",
    default=True,
    envvar="CONVEYOR_ALL",
    show_envvar=True,
    show_default="on",
    help="Copy all stages; --no-all: those of the images at HEAD.",
)
@project_options
@storage_options
def copy(source: str, target: str, everything: bool, project: ProjectOptions, storage: StorageOptions) -> None:
    """Copy stages and what is recorded of them to another storage; what is there already is left alone."""
    from conveyor.cli.copying import copy_between

    if not copy_between(source, target, everything, project, storage, _warn):
        raise click.exceptions.Exit(1)


@contextmanager
def _open_storage(of: Project, project: ProjectOptions, storage: StorageOptions) -> Iterator[tuple[Storage, Saving]]:
    from conveyor.cli.session import find_dockerfile, make_engine, make_locks, make_storages, open_places
    from conveyor.storage.saving import Saving

    with open_places(project) as places:
        engine = make_engine(of.name, places, storage, _warn, dockerfile_of=find_dockerfile(of))
        locks = make_locks(storage, places.home_dir)
        try:
            primary, _ = make_storages(engine, storage, places.home_dir, _warn)
            yield primary, Saving(locks, storage.lock_timeout_s, _warn, lambda waiting: None)
        finally:
            locks.close()
            engine.close()


def _warn(message: str) -> None:
    click.echo(f"Warning: {message}", err=True)


def _mark(name: StageName, stage: StoredStage | None, rejected: frozenset[str]) -> str:
    if str(name) in rejected:
        return "rejected"
    below = stage is not None and any(parent in rejected for parent in stage.facts.parents)
    return "stands on a rejected stage" if below else ""


def _row(name: StageName, stage: StoredStage | None, rejected: frozenset[str]) -> str:
    from datetime import UTC, datetime

    made = datetime.fromtimestamp(name.timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    where = f"{stage.facts.image or '~'}/{stage.facts.stage}" if stage is not None else "?"
    size_mib = stage.description.size_bytes / (1 << 20) if stage is not None else 0.0
    commit = stage.facts.commit[:12] if stage is not None else ""
    mark = _mark(name, stage, rejected)
    return f"{made}  {where:<40}  {size_mib:>9.1f} MiB  {commit:<12}  {name}" + (f"  {mark}" if mark else "")


def _json(name: StageName, stage: StoredStage | None, rejected: frozenset[str]) -> str:
    import json

    known = {}
    if stage is not None:
        known = {
            "project": stage.facts.project,
            "image": stage.facts.image,
            "stage": stage.facts.stage,
            "commit": stage.facts.commit,
            "sizeBytes": stage.description.size_bytes,
            "imageDigest": stage.description.descriptor.digest,
            "imageId": stage.description.image_id,
            "rejectedParents": [parent for parent in stage.facts.parents if parent in rejected],
        }
    own = {"name": str(name), "digest": name.digest, "createdMs": name.timestamp_ms, "rejected": str(name) in rejected}
    return json.dumps(own | known)
