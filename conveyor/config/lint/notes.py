"""What `config lint` has to say: notes, each by one rule at one place."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from conveyor.errors import Place, Problem, printable

if TYPE_CHECKING:
    from conveyor.config.rendering import Surroundings

Rule = Literal[
    "deprecated", "no-effect", "indentation", "matches-nothing", "volatile", "unset-variable", "secret", "mistake"
]


class Note(Struct, frozen=True):
    """One thing to mend. An error stops a build; a warning does not."""

    place: Place
    rule: Rule
    message: str
    hint: str = ""
    severity: Literal["warning", "error"] = "warning"


def mistake(problem: Problem) -> Note:
    """A problem that stops a build."""
    return Note(problem.place, "mistake", printable(problem.message), printable(problem.hint), "error")


def without_effect(problem: Problem) -> Note:
    """Something that is read and changes nothing."""
    return Note(problem.place, "no-effect", printable(problem.message), printable(problem.hint))


class Files(Struct, frozen=True):
    """What rules ask of the commit. A path is relative to the project directory, globs to the path, in werf's forms.

    `match(add, include, exclude, within)`: whether a file below `add` matches the filters and one of `within` ([]: any).
    `read(path)`: the content of a Dockerfile, None where there is none.
    """

    match: Callable[[str, tuple[str, ...], tuple[str, ...], tuple[str, ...]], bool]
    read: Callable[[str], bytes | None] = lambda path: None


class Elsewhere(Struct, frozen=True):
    """A template as other surroundings would have it. `variables`: those that it read of the environment."""

    render: Callable[[Surroundings], bytes]
    here: Surroundings
    variables: Collection[str]


class Notes:
    """Takes notes in any order; one that is made twice (a list of names, a shared anchor) counts once."""

    def __init__(self) -> None:
        self._notes: dict[tuple[Place, str], Note] = {}

    def add(self, place: Place, rule: Rule, message: str, hint: str = "") -> None:
        """Note a warning. The text may hold names of the file: they are made printable."""
        message = printable(message)
        self._notes.setdefault((place, message), Note(place, rule, message, printable(hint)))

    def sorted(self) -> tuple[Note, ...]:
        """All of them, in order of place."""
        key = lambda note: (note.place.file, note.place.line, note.place.column, note.rule)  # noqa: E731
        return tuple(sorted(self._notes.values(), key=key))
