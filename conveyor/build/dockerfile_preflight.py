"""What can be known of images with Dockerfiles before anything is built: their mistakes, changes that are not committed."""

from __future__ import annotations

import os
from collections.abc import Iterable

from conveyor.config.giterminism.api import Refusals
from conveyor.config.models import Image
from conveyor.config.naming import display_name
from conveyor.dockerfile.context import may_take
from conveyor.errors import ConfigError, Problem
from conveyor.gitrepo.api import Change, Repository, Selector
from conveyor.stages.dockerfile_inputs import DockerfileSource, question_before, read_ignore, read_source


def find_mistakes(images: Iterable[Image], repo: Repository, prefix: bytes) -> list[Problem]:
    """Dockerfiles that are not there or cannot be read, and files of theirs that are kept by Git LFS."""
    problems: list[Problem] = []
    for image in images:
        if image.dockerfile is None:
            continue
        try:
            source = read_source(image, repo, repo.head, prefix)
            read_ignore(source, repo, repo.head)
            patterns = _patterns(image, source)
        except ConfigError as error:
            problems += error.problems
            continue
        for path in repo.lfs_files(repo.head, Selector(source.context)) if patterns != () else ():
            below = path[len(source.context) :].lstrip(b"/")
            if may_take(patterns, below, is_whole=False) and not read_ignore(source, repo, repo.head).ignores(below):
                shown = path.decode("utf-8", "backslashreplace")
                message = f"{shown} is kept by Git LFS (filter=lfs), whose contents are not in the commit"
                problems.append(Problem(image.place, message, "leave it out by .dockerignore, or store it in git itself"))
    return problems


def refuse_changes(image: Image, repo: Repository, prefix: bytes, changes: Iterable[Change], refusals: Refusals) -> None:
    """Note the changes of the work tree to what an image with a Dockerfile is made of: it is built from the commit."""
    try:
        source = read_source(image, repo, repo.head, prefix)
        ignore = read_ignore(source, repo, repo.head)
        patterns = _patterns(image, source)
    except ConfigError:
        return  # it is told with the other mistakes
    inside = set(repo.select_changes(changes, Selector(source.context)))
    name = display_name(image.name)
    for change in changes:
        path = os.fsdecode(os.path.relpath(change.path, prefix) if prefix else change.path)
        if change.path == source.path:
            refusals.refuse_file(path, change.kind, "dockerfile", None, f"image {name}")
        elif change.path in source.ignore_files:
            refusals.refuse_file(path, change.kind, "dockerignore file", None, f"image {name}")
        elif change in inside:
            changed = change.path.rstrip(b"/")
            is_whole = change.kind == "submodule" or changed != change.path
            below = changed[len(source.context) :].lstrip(b"/") if changed.startswith(source.context) else b""
            left_out = ignore.ignores_all_below(below) if is_whole else ignore.ignores(below)
            if not below or (not left_out and may_take(patterns, below, is_whole=is_whole)):
                refusals.refuse_file(path, change.kind, "", None, f"image {name} (context)")


def _patterns(image: Image, source: DockerfileSource) -> tuple[str, ...] | None:
    try:
        return source.resolve(question_before(image)).patterns
    except ConfigError:
        if image.dependencies:  # what they inject may be what is missing
            return None
        raise
