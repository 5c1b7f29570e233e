"""A `werf.yaml` that is a template -> the text of its documents. Loaded where it holds `{{`, or there are others."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from conveyor.config.giterminism.api import Directive, Refusals
from conveyor.config.giterminism.files import ConfigFiles
from conveyor.config.giterminism.paths import clean_path
from conveyor.config.giterminism.wording import show_text
from conveyor.config.globs import escape_glob
from conveyor.config.template.api import MAIN, FunctionError, Position, TemplateError, problem_of, render, root_of
from conveyor.errors import ConfigError, ConveyorError, Place, Problem
from conveyor.gitrepo.api import Repository

if TYPE_CHECKING:
    from conveyor.config.template.tracing import Trace

_FILES: Directive = "config.goTemplateRendering.allowUncommittedFiles"
_ENV: Directive = "config.goTemplateRendering.allowEnvVariables"
_TEMPLATES: Directive = "config.allowUncommittedTemplates"
_SUFFIX = ".tmpl"
_LONGEST_EXPANDED = 2**20

_MOST_TRACED = 3_000_000  # steps of a run: another one is made to tell where its text comes from
MAX_ACTIONS = 50_000  # of all templates together
MAX_VARIABLES = 1000
MAX_TEMPLATES = 2000
MAX_PATHS = 20_000  # that templates ask for, each counted once
MAX_GLOBS = 1000
MAX_BYTES = 128 * 2**20  # of all files that templates read


class Surroundings(Struct, frozen=True):
    """What templates can read that is in no file: the commit with its time and zone, and the environment."""

    commit: str
    time_s: int
    zone: str
    read: Callable[[str], str | None]  # the value of a variable; None where it is not set


def surroundings_of(repo: Repository) -> Surroundings:
    """Those of this run."""
    return Surroundings(repo.head, repo.commit_time_s(repo.head), repo.commit_zone(repo.head), os.environ.get)


class Rendering:
    """A configuration that is a template, with the templates of a directory; `file` is its path for messages.

    `variables` is what was read of the environment (None: not set).
    """

    def __init__(
        self,
        content: bytes,
        file: str,
        repo: Repository,
        files: ConfigFiles,
        refusals: Refusals,
        *,
        templates_dir: str,
        env: str,
        log: Callable[[str], None] | None,
    ) -> None:
        self._here = surroundings_of(repo)
        self._env = env
        self._log = log
        self._permissions = refusals.permissions
        self._templates = _read_templates(files, templates_dir)
        self._source = _text(content)
        base = clean_path(templates_dir)
        self._shown = {MAIN: file, **{name: files.show(f"{base}/{name}" if base else name) for name in self._templates}}
        texts = ((MAIN, self._source), *self._templates.items())
        actions = sum(text.count("{{") for _, text in texts)
        if actions > MAX_ACTIONS:
            message = f"the templates have {actions} actions (`{{{{`), and at most {MAX_ACTIONS} are read"
            raise ConfigError([Problem(Place(file), message, "say it with `range`, or read large texts by .Files.Get")])
        self._asked = _Texts(self._shown, {self._shown[name]: text for name, text in texts})
        self._environment = _Environment(refusals, self._asked, self._here.read)
        self._files = _Files(files, self._asked)
        self.variables = self._environment.variables

    def render(self) -> bytes:
        """The text that the templates make.

        `ConfigError` where a template is wrong or fails, with its place. What is refused is noted, and rendering goes on as
        if it were allowed, so that all of it is found.
        """
        try:
            return _bytes(self._render(self._here, self._environment, self._log))
        except TemplateError as error:
            raise ConfigError([problem_of(error, self._asked.shown())]) from None

    def render_elsewhere(self, surroundings: Surroundings) -> bytes:
        """The text as it would be elsewhere. `ConfigError` as `render`; what is refused is noted nowhere."""
        environment = _Environment(Refusals(self._permissions), self._asked, surroundings.read)
        try:
            return _bytes(self._render(surroundings, environment))
        except TemplateError as error:
            raise ConfigError([problem_of(error, self._asked.shown())]) from None

    def explain(self, problems: Sequence[Problem]) -> list[Problem]:
        """Mistakes of the rendered text with their lines, and what wrote these: nobody has that text before them."""
        from conveyor.config.template.tracing import Trace
        from conveyor.gitrepo.addresses import hide_secrets

        run = self._asked.position.run
        if run is not None and run.steps > _MOST_TRACED:
            return list(problems)
        trace = Trace()
        try:
            text = self._render(self._here, self._environment, trace=trace)
        except (ConveyorError, TemplateError):
            return list(problems)
        shown = self._asked.shown()
        lines = text.split("\n")
        explained = []
        for problem in problems:
            place = problem.place
            line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
            offset = sum(map(len, lines[: place.line - 1])) + place.line - 1 + max(place.column - 1, 0)
            origin = trace.find(text, offset) if place.line else None
            hints = [
                f"the line is `{show_text(hide_secrets(line.strip())[:200])}`" if line else "",
                f"it comes from {Place(shown.get(origin.file, origin.file), *origin[1:])}" if origin is not None else "",
                problem.hint,
            ]
            explained.append(Problem(place, problem.message, "; ".join(filter(None, hints))))
        return explained

    def _render(
        self,
        surroundings: Surroundings,
        environment: _Environment,
        log: Callable[[str], None] | None = None,
        trace: Trace | None = None,
    ) -> str:
        root = root_of(
            self._files,
            env=self._env,
            commit=surroundings.commit,
            commit_time_human=_human_time(surroundings.time_s, surroundings.zone),
            commit_time_s=surroundings.time_s,
        )
        return render(
            self._source,
            templates=self._templates,
            root=root,
            read_environment=environment.read,
            loose=self._permissions.is_loose,
            log=log,
            trace=trace,
            position=self._asked.position,
        )


def _read_templates(files: ConfigFiles, directory: str) -> dict[str, str]:
    """The templates of a directory by their names, which are their paths in it."""
    base = clean_path(directory)
    pattern = f"{escape_glob(base)}/**/*{_SUFFIX}" if base else f"**/*{_SUFFIX}"
    found = files.matching(pattern, _TEMPLATES, "werf config templates", most=MAX_TEMPLATES)
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


class _Texts:
    """The texts that may be templates, by their files, and where among them the run is: places for what is refused."""

    def __init__(self, names: Mapping[str, str], texts: Mapping[str, str]) -> None:
        self._names = names
        self._texts = dict(texts)
        self.position = Position()

    def add(self, file: str, text: str) -> None:
        """Another text, which may be a template, too."""
        if len(text) <= _LONGEST_EXPANDED:
            self._texts.setdefault(file, text)

    def _names_of_expanded(self) -> dict[str, str]:
        """The files of the texts by the names that `tpl` gives them."""
        from zlib import adler32

        return {f"tpl-{adler32(_bytes(text))}": file for file, text in self._texts.items()}

    def shown(self) -> dict[str, str]:
        """The files of all templates by their names."""
        return {**self._names_of_expanded(), **self._names}

    def place(self) -> Place | None:
        """Where the templates ask for what they ask for just now."""
        return self.position.place(self.shown())


class _Environment:
    """The environment of templates: each variable is asked for by name, and must be allowed."""

    def __init__(self, refusals: Refusals, texts: _Texts, read: Callable[[str], str | None]) -> None:
        self._refusals = refusals
        self._read = read
        self._asked = texts
        self._is_allowed: dict[str, bool] = {}
        self.variables: dict[str, str | None] = {}

    def read(self, name: str) -> str | None:
        if name not in self.variables and len(self.variables) >= MAX_VARIABLES:
            raise FunctionError(f"the templates ask for more than {MAX_VARIABLES} variables")
        value = self._read(name)
        self.variables[name] = value
        if name not in self._is_allowed:  # each variable is told of once, with its first place
            self._is_allowed[name] = self._refusals.permissions.allow(_ENV, name)
            if not self._is_allowed[name]:
                self._refusals.require(_ENV, name, self._asked.place())
        if not self._is_allowed[name]:
            return value or ""
        return "" if value is None and self._refusals.permissions.is_loose else value


class _Files:
    """`.Files` of templates. What was asked once is remembered: a run sees one state, and loops cost little."""

    def __init__(self, files: ConfigFiles, texts: _Texts) -> None:
        self._files = files
        self._asked = texts
        self._texts: dict[str, str] = {}
        self._bytes = 0
        self._answers: dict[tuple[str, str], bool] = {}
        self._found: dict[str, Mapping[str, str]] = {}

    def get(self, path: str) -> str:
        """See `conveyor.config.template.api.Files`, the others too."""
        text = self._read(clean_path(path), lambda: self._user("Get"))
        if text is None:
            message, hint = self._files.explain_missing(path, _FILES)
            raise FunctionError(message, hint=hint)
        return text

    def exists(self, path: str) -> bool:
        return self._ask("exists", path, self._files.exists)

    def is_dir(self, path: str) -> bool:
        return self._ask("is a directory", path, self._files.is_directory)

    def glob(self, pattern: str) -> Mapping[str, str]:
        if pattern not in self._found:
            if len(self._found) >= MAX_GLOBS:
                raise FunctionError(f"the templates look for more than {MAX_GLOBS} globs")
            texts = {}
            for name in self._files.names(clean_path(pattern) or ".", _FILES, MAX_PATHS):
                text = self._read(name, lambda: self._user("Glob"))
                if text is not None:
                    texts[name] = text
            self._found[pattern] = texts
        return self._found[pattern]

    def _read(self, path: str, used_by: Callable[[], str]) -> str | None:
        if path not in self._texts:
            content = self._files.read(path, _FILES, used_by=used_by)
            if content is None:
                return None
            self._bytes += len(content)
            self._bound()
            if self._asked.position.run is not None:
                self._asked.position.run.allow(len(content))
            self._texts[path] = _text(content)
            self._asked.add(self._files.show(path), self._texts[path])
        return self._texts[path]

    def _ask(self, question: str, path: str, ask: Callable[[str, Directive], bool]) -> bool:
        key = (question, path)
        if key not in self._answers:
            self._bound()
            self._answers[key] = ask(path, _FILES)
        return self._answers[key]

    def _bound(self) -> None:
        if self._bytes > MAX_BYTES:
            raise FunctionError(f"the templates read more than {MAX_BYTES} bytes of files")
        if len(self._texts) + len(self._answers) >= MAX_PATHS:
            raise FunctionError(f"the templates ask for more than {MAX_PATHS} files")

    def _user(self, method: str) -> str:
        place = self._asked.place()
        return f".Files.{method}" + (f" in {place}" if place is not None else " of a template")


def _human_time(time_s: int, zone: str) -> str:
    """A time as Go prints it, in a zone that is known by its offset only."""
    from datetime import UTC, datetime, timedelta

    sign = -1 if zone.startswith("-") else 1
    offset = sign * timedelta(hours=int(zone[1:3]), minutes=int(zone[3:5]))
    local = datetime.fromtimestamp(time_s, UTC) + offset
    return f"{local:%Y-%m-%d %H:%M:%S} {zone} {zone}"
