"""Reading the project that a command is about: its repository, its configuration at the commit, its place."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from conveyor.cli.option_values import ProjectOptions
from conveyor.config.giterminism.api import ALLOW_ALL, DEFAULT_FILE, Permissions, Refusals
from conveyor.config.giterminism.files import ConfigFiles
from conveyor.config.models import Project
from conveyor.config.naming import RENDERED
from conveyor.errors import ConfigError, Problem, UsageError
from conveyor.gitrepo.api import Repository
from conveyor.gitrepo.clones import Clones

if TYPE_CHECKING:
    from conveyor.config.rendering import Rendering, Surroundings
    from conveyor.gitrepo.opening import Opening
    from conveyor.gitrepo.remotes import FetchedRemotes

INCLUDES_FILE = "werf-includes.yaml"


class OpenProject(Struct, frozen=True):
    """A project at its commit. `prefix`: its directory in the repository; `content`: the configuration as it was rendered.

    `is_dev`: the commit is one that was made of the work tree. `refusals` holds what the configuration was refused, `files`
    what it was read from, `variables` what its templates read of the environment, `warnings` what a person is to be told.
    `clones`: of other repositories; `remotes`: None where no mapping names one. `render_as`: the configuration as it would
    be elsewhere; None where it is no template.
    """

    repo: Repository
    project: Project
    content: bytes
    directory: Path
    prefix: bytes
    is_dev: bool
    refusals: Refusals
    files: ConfigFiles
    variables: Mapping[str, str | None]
    warnings: Sequence[Problem]
    clones: Clones
    remotes: FetchedRemotes | None = None
    render_as: Callable[[Surroundings], bytes] | None = None

    def close(self) -> None:
        """End git's processes."""
        self.repo.close()
        if self.remotes is not None:
            self.remotes.close()
        self.clones.close()


class OpenFiles(Struct, frozen=True):
    """The files of a project, without its configuration: for what is about files alone."""

    repo: Repository
    files: ConfigFiles
    refusals: Refusals
    prefix: bytes


@contextmanager
def open_files(options: ProjectOptions) -> Iterator[OpenFiles]:
    """The files of a project at the commit, with those of includes."""
    directory = _directory(options)
    clones = make_clones(options)
    with ExitStack() as resources:
        resources.callback(clones.close)
        repo = _repository(options, directory, clones, asks_status=not options.loose_giterminism)
        resources.callback(repo.close)
        prefix = _below(repo.root, directory)
        file = os.path.normpath(options.giterminism_config or DEFAULT_FILE)
        refusals = Refusals(ALLOW_ALL if options.loose_giterminism else Permissions(file))
        files = ConfigFiles(repo, prefix, directory, refusals, checks_work_tree=not options.loose_giterminism)
        for warning in _read_permissions(options, files, refusals, file):
            _tell(f"Warning: {warning}")
        remotes = _read_includes(options, files, refusals, clones, directory)
        if remotes is not None:
            resources.callback(remotes.close)
        yield OpenFiles(repo, files, refusals, prefix)


def make_clones(options: ProjectOptions) -> Clones:
    """The clones of the home, fetched with the keys that are given, or those of the user's agent."""

    def open_agent() -> AbstractContextManager[Path]:
        from conveyor.cli.session import open_agent as start

        return start(options)

    return Clones(str(options.home_dir), open_agent if options.ssh_keys else None)


def _directory(options: ProjectOptions) -> Path:
    if not options.dir.is_dir():
        raise UsageError(f"{options.dir} is no directory", hint="--dir names the project's directory")
    return options.dir.resolve()


def ask_git(options: ProjectOptions) -> Opening:
    """Begin to ask git for the repository that `open_project` opens. `UsageError`, `GitError`."""
    from conveyor.gitrepo.opening import begin

    asks_status = not options.loose_giterminism and not options.dev
    return begin(str(options.git_work_tree or _directory(options)), asks_status=asks_status)


def _repository(
    options: ProjectOptions,
    directory: Path,
    clones: Clones,
    *,
    asks_status: bool,
    virtual_merge: bool = False,
    opening: Opening | None = None,
) -> Repository:
    from conveyor.gitrepo.repository import open_repository

    return open_repository(
        str(options.git_work_tree or directory),
        dev=options.dev,
        virtual_merge=virtual_merge,
        asks_status=asks_status,
        home_dir=str(options.home_dir),
        clones=clones,
        opening=opening,
    )


def open_project(
    options: ProjectOptions,
    *,
    virtual_merge: bool = False,
    builds: bool = False,
    checks_work_tree: bool = True,
    show: Callable[[bytes], object] | None = None,
    opening: Opening | None = None,
) -> OpenProject:
    """Find the repository and read the configuration from the commit (with `--loose-giterminism`: from the disk).

    `builds`: the caller goes on looking for what is to be refused, raises all of it together (`refusals.raise_any`), and
    tells the warnings. Others get a `GiterminismError` here, and warnings are told. Without `checks_work_tree` it may differ
    from the commit. `show` is given the text before anything is looked for in it. `opening`: by `ask_git`, before.
    """
    directory = _directory(options)
    checks_work_tree = checks_work_tree and not options.loose_giterminism
    clones = make_clones(options)
    repo = _repository(
        options, directory, clones, asks_status=checks_work_tree, virtual_merge=virtual_merge, opening=opening
    )
    try:
        opened = _read(options, repo, clones, directory, checks_work_tree, show)
        if not builds:
            opened.refusals.raise_any()
            for warning in opened.warnings:
                _tell(f"Warning: {warning}")
        return opened
    except BaseException:
        repo.close()
        clones.close()
        raise


