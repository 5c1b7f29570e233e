"""What can be known of images with Dockerfiles before anything is built: their mistakes, changes that are not committed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from conveyor.config.giterminism.api import Refusals
from conveyor.config.giterminism.files import ConfigFiles
from conveyor.config.models import Image
from conveyor.config.naming import display_name
from conveyor.dockerfile.context import may_take
from conveyor.dockerfile.ignore import Ignore
from conveyor.errors import ConfigError, Problem
from conveyor.gitrepo.api import Change, Repository, Selector
from conveyor.stages.dockerfile_source import DockerfileSource, make_read, question_before, read_ignore, read_source

Patterns = tuple[str, ...] | None


def check_dockerfiles(
    images: Iterable[Image],
    repo: Repository,
    prefix: bytes,
    files: ConfigFiles,
    written: Collection[bytes],
    refusals: Refusals | None,
) -> list[Problem]:
    """What is wrong with the Dockerfiles of images; changes of the work tree to what they take are noted in `refusals`.

    `written` are files of our own, which never count.
    """
    changes = [change for change in repo.uncommitted() if change.path not in written] if refusals is not None else []
    problems: list[Problem] = []
    read = make_read(repo, repo.head, prefix, files)
    for image in images:
        if image.dockerfile is None:
            continue
        try:
            source = read_source(image, read, prefix)
            ignore = read_ignore(source, read)
            patterns = _patterns(image, source)
        except ConfigError as error:
            problems += error.problems
            continue
        problems += _find_lfs(image, repo, source, patterns, ignore)
        if refusals is not None:
            _refuse_changes(image, repo, prefix, source, patterns, ignore, changes, refusals)
    return problems


def _find_lfs(
    image: Image, repo: Repository, source: DockerfileSource, patterns: Patterns, ignore: Ignore
) -> Iterable[Problem]:
    wanted = repo.lfs_wanted(repo.head, Selector(source.context)) if patterns != () else {}
    taken = [
        item for below, item in wanted.items() if may_take(patterns, below, is_whole=False) and not ignore.ignores(below)
    ]
    if taken:
        from conveyor.build.kept_contents import find_missing

        yield from find_missing(repo, taken, image.place, "leave the file out by .dockerignore")


def _refuse_changes(
    image: Image,
    repo: Repository,
    prefix: bytes,
    source: DockerfileSource,
    patterns: Patterns,
    ignore: Ignore,
    changes: list[Change],
    refusals: Refusals,
) -> None:
    """The Dockerfile and its .dockerignore were refused when they were read."""
    assert image.dockerfile is not None
    user = f"image {display_name(image.name)} (context)"
    added = tuple(os.fsencode(name) for name in image.dockerfile.context_add_files)
    for change in repo.select_changes(changes, Selector(source.context)):
        changed = change.path.rstrip(b"/")
        is_whole = change.kind == "submodule" or changed != change.path
        below = changed[len(source.context) :].lstrip(b"/") if changed.startswith(source.context) else b""
        if change.path in (source.path, *source.ignore_files) or any(_holds(name, below) for name in added):
            continue
        left_out = ignore.ignores_all_below(below) if is_whole else ignore.ignores(below)
        if not below or (not left_out and may_take(patterns, below, is_whole=is_whole)):
            path = os.fsdecode(os.path.relpath(change.path, prefix) if prefix else change.path)
            refusals.refuse_file(path, change.kind, "", None, user)


def _patterns(image: Image, source: DockerfileSource) -> Patterns:
    try:
        return source.resolve(question_before(image)).patterns
    except ConfigError:
        if image.dependencies:  # what they inject may be what is missing
            return None
        raise


def _holds(directory: bytes, path: bytes) -> bool:
    return path == directory or path.startswith(directory + b"/")
