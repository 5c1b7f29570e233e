"""What `conveyor stages copy` does: two storages, and what is missing in the second."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import click
from msgspec.structs import replace

from conveyor.cli.option_values import BuildOptions, ProjectOptions, StorageOptions
from conveyor.cli.projects import OpenProject, open_project
from conveyor.cli.session import Places, find_dockerfile, make_engine, make_locks, make_storages, open_places, open_rooms
from conveyor.errors import StagesRequired, UsageError
from conveyor.events.api import Silence
from conveyor.storage.copying import copy_stages
from conveyor.storage.names import StageName, parse_stage_name
from conveyor.storage.saving import Saving
from stapel.api import Cancel

LOCAL = ":local"


def copy_between(
    source: str,
    target: str,
    everything: bool,
    project: ProjectOptions,
    storage: StorageOptions,
    warn: Callable[[str], None],
) -> bool:
    """Copy, and tell what was done; False where stages were left out because the source has lost them."""
    from_options, to_options = (
        replace(storage, repo=_repository(text, flag), secondary_repos=())
        for text, flag in ((source, "--from"), (target, "--to"))
    )
    if from_options.repo == to_options.repo:
        raise UsageError("--from and --to name one and the same storage")
    with ExitStack() as resources:
        opened = open_project(project, checks_work_tree=not everything)
        resources.callback(opened.close)
        places = resources.enter_context(open_places(project))
        engine = make_engine(opened.project.name, places, storage, warn, dockerfile_of=find_dockerfile(opened.project))
        resources.callback(engine.close)
        locks = make_locks(storage, places.home_dir)
        resources.callback(locks.close)
        wanted = None if everything else _stages_at_head(opened, places, from_options)
        from_storage, _ = make_storages(engine, from_options, places.home_dir, warn)
        to_storage, _ = make_storages(engine, to_options, places.home_dir, warn)
        done = copy_stages(
            engine,
            from_storage,
            to_storage,
            Saving(locks, storage.lock_timeout_s, warn, lambda waiting: None),
            Cancel(),
            wanted=wanted,
            on_copied=lambda stage: click.echo(f"copied {to_storage.reference(stage)}", err=True),
        )
    counts = [f"{len(done.copied)} copied", f"{len(done.there)} there before"]
    counts += [f"{len(done.refused)} rejected"] if done.refused else []
    counts += [f"{len(done.lost)} lost at the source"] if done.lost else []
    click.echo(f"Stages: {', '.join(counts)}", err=True)
    return not done.lost


def _repository(text: str, flag: str) -> str:
    if text == LOCAL:
        return ""
    repository = text.removeprefix("docker://")
    if not repository or repository.startswith("archive:"):
        raise UsageError(f"{flag} {text} is no storage", hint=f"HOST[:PORT]/NAME, or {LOCAL} for the engine's own store")
    return repository


def _stages_at_head(opened: OpenProject, places: Places, storage: StorageOptions) -> frozenset[StageName]:
    """The stages that a build of HEAD would use there, all of which must be stored."""
    from conveyor.build.platforms import at_platform, plan_passes
    from conveyor.build.progress import Lane
    from conveyor.build.schedule import Limits, Schedule
    from conveyor.config.selection import select_images
    from conveyor.images.graph import needed_images

    images = needed_images(opened.project, select_images(opened.project, ()))
    with open_rooms(opened, places, storage, BuildOptions(), Silence()) as rooms:
        lanes = [
            Lane(replace(at_platform(rooms, item.platform), secondaries=()), item.images)
            for item in plan_passes(rooms, images)
        ]
        results = Schedule(lanes, Limits(0, require_built=True)).run() if lanes else ()
    missing = [result.name or "~" for result in results if result.last is None]
    if missing:
        raise StagesRequired(
            f"not all stages of HEAD are stored in {rooms.primary.address}: those of {', '.join(missing)} are not",
            hint="build them there first, or copy all that is stored (--all)",
        )
    names = (parse_stage_name(stage.name) for result in results for stage in result.stages)
    return frozenset(name for name in names if name is not None)
