"""Reading the project that a command is about: its repository, its configuration at the commit, its place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.cli.options import ProjectOptions
from conveyor.config.models import Project
from conveyor.errors import GiterminismError, UsageError
from conveyor.gitrepo.api import Repository

if TYPE_CHECKING:
    from conveyor.gitrepo.remotes import FetchedRemotes


@dataclass(frozen=True, slots=True)
class OpenProject:
    """A project at its commit. `prefix`: its directory in the repository; `content`: the configuration as it was read.

    `is_dev`: the commit is one that was made of the work tree. `remotes`: None where no mapping names another repository.
    """

    repo: Repository
    project: Project
    content: bytes
    directory: Path
    prefix: bytes
    is_dev: bool
    remotes: FetchedRemotes | None = None

    def close(self) -> None:
        """End git's processes."""
        self.repo.close()
        if self.remotes is not None:
            self.remotes.close()


def open_project(options: ProjectOptions, *, virtual_merge: bool = False, builds: bool = False) -> OpenProject:
    """Find the repository and read the configuration from the commit (with `--loose-giterminism`: from the disk).

    `builds`: the work tree will be compared with the commit.
    """
    from conveyor.config.reading import parse_project
    from conveyor.gitrepo.repository import open_repository

    if not options.dir.is_dir():
        raise UsageError(f"{options.dir} is no directory", hint="--dir names the project's directory")
    directory = options.dir.resolve()
    repo = open_repository(
        str(directory),
        dev=options.dev,
        virtual_merge=virtual_merge,
        asks_status=builds and not options.loose_giterminism,
        home_dir=str(options.home_dir),
    )
    try:
        path, content = _read_config(options, repo, directory)
        project = parse_project(content, os.fsdecode(path))
        remotes = _remotes(project, options, directory)
        return OpenProject(repo, project, content, directory, _below(repo.root, directory), options.dev, remotes)
    except BaseException:
        repo.close()
        raise


def _remotes(project: Project, options: ProjectOptions, directory: Path) -> FetchedRemotes | None:
    if not any(mapping.remote is not None for image in project.images for mapping in image.git):
        return None
    from conveyor.gitrepo.remotes import FetchedRemotes

    return FetchedRemotes(str(options.home_dir), str(directory))


def _read_config(options: ProjectOptions, repo: Repository, directory: Path) -> tuple[bytes, bytes]:
    from conveyor.config.reading import CONFIG_NAMES

    names = CONFIG_NAMES if options.config in CONFIG_NAMES else (options.config,)
    places = [directory / name for name in names]
    if options.config not in CONFIG_NAMES:
        places.append(Path.cwd() / options.config)
    for place in places:
        path = _below(repo.root, Path(os.path.normpath(place)))
        content = _read(options, repo, place, path)
        if content is not None:
            return path, content
    there = next((place for place in places if place.is_file()), None)
    if there is not None:
        raise GiterminismError(
            f"the file {there.name} must be committed: it is in the work tree and not in commit {repo.head[:12]}",
            reason="uncommitted",
            hint="git add and git commit it, or build the work tree as it is with --dev",
        )
    raise UsageError(
        f"no configuration at commit {repo.head[:12]}: looked for {', '.join(str(place) for place in places)}",
        reason="no_config",
        hint="write a werf.yaml and commit it, or name it by --config",
    )


def _read(options: ProjectOptions, repo: Repository, place: Path, path: bytes) -> bytes | None:
    if not options.loose_giterminism:
        return repo.read_file(repo.head, path)
    return place.read_bytes() if place.is_file() else None


def _below(root: bytes, path: Path) -> bytes:
    relative = os.path.relpath(os.fsencode(path), root)
    if relative == b".":
        return b""
    if relative.startswith(b"../"):
        raise UsageError(f"{path} lies outside of the repository {os.fsdecode(root)}")
    return relative
