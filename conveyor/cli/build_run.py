"""Building what a command asks for. It knows nothing of command lines: who builds again has none that is read."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.cli.option_values import DEFAULT_REPORT, BuildCommand, BuildOptions, ProjectOptions, StorageOptions

if TYPE_CHECKING:
    from conveyor.build.results import BuildResult
    from conveyor.cli.projects import OpenProject
    from conveyor.cli.remember import Watched
    from conveyor.config.models import Image


def run_build(command: BuildCommand) -> int:
    """Build, or look for, what a command asks for; its exit status. Errors that end all are raised."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGINT, _interrupt)
    project, storage, build = command.project, command.storage, command.build
    from conveyor.cli.projects import ask_git, open_project

    opening = ask_git(project)  # git starts while modules are imported
    from conveyor.build.building import build_images
    from conveyor.build.preflight import check_mappings
    from conveyor.build.schedule import Limits
    from conveyor.build.tags import CustomTags
    from conveyor.cli.remember import Asked, Watched, remember
    from conveyor.cli.session import find_agent, import_engine, open_places, open_rooms
    from conveyor.cli.view import make_view
    from conveyor.config.selection import select_images
    from conveyor.errors import Interrupted
    from conveyor.events.api import Fetching, Warned
    from conveyor.images.graph import needed_images

    import_engine(storage)

    started_s = time.monotonic()
    opened = open_project(project, virtual_merge=build.virtual_merge, builds=True, opening=opening)
    opens_shells = build.introspect_error or build.introspect_before_error or bool(build.introspect_stages)
    reporter = Watched(make_view(command.log, live=not opens_shells))
    try:
        for warning in opened.warnings:
            reporter(Warned(str(warning)))
        opened.clones.on_fetch = lambda what, url: reporter(Fetching(what, url))
        chosen = needed_images(opened.project, select_images(opened.project, command.images))
        tags = CustomTags(build.custom_tags)
        final = [image.name for image in chosen if image.final and not image.artifact]
        tags.check(final)
        if build.report_path is not None:
            from conveyor.build.report import check_report_path

            check_report_path(opened.directory / build.report_path, final)
        written = _written(opened, build)
        if any(image.dockerfile is not None for image in chosen):
            _check_engine(chosen, storage, reporter)
        if build.introspect_stages:
            _check_introspection(chosen, build, reporter)
        _check(opened, chosen, project, written)
        limits = Limits(build.limit, build.fail_fast, build.require_built_images)
        with open_places(project) as places:
            ssh_socket = find_agent(opened, project)
            check_mappings(chosen, opened.repo, opened.prefix, opened.remotes)
            with open_rooms(opened, places, storage, build, reporter, ssh_socket) as rooms:
                result = build_images(rooms, chosen, limits, tags, storage.repo, started_s)
                remember(opened, rooms, Asked(command, chosen, written, reporter), result)
        if build.report_path is not None:
            from conveyor.build.report import write_report

            write_report(result, opened.directory / build.report_path)
    except KeyboardInterrupt:
        raise Interrupted from None
    finally:
        reporter.close()
        opened.close()
    return _exit_status(result)


def _interrupt(number: int, frame: object) -> None:
    """The first signal stops the build in order, the second one at once."""
    del number, frame
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    raise KeyboardInterrupt


def _leave(number: int, frame: object) -> None:
    del number, frame
    os._exit(130)


def _check(opened: OpenProject, chosen: tuple[Image, ...], project: ProjectOptions, written: Sequence[bytes]) -> None:
    from conveyor.build.preflight import check_history, check_uncommitted

    check_history(opened.project, opened.repo)
    if not project.loose_giterminism:
        check_uncommitted(chosen, opened.repo, opened.prefix, written, opened.refusals)
    problems = []
    if any(image.dockerfile is not None for image in chosen):
        from conveyor.build.dockerfile_preflight import check_dockerfiles
        from conveyor.errors import ConfigError

        refusals = opened.refusals if not project.loose_giterminism else None
        problems = check_dockerfiles(chosen, opened.repo, opened.prefix, opened.files, written, refusals)
    opened.refusals.raise_any(problems)
    if problems:
        raise ConfigError(problems)


def _check_engine(chosen: tuple[Image, ...], storage: StorageOptions, reporter: Watched) -> None:
    """Refuse an engine that cannot build them, and say what is done in another way than it is asked."""
    from conveyor.config.naming import display_name
    from conveyor.errors import ConfigError, Problem
    from conveyor.events.api import Warned

    with_dockerfile = [image for image in chosen if image.dockerfile is not None]
    if storage.engine == "sandbox":
        hint = "build with --engine docker (or auto), or name the images that have no Dockerfile"
        raise ConfigError(
            [
                Problem(
                    image.place, f"image {display_name(image.name)} has a Dockerfile, which the sandbox does not build", hint
                )
                for image in with_dockerfile
            ]
        )
    for image in with_dockerfile:
        if image.dockerfile is not None and image.dockerfile.staged:
            message = f"{image.place}: `staged: true` of image {display_name(image.name)} is not supported yet"
            reporter(Warned(f"{message}: it is one stage, and BuildKit keeps its instructions in a cache of this machine"))


def _check_introspection(chosen: tuple[Image, ...], build: BuildOptions, reporter: Watched) -> None:
    """Say which shells will never be opened."""
    from conveyor.config.naming import display_name
    from conveyor.config.suggestions import did_you_mean
    from conveyor.events.api import Warned
    from conveyor.stages.order import conveyor_of

    for asked in build.introspect_stages:
        images = [image for image in chosen if asked.image in (None, image.name)]
        stages = dict.fromkeys(kind.name for image in images for kind in conveyor_of(image) if kind.may_exist(image))
        if asked.stage not in stages:
            said = f"no image that is built has a stage {asked.stage}"
            if asked.image is not None:
                said = f"image {display_name(asked.image)} " + (f"has no stage {asked.stage}" if images else "is not built")
            hint = did_you_mean(asked.stage, stages) or (f"stages: {', '.join(stages)}" if stages else "")
            reporter(Warned(f"--introspect-stage: {said}" + (f"\n{hint}" if hint else "")))


def _written(opened: OpenProject, build: BuildOptions) -> tuple[bytes, ...]:
    """Files that builds of this directory write, and where they write them first."""
    from conveyor.build.replacing import unfinished_path

    reports = [build.report_path, Path(DEFAULT_REPORT), Path(DEFAULT_REPORT).with_suffix(".env")]
    paths = [opened.directory / path for path in reports if path]
    return tuple(_relative(opened, name) for path in paths for name in (path, Path(unfinished_path(str(path)))))


def _relative(opened: OpenProject, path: Path) -> bytes:
    return os.path.relpath(os.fsencode(opened.directory / path), opened.repo.root)


def _exit_status(result: BuildResult) -> int:
    if result.ok:
        return 0
    own = [image.failure for image in result.images if image.failure is not None and not image.failure.blocked_by]
    if own:
        return max(failure.exit_status for failure in own)
    return 3 if any(image.missing is not None for image in result.images) else 1