def _remotes(project: Project, clones: Clones, directory: Path) -> FetchedRemotes | None:
    if not any(mapping.remote is not None for image in project.images for mapping in image.git):
        return None
    from conveyor.gitrepo.remotes import FetchedRemotes

    return FetchedRemotes(clones, str(directory))


def _read(
    options: ProjectOptions,
    repo: Repository,
    clones: Clones,
    directory: Path,
    checks_work_tree: bool,
    show: Callable[[bytes], object] | None,
) -> OpenProject:
    from conveyor.config.assembly import assemble  # noqa: F401 -- while git looks at the work tree, which is waited for soon

    prefix = _below(repo.root, directory)
    file = os.path.normpath(options.giterminism_config or DEFAULT_FILE)
    refusals = Refusals(ALLOW_ALL if options.loose_giterminism else Permissions(file))
    files = ConfigFiles(repo, prefix, directory, refusals, checks_work_tree=checks_work_tree)
    warnings = _read_permissions(options, files, refusals, file)
    remotes = _read_includes(options, files, refusals, clones, directory)
    path, content = _read_config(options, repo, files, directory)
    rendering: Rendering | None = None
    try:
        is_template = b"{{" in content
        if is_template or files.holds_directory(options.config_templates_dir):
            from conveyor.config.rendering import Rendering

            rendering = Rendering(
                content,
                path,
                repo,
                files,
                refusals,
                templates_dir=options.config_templates_dir,
                env=options.env,
                log=_tell if options.debug_templates else None,
            )
            content = rendering.render()
            if not is_template:
                rendering = None  # the templates were read for what is wrong with them
        if show is not None:
            refusals.raise_any()
            show(content)
        project = _parse(content, path, refusals, rendering)
    except ConfigError as error:
        refusals.raise_any(error.problems)
        raise
    remotes = remotes or _remotes(project, clones, directory)
    told = project.warnings
    if told and rendering is not None:
        told = tuple(rendering.explain(told))
    return OpenProject(
        repo,
        project,
        content,
        directory,
        prefix,
        options.dev,
        refusals,
        files,
        rendering.variables if rendering is not None else {},
        (*warnings, *told),
        clones,
        remotes,
        rendering.render_elsewhere if rendering is not None else None,
    )


def _parse(content: bytes, path: str, refusals: Refusals, rendering: Rendering | None) -> Project:
    from conveyor.config.reading import parse_project

    if rendering is None:
        return parse_project(content, path, refusals)
    try:
        return parse_project(content, path, refusals, path + RENDERED)
    except ConfigError as error:
        raise ConfigError(rendering.explain(error.problems), hint=_RENDERED_HINT) from None


_RENDERED_HINT = "the lines are those of the text that the templates make: `conveyor config render` shows it"


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _read_permissions(options: ProjectOptions, files: ConfigFiles, refusals: Refusals, file: str) -> Sequence[Problem]:
    """Read what is allowed into `refusals`; the warnings."""
    if options.loose_giterminism:
        return ()
    content = files.read(file, None, "werf giterminism config")
    if content is None:
        if options.giterminism_config:
            message, hint = files.explain_missing(file)
            raise UsageError(f"--giterminism-config: {message}", hint=hint)
        return ()
    from conveyor.config.giterminism.decode import decode_permissions

    refusals.permissions, warnings = decode_permissions(content, file)
    return warnings


def _read_includes(
    options: ProjectOptions, files: ConfigFiles, refusals: Refusals, clones: Clones, directory: Path
) -> FetchedRemotes | None:
    """Have the files of includes among those of the project; None where it has no includes."""
    content = files.read(INCLUDES_FILE, None, "werf includes config")
    if content is None:
        return None
    from conveyor.config.includes.decode import LOCK_FILE, decode_includes, lock_includes
    from conveyor.config.includes.files import IncludedFiles
    from conveyor.gitrepo.remotes import FetchedRemotes

    includes = decode_includes(content, files.show(INCLUDES_FILE))
    if not options.allow_includes_update:
        lock = files.read(LOCK_FILE, None, "werf includes lock")
        includes = lock_includes(includes, lock, files.show(LOCK_FILE))
    elif includes:
        refusals.require("includes.allowIncludesUpdate")
        refusals.raise_any()
    remotes = FetchedRemotes(clones, str(directory))
    files.included = IncludedFiles(includes, lambda include: remotes.open(include.source))
    return remotes


def _read_config(options: ProjectOptions, repo: Repository, files: ConfigFiles, directory: Path) -> tuple[str, bytes]:
    """The path of the configuration relative to the root of the repository, and its content."""
    from conveyor.config.reading import CONFIG_NAMES

    names = CONFIG_NAMES if options.config in CONFIG_NAMES else (options.config,)
    places = [directory / name for name in names]
    if options.config not in CONFIG_NAMES:
        places.append(Path.cwd() / options.config)
    for place in places:
        path = _below(repo.root, Path(os.path.normpath(place)))
        content = files.read(os.path.relpath(place, directory), "config.allowUncommitted", "werf config")
        if content is not None:
            return os.fsdecode(path), content
    raise UsageError(
        f"no configuration at commit {repo.head[:12]}: looked for {', '.join(str(place) for place in places)}",
        reason="no_config",
        hint="write a werf.yaml and commit it, or name it by --config",
    )


def _below(root: bytes, path: Path) -> bytes:
    relative = os.path.relpath(os.fsencode(path), root)
    if relative == b".":
        return b""
    if relative.startswith(b"../") or relative == b"..":
        raise UsageError(
            f"{path} lies outside of the repository {os.fsdecode(root)}", hint="--git-work-tree and --dir name both"
        )
    return relative
