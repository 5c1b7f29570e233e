"""`conveyor stages ls`: what is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from conveyor.cli.options import Command, Group, ProjectOptions, StorageOptions, project_options, storage_options

if TYPE_CHECKING:
    from conveyor.storage.selection import StoredStage


@click.group("stages", cls=Group)
def command() -> None:
    """Look at the stored stages."""


@command.command("ls", cls=Command)
@click.argument("images", metavar="[IMAGE...]", nargs=-1)
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
    from conveyor.cli.session import make_engine, make_storages, open_places
    from conveyor.config.selection import select_images

    opened = open_project(project)
    opened.repo.close()
    names = set(select_images(opened.project, images)) if images else None

    def warn(message: str) -> None:
        click.echo(f"Warning: {message}", err=True)

    with open_places(project) as places:
        engine = make_engine(opened.project.name, places, storage, warn)
        try:
            primary, _ = make_storages(engine, storage, places.home_dir, warn)
            rejected = primary.rejected()
            stages = [
                stage
                for stage in primary.describe(primary.all_stages()[::-1])
                if stage is not None
                and stage.facts.project == opened.project.name
                and (names is None or stage.facts.image in names)
            ]
        finally:
            engine.close()
    for stage in stages:
        click.echo(_json(stage, rejected) if form == "json" else _row(stage, rejected))


def _row(stage: StoredStage, rejected: frozenset[str]) -> str:
    from datetime import UTC, datetime

    made = datetime.fromtimestamp(stage.name.timestamp_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    mark = "  rejected" if str(stage.name) in rejected else ""
    where = f"{stage.facts.image or '~'}/{stage.facts.stage}"
    size_mib = stage.description.size_bytes / (1 << 20)
    return f"{made}  {where:<40}  {size_mib:>9.1f} MiB  {stage.facts.commit[:12]}  {stage.name}{mark}"


def _json(stage: StoredStage, rejected: frozenset[str]) -> str:
    import json

    return json.dumps(
        {
            "name": str(stage.name),
            "project": stage.facts.project,
            "image": stage.facts.image,
            "stage": stage.facts.stage,
            "digest": stage.facts.digest,
            "commit": stage.facts.commit,
            "createdMs": stage.name.timestamp_ms,
            "sizeBytes": stage.description.size_bytes,
            "imageDigest": stage.description.descriptor.digest,
            "imageId": stage.description.image_id,
            "rejected": str(stage.name) in rejected,
        }
    )
