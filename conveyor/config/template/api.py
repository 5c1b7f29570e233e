"""Templates: Go's `text/template` with sprig's functions, as werf has them.

    text = render(source, name="werfConfig", templates={"a/b.tmpl": "..."}, root=root(...), environment=read, loose=False)

Values are `values`' (`str`, `int`, `dict`, ... stand for Go's types), functions are declared by `functions`. Nothing of
Python can be reached from a template, no file outside of `Files`, no process; every run is bounded in steps, text and
nesting, and ends within about a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from conveyor.errors import Place, Problem

from .errors import Spot, TemplateError
from .functions import Function, FunctionError, Library
from .values import Object, TypedMap, Value

if TYPE_CHECKING:
    from .execution import Run
    from .tracing import Trace

MAIN: Final = "werfConfig"

__all__ = ["MAIN", "Files", "FunctionError", "Position", "TemplateError", "problem_of", "render", "root_of"]


class Files(Protocol):
    """The files of the project, as `.Files` reads them by the rules of giterminism.

    Paths are relative to the project's directory; a leading `/` means that directory, too. What is refused is a
    `FunctionError` (the template fails there, and the person reads what and how to mend it) or a ConveyorError (it passes
    through `render` as it is).
    """

    def get(self, path: str) -> str:
        """The text of a file. Raises FunctionError where there is none."""

    def exists(self, path: str) -> bool:
        """Whether there is such a file that may be read."""

    def is_dir(self, path: str) -> bool:
        """Whether there is such a directory."""

    def glob(self, pattern: str) -> Mapping[str, str]:
        """Path and text of the files that match; empty where none does."""


def root_of(files: Files, *, env: str, commit: str, commit_time_human: str, commit_time_s: int) -> dict[str, Value]:
    """The root of `werf.yaml`: one map, which `set` changes for everything that is rendered after it.

    `commit_time_human` is the time of the commit as Go prints it: `2024-01-02 03:04:05 +0300 +0300`.
    """
    date = TypedMap({"Human": commit_time_human, "Unix": str(commit_time_s)})
    return {"Files": FilesObject(files), "Env": env, "Commit": {"Hash": commit, "Date": date}}


def render(
    source: str,
    *,
    name: str = MAIN,
    templates: Mapping[str, str],
    root: Value,
    read_environment: Callable[[str], str | None],
    loose: bool = False,
    log: Callable[[str], None] | None = None,
    trace: Trace | None = None,
    position: Position | None = None,
) -> str:
    """The text that a template gives.

    `templates` are the other files (`.werf/**/*.tmpl`) by their names: what they define is there for all, a later file's
    definitions replace an earlier one's, those of `source` replace all. `root` is `.` and `$`, and is changed by the `set`
    of templates. `read_environment` gives the value of a variable that `env` asks for, None where it is not set, and raises
    ConveyorError where it may not be read. `log` takes what the `*_debug` functions tell; `trace` what wrote each
    character (it costs, and is for a run after a mistake); `position` is asked where the run is.

    In the result a byte that is no UTF-8 is a lone surrogate (`surrogateescape`).

    Raises TemplateError (see `problem_of`), and the ConveyorErrors of `Files` and `read_environment`.
    """
    import gc
    import sys

    from .execution import Run
    from .values import joined

    run = Run(_library(), main=name, loose=loose, read_environment=read_environment, log=log or (lambda message: None))
    run.trace = trace
    if position is not None:
        position.run = run
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _RECURSION_LIMIT))
    # What templates make is bounded; to look for cycles in it would take as long as making it.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        _parse_all(run, source, name, templates)
        return joined(run.include(name, root))
    finally:
        sys.setrecursionlimit(limit)
        if was_enabled:
            gc.enable()


_RECURSION_LIMIT: Final = 6000  # frames: enough for the bounds on nesting, and far from the end of the stack


def _parse_all(run: Run, source: str, name: str, templates: Mapping[str, str]) -> None:
    for file, text in sorted(templates.items()):
        run.parse(text, file)
    run.parse(source, name)


def _library() -> Library:
    from .builtins import FUNCTIONS
    from .sprig import MODULES

    return Library(MODULES, FUNCTIONS)


class Position:
    """Where a run is, for `Files` and `read_environment` to ask while they are called."""

    __slots__ = ("run",)

    def __init__(self) -> None:
        self.run: Run | None = None

    def place(self, files: Mapping[str, str]) -> Place | None:
        """The innermost place that is in a file (see `problem_of`); None where there is none."""
        for walk in reversed(self.run.walks if self.run is not None else ()):
            spot = walk.spot()
            if spot.template in files:
                return _place(spot, files, begin=True)
        return None


def problem_of(error: TemplateError, files: Mapping[str, str]) -> Problem:
    """What a person reads: the innermost place that is in a file, its line, the message, a hint.

    `files` gives the file of a template by its name (`werfConfig`: `werf.yaml`, `a/b.tmpl`: `.werf/a/b.tmpl`).
    """
    known = [spot for spot in error.spots if spot.template in files]
    spot = known[-1] if known else error.spots[0]
    place = _place(spot, files)
    shown = spot.shown.strip()
    hints: Iterable[str] = (f"in `{shown[:200]}`" if shown else "", error.hint)
    return Problem(place, str(error), "; ".join(filter(None, hints)))


def _place(spot: Spot, files: Mapping[str, str], *, begin: bool = False) -> Place:
    """A spot for a person; `begin`: at the beginning of `.a.b`, where Go names the last part."""
    column = 0
    if spot.column >= 0:
        before = spot.shown.encode("utf-8", "surrogateescape")[: spot.column].decode("utf-8", "replace")
        if begin:
            before = before.rstrip(_NAME)
        column = len(before) + 1
    return Place(files.get(spot.template, spot.template), spot.line, column)


_NAME: Final = "$._abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class FilesObject(Object):
    """`.Files` of a template."""

    __slots__ = ("_files", "_methods")
    go_type = "config.files"

    def __init__(self, files: Files) -> None:
        self._files = files
        self._methods = {
            "Get": Function("Get", "string", self._get, renders=True, asks=True),
            "Exists": Function("Exists", "string", files.exists, asks=True),
            "IsDir": Function("IsDir", "string", files.is_dir, asks=True),
            "Glob": Function("Glob", "string", lambda pattern: dict(files.glob(pattern)), asks=True),
        }

    def methods(self) -> Mapping[str, Function]:
        """`Get`, `Exists`, `IsDir`, `Glob`."""
        return self._methods

    def _get(self, path: str) -> str:
        try:
            return self._files.get(path)
        except FunctionError as error:
            from .quoting import quoted

            raise FunctionError(f"{{{{ .Files.Get {quoted(path)} }}}}: {error}", hint=error.hint) from None
