"""A `werf.yaml` that is a template -> the text of its documents. Loaded where a file holds `{{`, and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from conveyor.config.giterminism.api import Directive, Refusals
from conveyor.config.giterminism.files import ConfigFiles
from conveyor.config.giterminism.paths import clean_path
from conveyor.config.giterminism.wording import show_text
from conveyor.config.globs import escape_glob
from conveyor.config.template.api import MAIN, FunctionError, TemplateError, problem_of, render, root_of
from conveyor.errors import ConfigError, Place, Problem
from conveyor.gitrepo.api import Repository

_FILES: Directive = "config.goTemplateRendering.allowUncommittedFiles"
_ENV: Directive = "config.goTemplateRendering.allowEnvVariables"
_TEMPLATES: Directive = "config.allowUncommittedTemplates"
_SUFFIX = ".tmpl"


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text that a template gave. `variables`: what it read of the environment (None: not set)."""

    content: bytes
    variables: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What templates can read that is in no file: the commit with its time and zone, and the environment."""

    commit: str
    time_s: int
    zone: str
    read: Callable[[str], str | None]  # the value of a variable; None where it is not set


def surroundings_of(repo: Repository) -> Surroundings:
    """Those of this run."""
    return Surroundings(repo.head, repo.commit_time_s(repo.head), repo.commit_zone(repo.head), os.environ.get)


def render_config(
    content: bytes,
    file: str,
    repo: Repository,
    files: ConfigFiles,
    refusals: Refusals,
    *,
    templates_dir: str,
    env: str,
    log: Callable[[str], None] | None = None,
    surroundings: Surroundings | None = None,
) -> Rendered:
    """Render a configuration with the templates of a directory; `file` is its path for messages.

    `surroundings`: None: those of this run.

    `ConfigError` where a template is wrong or fails, with the template's place. What is refused is noted in `refusals`, and
    rendering goes on as if it were allowed, so that all of it is found.
    """
    texts = _read_templates(files, templates_dir)
    base = clean_path(templates_dir)
    shown = {MAIN: file, **{name: files.show(f"{base}/{name}" if base else name) for name in texts}}
    source = _text(content)
    search = _Search({shown[name]: text for name, text in ((MAIN, source), *texts.items())})
    around = surroundings or surroundings_of(repo)
    environment = _Environment(refusals, search, around.read)
    root = root_of(
        _Files(files, search),
        env=env,
        commit=around.commit,
        commit_time_human=_human_time(around.time_s, around.zone),
        commit_time_s=around.time_s,
    )
    try:
        text = render(
            source,
            templates=texts,
            root=root,
            read_environment=environment.read,
            loose=refusals.permissions.is_loose,
            log=log,
        )
    except TemplateError as error:
        raise ConfigError([problem_of(error, {**search.names_of_expanded(), **shown})]) from None
    return Rendered(_bytes(text), environment.variables)


def _read_templates(files: ConfigFiles, directory: str) -> dict[str, str]:
    """The templates of a directory by their names, which are their paths in it."""
    base = clean_path(directory)
    pattern = f"{escape_glob(base)}/**/*{_SUFFIX}" if base else f"**/*{_SUFFIX}"
    found = files.matching(pattern, _TEMPLATES, "werf config templates")
    prefix = f"{base}/" if base else ""
    texts = {name.removeprefix(prefix): _text(content) for name, content in found.items() if name.endswith(_SUFFIX)}
    if files.included is not None and base:
        # What is included is known by its whole path, too, whatever its ending is.
        for name in files.included.names(f"{escape_glob(base)}/**"):
            content = files.included.read(name)
            if content is not None:
                texts.setdefault(name, _text(content))
    return texts


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Search:
    """Where the templates ask for something by a literal name: places for what is refused while they run."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = dict(texts)

    def add(self, file: str, text: str) -> None:
        """Another text, which may be a template, too."""
        self._texts.setdefault(file, text)

    def names_of_expanded(self) -> dict[str, str]:
        """The files of the texts by the names that `tpl` gives them."""
        from zlib import adler32

        return {f"tpl-{adler32(_bytes(text))}": file for file, text in self._texts.items()}

    def find(self, call: str, argument: str) -> Place | None:
        """The first call of a function with this argument; None where it is computed."""
        expression = re.compile(rf"{call}\s+(?:\"{re.escape(argument)}\"|`{re.escape(argument)}`)")
        for file, text in self._texts.items():
            match = expression.search(text)
            if match:
                line = text.count("\n", 0, match.start()) + 1
                return Place(file, line, match.start() - text.rfind("\n", 0, match.start()))
        return None


class _Environment:
    """The environment of templates: each variable is asked for by name, and must be allowed."""

    def __init__(self, refusals: Refusals, search: _Search, read: Callable[[str], str | None]) -> None:
        self._refusals = refusals
        self._read = read
        self._search = search
        self.variables: dict[str, str | None] = {}

    def read(self, name: str) -> str | None:
        value = self._read(name)
        self.variables[name] = value
        if not self._refusals.permissions.allow(_ENV, name):
            self._refusals.require(_ENV, name, self._search.find(r"\benv", name))
            return value or ""
        return "" if value is None and self._refusals.permissions.is_loose else value


class _Files:
    """`.Files` of templates."""

    def __init__(self, files: ConfigFiles, search: _Search) -> None:
        self._files = files
        self._search = search
        self._texts: dict[str, str] = {}
        self._found: dict[str, Mapping[str, str]] = {}

    def get(self, path: str) -> str:
        """See `conveyor.config.template.api.Files`, the others too."""
        if path not in self._texts:
            content = self._files.read(path, _FILES, used_by=self._user("Get", path))
            if content is None:
                hint = f"commit it, or accept it on the disk by `{_FILES}` in werf-giterminism.yaml"
                raise FunctionError(self._files.explain_missing(path), hint=hint)
            self._texts[path] = _text(content)
            self._search.add(self._files.show(path), self._texts[path])
        return self._texts[path]

    def exists(self, path: str) -> bool:
        return self._files.exists(path, _FILES)

    def is_dir(self, path: str) -> bool:
        return self._files.is_directory(path, _FILES)

    def glob(self, pattern: str) -> Mapping[str, str]:
        if pattern not in self._found:
            found = self._files.matching(pattern, _FILES, used_by=self._user("Glob", pattern))
            self._found[pattern] = {name: _text(content) for name, content in found.items()}
            for name, text in self._found[pattern].items():
                self._search.add(self._files.show(name), text)
        return self._found[pattern]

    def _user(self, method: str, argument: str) -> str:
        place = self._search.find(rf"\.Files\.{method}", argument)
        return f".Files.{method}" + (f" in {place}" if place is not None else " of a template")


def _human_time(time_s: int, zone: str) -> str:
    """A time as Go prints it, in a zone that is known by its offset only."""
    from datetime import UTC, datetime, timedelta

    sign = -1 if zone.startswith("-") else 1
    offset = sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
    local = datetime.fromtimestamp(time_s, UTC) + offset
    return f"{local:%Y-%m-%d %H:%M:%S} {zone} {zone}"


def explain_rendered(problems: Sequence[Problem], content: bytes) -> list[Problem]:
    """The mistakes of a rendered text with the lines that they are in: nobody has that text before them."""
    lines = content.decode("utf-8", "replace").split("\n")
    explained = []
    for problem in problems:
        line = lines[problem.place.line - 1].strip() if 0 < problem.place.line <= len(lines) else ""
        hints = (f"the line is `{show_text(line[:200])}`" if line else "", problem.hint)
        explained.append(Problem(problem.place, problem.message, "; ".join(filter(None, hints))))
    return explained
