"""`conveyor config ...`: what the configuration says, without an engine or a registry."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import click

from conveyor.cli.command import Command, Group
from conveyor.cli.completion import complete_fields, complete_images
from conveyor.cli.option_values import ProjectOptions
from conveyor.cli.options import project_options

if TYPE_CHECKING:
    from conveyor.cli.projects import OpenProject
    from conveyor.config.lint.notes import Note


@click.group("config", cls=Group)
def command() -> None:
    """Show what the configuration says at HEAD."""


@command.command("render", cls=Command)
@click.argument("images", metavar="[IMAGE...]", nargs=-1, shell_complete=complete_images)
@project_options
def render(images: tuple[str, ...], project: ProjectOptions) -> None:
    """Print the configuration as it is read: all of it, templates rendered, or the documents of these images.

    All of it is printed even where the text is wrong, which is told after it.
    """
    from conveyor.config.graph import render as render_config

    if not images:
        _open(project, show=_write)
        return
    opened = _open(project)
    _write(render_config(opened.content, opened.project, _select(opened, images)))


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


@command.command("list", cls=Command)
@click.option(
    "--final-images-only", is_flag=True, envvar="CONVEYOR_FINAL_IMAGES_ONLY", show_envvar=True, help="Final ones only."
)
@project_options
def list_images(final_images_only: bool, project: ProjectOptions) -> None:
    """Print the names of the images, one a line, in order of configuration; the nameless one is `~`."""
    for image in _open(project).project.images:
        if not final_images_only or (image.final and not image.artifact):
            click.echo(image.name or "~")


@command.command("graph", cls=Command)
@click.argument("images", metavar="[IMAGE...]", nargs=-1, shell_complete=complete_images)
@click.option(
    "--format",
    "output",
    type=click.Choice(["yaml", "dot", "mermaid"], case_sensitive=False),
    default="yaml",
    show_default=True,
    envvar="CONVEYOR_FORMAT",
    show_envvar=True,
    help="A list in YAML, or a drawing for Graphviz or Mermaid.",
)
@project_options
def graph(images: tuple[str, ...], output: Literal["yaml", "dot", "mermaid"], project: ProjectOptions) -> None:
    """Print what each image takes from others."""
    from conveyor.config.graph import render_graph

    opened = _open(project)
    click.echo(render_graph(opened.project, _select(opened, images), output), nl=False)


@command.command("lint", cls=Command)
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "json", "github", "gitlab"], case_sensitive=False),
    default="text",
    show_default=True,
    envvar="CONVEYOR_FORMAT",
    show_envvar=True,
    help="For people, as JSON, as annotations of GitHub Actions, as a code quality report of GitLab.",
)
@click.option("--strict", is_flag=True, envvar="CONVEYOR_STRICT", show_envvar=True, help="Exit 2 where anything was found.")
@project_options
def lint(output: Literal["text", "json", "github", "gitlab"], strict: bool, project: ProjectOptions) -> None:
    """Tell what is likely not meant in the configuration: it can be built, and may be built for nothing."""
    from conveyor.config.lint.formats import format_notes
    from conveyor.config.lint.notes import mistake
    from conveyor.errors import ConfigError

    try:
        notes = _lint(project)
    except ConfigError as error:
        notes = tuple(map(mistake, error.problems))
    click.echo(format_notes(notes, output), nl=False)
    if any(strict or note.severity == "error" for note in notes):
        raise click.exceptions.Exit(ConfigError.exit_status)


def _lint(project: ProjectOptions) -> tuple[Note, ...]:
    from conveyor.cli.projects import open_project
    from conveyor.config.lint.notes import Files, without_effect
    from conveyor.config.lint.rules import lint as lint_config
    from conveyor.config.naming import RENDERED
    from conveyor.gitrepo.api import Selector

    opened = open_project(project, builds=True)  # it is not told of warnings there: they are notes here
    try:
        opened.refusals.raise_any()

        def match(add: str, include: tuple[str, ...], exclude: tuple[str, ...], within: tuple[str, ...]) -> bool:
            below = b"/".join(part for part in (opened.prefix, add.strip("/").encode()) if part)
            return opened.repo.matches(opened.repo.head, Selector(below, include, exclude, within))

        notes = tuple(map(without_effect, opened.warnings))
        files = Files(match, _dockerfiles(opened))
        if opened.render_as is None:
            return notes + lint_config(opened.content, opened.project.file, files)
        from conveyor.config.lint.notes import Elsewhere
        from conveyor.config.rendering import surroundings_of

        elsewhere = Elsewhere(opened.render_as, surroundings_of(opened.repo), opened.variables)
        return notes + lint_config(opened.content, opened.project.file + RENDERED, files, elsewhere)
    finally:
        opened.close()


def _dockerfiles(opened: OpenProject) -> Callable[[str], bytes | None]:
    """Reads Dockerfiles. `ConfigError` where one is wrong, `GiterminismError` where it is not as the commit has it."""
    if not any(image.dockerfile is not None for image in opened.project.images):
        return lambda path: None
    from conveyor.build.dockerfile_preflight import check_dockerfiles
    from conveyor.errors import ConfigError

    problems = check_dockerfiles(opened.project.images, opened.repo, opened.prefix, opened.files, (), None)
    opened.refusals.raise_any(problems)
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return lambda path: opened.files.read(path, "config.dockerfile.allowUncommitted", "dockerfile")


@command.command("schema", cls=Command)
@click.argument("file", metavar="[FILE]", default="werf.yaml")
def schema(file: str) -> None:
    """Print the JSON Schema of a configuration file, for editors: `werf.yaml`, where none is named."""
    import json

    from conveyor.config.schema import make_schema
    from conveyor.config.suggestions import did_you_mean
    from conveyor.config.tables.documents import FILES
    from conveyor.errors import UsageError

    if file not in FILES:
        raise UsageError(f"there is no schema of {file}", hint=did_you_mean(file, FILES) or f"files: {', '.join(FILES)}")
    click.echo(json.dumps(make_schema(file), indent=2, ensure_ascii=False))


@command.command("explain", cls=Command)
@click.argument("field", metavar="[FIELD]", default="", shell_complete=complete_fields)
def explain(field: str) -> None:
    """Tell what a field means: `image.git.add`, or `image` for all fields of an image."""
    from conveyor.config.explain import explain as explain_field

    click.echo(explain_field(field), nl=False)


def _open(project: ProjectOptions, show: Callable[[bytes], object] | None = None) -> OpenProject:
    from conveyor.cli.projects import open_project

    opened = open_project(project, show=show)
    opened.close()
    return opened


def _select(opened: OpenProject, patterns: tuple[str, ...]) -> tuple[str, ...]:
    from conveyor.config.selection import select_images

    return select_images(opened.project, patterns) if patterns else ()
