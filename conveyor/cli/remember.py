"""Remembering a build that ended well, for the next one to be confirmed by `conveyor.cli.confirm`.

What is remembered depends on nothing that `confirm` does not ask for; a build that does (a work tree that is no commit, a
registry's newest image, a branch of another repository, shells, tags that somebody may move) is not remembered, and goes
the usual way each time.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from conveyor.build.building import plan
from conveyor.build.replacing import replace_file
from conveyor.build.results import BuildResult, ImageResult
from conveyor.build.rooms import Rooms
from conveyor.cli.confirm import choose_names, describe_command, describe_file, describe_variables, record_path
from conveyor.cli.option_values import BuildCommand, StorageOptions, write_down
from conveyor.cli.projects import OpenProject
from conveyor.cli.view import make_view
from conveyor.config.models import Image
from conveyor.events.api import Event, Finished, PlanMade, Reporter, StageUsed, Warned
from conveyor.stages.git_mapping import add_path

_MOST_KEPT = 64  # commands of one home
# Stands for the time that a build took, until one is confirmed: nothing else of a build is as long.
_SECONDS = 1e15 + 0.25
_SHOWN_SECONDS = f"{_SECONDS:.2f}"
# What the configuration is read from, beside what it was seen to read.
_READ_WITH_CONFIG = (b"werf-includes.yaml", b"werf-includes.lock")


class Watched:
    """A `Reporter` that notes warnings. Those before the plan are about the machine and what was asked: they come again."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._is_planned = False
        self.before: list[Warned] = []
        self.after: list[Warned] = []

    def __call__(self, event: Event) -> None:
        """Pass the event on."""
        self._is_planned |= isinstance(event, PlanMade)
        if isinstance(event, Warned):
            (self.after if self._is_planned else self.before).append(event)
        self._reporter(event)

    def close(self) -> None:
        """Close the view."""
        self._reporter.close()


class Asked(Struct, frozen=True):
    """What a build was asked."""

    command: BuildCommand
    images: Sequence[Image]  # those that are built, in order of configuration
    written: Sequence[bytes]  # files of our own, which never count as changes
    warned: Watched


def remember(opened: OpenProject, rooms: Rooms, asked: Asked, result: BuildResult) -> None:
    """Remember a build, unless it is one that cannot be confirmed later. A full disk costs speed only."""
    if not _can_be_confirmed(opened, asked, result):
        return
    digests = sorted({stage.digest for image in result.images for stage in image.stages})
    names = rooms.primary.named(digests)
    text = _told(rooms, asked, result)
    if names is None or text is None:
        return
    command = describe_command(sys.argv[1:])
    shallow = os.fsdecode(opened.repo.git_dir + b"/shallow")
    record: dict[str, object] = {
        "command": command,
        "given": str(asked.command.project.dir.absolute()),
        "directory": str(opened.directory),
        "root": os.fsdecode(opened.repo.root),
        "head": opened.repo.head,
        "is_merge": len(opened.repo.parents(opened.repo.head)) > 1,
        "shallow": shallow,
        "history": describe_file(shallow),
        "used": [os.fsdecode(path) for path in _used(opened, asked.images)],
        "variables": sorted(opened.variables),
        "values": describe_variables(sorted(opened.variables)),
        "read_from_disk": {str(path): describe_file(str(path)) for path in sorted(opened.files.read_from_disk)},
        "written": [os.fsdecode(path) for path in asked.written],
        "storage": _describe_storage(rooms, asked.command.storage),
        "digests": digests,
        "names": choose_names(names, set(digests)),
        "text": text,
        "report": _report(opened, asked, result),
    }
    if "@" not in asked.command.storage.synchronization:  # before it there may be a password
        record["asked"] = write_down(asked.command)
    path = Path(record_path(str(rooms.home_dir), command))
    with contextlib.suppress(OSError):
        replace_file(str(path), json.dumps(record).encode())
        _forget_old(path.parent)


