"""What a user of conveyor can be told.

ConveyorError                  root; carries `reason`, `hint`, `exit_status`, `places`
├── ConfigError                `werf.yaml` is wrong: all problems of a file at once (2)
├── UsageError                 flags, image names, the repository they are used in (2)
│   └── GitError               the repository cannot answer what the build asks (2)
├── GiterminismError           uncommitted or forbidden input (2)
├── BuildFailed                at least one image failed; the others are reported too (1)
├── StageFailed                one stage failed: its image, stage and last lines (1)
├── StagesRequired             `--require-built-images`, and stages are missing (3)
├── ServiceError               registry or engine not reachable, after the retries (4)
└── Interrupted                SIGINT or SIGTERM (130)

A user's error never shows a traceback. `reason` is a stable word for reports and tests; `hint` says how to mend it.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Place(Struct, frozen=True):
    """Where something stands in a text that a person wrote. Lines and columns count from 1; 0: the whole file, or line."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        known = (self.file, *(str(number) for number in (self.line, self.column) if self.line and number))
        return ":".join(known)


class Problem(Struct, frozen=True):
    """One mistake: where, what, how to mend it ("" where nothing is known)."""

    place: Place
    message: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{printable(str(self.place))}: {self.message}" + (f"\n    {self.hint}" if self.hint else "")


_LONGEST_LINE = 1000


def printable(text: str) -> str:
    """One line of text that came from a file or a name, for people: what cannot be seen as an escape, too much of it cut.

    So a name with a line break cannot pass for a line of ours, nor one with a terminal's sequence act on the terminal.
    """
    if len(text) > _LONGEST_LINE:
        half = _LONGEST_LINE // 2
        text = f"{text[:half]}...{text[-half:]}"
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class ConveyorError(Exception):
    """Root of the errors of conveyor."""

    reason = "error"
    exit_status = 1

    def __init__(self, message: str, *, hint: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if reason:
            self.reason = reason


class ConfigError(ConveyorError):
    """The configuration is wrong; `problems` holds every mistake that was found, in order of place."""

    reason = "config"
    exit_status = 2

    def __init__(self, problems: Sequence[Problem], *, hint: str = "") -> None:
        super().__init__("\n".join(str(problem) for problem in problems), hint=hint)
        self.problems = tuple(problems)


class UsageError(ConveyorError):
    """Flags, image names or the place they are used in are wrong."""

    reason = "usage"
    exit_status = 2


class GitError(UsageError):
    """The repository cannot answer what the build asks (`not_a_repository`, `no_commits`, `shallow_clone`, ...)."""

    reason = "git"


class GiterminismError(ConveyorError):
    """The build would use something that is not in the commit."""

    reason = "giterminism"
    exit_status = 2


class BuildFailed(ConveyorError):
    """At least one image failed; each was reported when it did."""

    reason = "build_failed"


class StageFailed(ConveyorError):
    """One stage failed. `tail` holds the last lines of its log, `status` the exit status of its commands (0: none ran)."""

    reason = "stage_failed"

    def __init__(
        self,
        message: str,
        *,
        image: str,
        stage: str,
        tail: Sequence[str] = (),
        status: int = 0,
        hint: str = "",
        reason: str = "",
    ) -> None:
        super().__init__(message, hint=hint, reason=reason)
        self.image = image
        self.stage = stage
        self.tail = tuple(tail)
        self.status = status


class StagesRequired(ConveyorError):
    """Built images were required, and some stages are not stored."""

    reason = "stages_required"
    exit_status = 3


class ServiceError(ConveyorError):
    """The registry or the engine cannot be reached, or refuses us."""

    reason = "unreachable"
    exit_status = 4


class Interrupted(ConveyorError):
    """Somebody asked us to stop."""

    reason = "interrupted"
    exit_status = 130

    def __init__(self) -> None:
        super().__init__("interrupted")
