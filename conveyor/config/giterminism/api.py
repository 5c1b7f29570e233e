"""What may come from outside of the commit: questions for who reads a configuration, and the refusals of one run.

Everything that a build is made of is in its commit, unless `werf-giterminism.yaml` (itself in the commit) allows it by a
directive. Who meets something from outside asks

    refusals.require("config.stapel.mount.allowFromPaths", path, findings.place(node))

and goes on whatever the answer is: a run tells all its refusals at once (`Refusals.raise_any`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct, field

from conveyor.errors import GiterminismError, Place, Problem
from conveyor.gitrepo.api import ChangeKind

DEFAULT_FILE = "werf-giterminism.yaml"

Directive = Literal[
    "cli.allowCustomTags",
    "config.allowUncommitted",
    "config.allowUncommittedTemplates",
    "config.goTemplateRendering.allowEnvVariables",
    "config.goTemplateRendering.allowUncommittedFiles",
    "config.secrets.allowEnvVariables",
    "config.secrets.allowFiles",
    "config.secrets.allowValueIds",
    "config.stapel.allowFromLatest",
    "config.stapel.git.allowBranch",
    "config.stapel.mount.allowBuildDir",
    "config.stapel.mount.allowFromPaths",
    "config.dockerfile.allowUncommitted",
    "config.dockerfile.allowUncommittedDockerignoreFiles",
    "config.dockerfile.allowContextAddFiles",
    "helm.allowUncommittedFiles",
    "includes.allowIncludesUpdate",
]


class Permissions(Struct, frozen=True):
    """What a `werf-giterminism.yaml` allows: by directive true, or the names and patterns that it lists.

    `file` is its path for messages, relative to the root of the repository. `is_loose` allows everything.
    """

    file: str = DEFAULT_FILE
    given: Mapping[Directive, bool | tuple[str, ...]] = field(default_factory=dict)
    is_loose: bool = False

    def allow(self, directive: Directive, value: str = "") -> bool:
        """Whether a directive allows a value; "" for one that is true or false.

        Values are compared as the directive has it: names of variables with names and anchored `/expressions/`, ids and
        variables of secrets literally, paths with globs in werf's three forms. A path is relative to the project's
        directory, or to be given as the configuration writes it (`fromPath`).
        """
        if self.is_loose:
            return True
        given = self.given.get(directive, False)
        if isinstance(given, bool) or not given:
            return given is True
        from conveyor.config.giterminism.matching import matches

        return matches(directive, given, value)

    def patterns(self, directive: Directive) -> tuple[str, ...]:
        """The names and patterns that a directive lists; none for one that is true or false."""
        given = self.given.get(directive, ())
        return given if isinstance(given, tuple) else ()


_MOST_TOLD = 1000  # refusals and files of one kind: a run with more is told how many there are

ALLOW_ALL = Permissions(is_loose=True)


class Refusals:
    """What one run was refused, gathered so that a person sees all of it at once. The same refusal twice counts once."""

    def __init__(self, permissions: Permissions) -> None:
        self.permissions = permissions
        self._problems: dict[tuple[Place | None, str], str] = {}
        self._lines: dict[tuple[Directive, str], None] = {}
        self._left_out = 0
        self._files: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}  # by subject and kind: path -> why, who uses it

    def __bool__(self) -> bool:
        return bool(self._problems or self._files)

    def require(self, directive: Directive, value: str = "", at: Place | None = None) -> bool:
        """Whether it is allowed; what is not is noted with its place and both ways out."""
        if self.permissions.allow(directive, value):
            return True
        from conveyor.config.giterminism.wording import say_refusal  # most builds are refused nothing

        message, why = say_refusal(directive, value)
        if (at, message) not in self._problems and len(self._problems) >= _MOST_TOLD:
            self._left_out += 1
            return False
        self._problems.setdefault((at, message), why)
        self._lines[directive, value] = None
        return False

    def refuse(self, message: str, hint: str = "", at: Place | None = None) -> None:
        """Note something that no directive could allow, or that one allows in part."""
        self._problems.setdefault((at, message), hint)

    def refuse_file(self, path: str, kind: ChangeKind, subject: str, directive: Directive | None, used_by: str = "") -> None:
        """Note a file that is not as the commit has it. `directive` would accept it (None: none can).

        `path` is relative to the project's directory; `subject` is what it is read as: "werf config", 'dockerfile "a"', or
        "" where it is built from.
        """
        from conveyor.config.giterminism.wording import name_kind, say_file

        files = self._files.setdefault((subject, name_kind(kind)), {})
        if path not in files and len(files) >= _MOST_TOLD:
            self._left_out += 1
            return
        files.setdefault(path, (say_file(kind), used_by))
        if directive is not None:
            self._lines[directive, "" if directive == "config.allowUncommitted" else path] = None

    def raise_any(self, others: Sequence[Problem] = ()) -> None:
        """`GiterminismError` with all that was refused; `others` are mistakes that were found beside, told after them."""
        if not self:
            return
        from conveyor.config.giterminism.wording import say_files, show_text

        texts = []
        for (at, message), hint in self._problems.items():
            texts.append((f"{at}: " if at is not None else "") + show_text(message) + (f"\n    {hint}" if hint else ""))
        for (subject, what), files in self._files.items():
            texts.append(say_files(subject, what, files))
        texts += [str(problem) for problem in others]
        if self._left_out:
            texts.append(f"{self._left_out} more refusals are not shown")
        count = self._left_out + len(self._problems) + sum(map(len, self._files.values()))
        head = (
            f"{count} refusal{'s' if count > 1 else ''}, for only what is in the commit is built:\n"
            if len(texts) > 1
            else ""
        )
        raise GiterminismError(
            head + "\n".join(texts),
            reason="uncommitted" if self._files and not self._problems else "giterminism",
            hint=self._ways_out(),
        )

    def _ways_out(self) -> str:
        from conveyor.config.giterminism.wording import show_text, suggest_lines

        ways = []
        if self._files:
            ignore = (
                ", or list what is no input in .gitignore"
                if any(what == "untracked file" for _, what in self._files)
                else ""
            )
            ways.append(f"git add and git commit the files{ignore}; or build the work tree as it is with --dev")
        if self._lines:
            by_directive: dict[str, list[str]] = {}
            for directive, value in self._lines:
                by_directive.setdefault(directive, []).append(value)
            allow = f"{'or ' if ways else ''}allow it in {show_text(self.permissions.file)}, which is committed, too:"
            ways.append(f"{allow}\n{suggest_lines(by_directive)}")
        return "\n".join(ways)