def _can_be_confirmed(opened: OpenProject, asked: Asked, result: BuildResult) -> bool:
    project, build = asked.command.project, asked.command.build
    return (
        result.ok
        and not asked.warned.after
        and opened.files.is_repeatable
        and not project.debug_templates
        and not (project.allow_includes_update and opened.files.included is not None)
        and not (project.dev or project.loose_giterminism or build.virtual_merge or asked.command.log.format == "json")
        and not (build.custom_tags or project.ssh_keys or asked.command.storage.final_repo)
        and not (build.introspect_error or build.introspect_before_error or build.introspect_stages)
        and not any(image.from_latest for image in asked.images)
        and len({image.platform for image in result.images}) == 1
        and not any(image.by_platform for image in result.images)
        and all(mapping.remote is None or mapping.remote.is_fixed for image in asked.images for mapping in image.git)
        and not any(image.dockerfile is not None and image.dockerfile.context_add_files for image in asked.images)
        and opened.repo.head_commits == (opened.repo.head,)
    )


def _used(opened: OpenProject, images: Sequence[Image]) -> list[bytes]:
    """Paths relative to the root of the repository: a change in or at one of them may change what is built."""
    paths = set(opened.files.used)
    paths |= {b"/".join(part for part in (opened.prefix, name) if part) for name in _READ_WITH_CONFIG}
    paths |= {add_path(mapping, opened.prefix) for image in images for mapping in image.git if mapping.remote is None}
    contexts = {image.dockerfile.context for image in images if image.dockerfile is not None}
    paths |= {b"/".join(part for part in (opened.prefix, os.fsencode(context)) if part) for context in contexts}
    return outermost(paths)


def outermost(paths: Iterable[bytes]) -> list[bytes]:
    """Those that lie below none of the others, in order: git is asked about few paths only, and quickly."""
    kept: list[bytes] = []
    for path in sorted(set(paths), key=lambda path: path.split(b"/") if path else []):
        if not kept or not (kept[-1] == b"" or path.startswith(kept[-1] + b"/")):
            kept.append(path)
    return kept


def _describe_storage(rooms: Rooms, storage: StorageOptions) -> dict[str, object]:
    """How `confirm` reads the names of the primary."""
    docker_config = str(storage.docker_config) if storage.docker_config is not None else None
    if storage.repo:
        arguments: dict[str, object] = {
            "reference_text": storage.repo,
            "docker_config": docker_config,
            "insecure": storage.insecure_registry,
            "skip_tls_verify": storage.skip_tls_verify_registry,
        }
        return {"kind": "registry", "arguments": arguments}
    arguments = {"project": rooms.project.name, "home_dir": str(rooms.home_dir), "docker_config": docker_config}
    return {"kind": rooms.engine.name, "arguments": arguments}


def _told(rooms: Rooms, asked: Asked, result: BuildResult) -> list[str] | None:
    """What a build with nothing to do prints, cut where it prints how long it took."""
    captured = _Captured()
    view = make_view(asked.command.log, stream=captured)
    used = _as_used(result)
    for warning in asked.warned.before:
        view(warning)
    view(plan(asked.images, asked.command.build.limit))
    for image in used.images:
        for stage in image.stages:
            view(StageUsed(stage))
    view(Finished(used))
    view.close()
    text = (asked.command.told + captured.getvalue()).split(_SHOWN_SECONDS)
    return text if len(text) <= 2 else None


class _Captured(io.StringIO):
    """Keeps what a view writes, and is a terminal where stderr is one."""

    def isatty(self) -> bool:
        return sys.stderr.isatty()


def _report(opened: OpenProject, asked: Asked, result: BuildResult) -> dict[str, object] | None:
    if asked.command.build.report_path is None:
        return None
    from conveyor.build.report import format_report

    path = opened.directory / asked.command.build.report_path
    text = format_report(_as_used(result), path).decode("utf-8", "surrogateescape")
    return {"path": str(path), "text": text.split(_SHOWN_SECONDS)}


def _as_used(result: BuildResult) -> BuildResult:
    """The same build where nothing is left to do."""
    return replace(result, images=tuple(map(_image_as_used, result.images)), seconds=_SECONDS)


def _image_as_used(image: ImageResult) -> ImageResult:
    stages = (replace(stage, source="primary", why=None, seconds=0.0, discarded=False) for stage in image.stages)
    return replace(image, stages=tuple(stages))


def _forget_old(directory: Path) -> None:
    """Keep the records that were written last."""
    with os.scandir(directory) as entries:
        written = sorted((entry.stat().st_mtime_ns, entry.path) for entry in entries)
    for _, path in written[:-_MOST_KEPT]:
        Path(path).unlink(missing_ok=True)
