"""The mistakes of one file, gathered so that a person sees all of them at once."""

from __future__ import annotations

from collections.abc import Iterable

from conveyor.config.nodes import Node
from conveyor.config.source import Source
from conveyor.config.suggestions import closest, hint_of
from conveyor.errors import ConfigError, Place, Problem, printable

_MOST_SUGGESTIONS = 50  # each one compares with every candidate
_MOST_PROBLEMS = 1000  # a file with more is no configuration
_MOST_KEPT = 5000  # of which the first ones are shown


class Findings:
    """Takes problems in any order. The same problem found twice (a shared anchor) counts once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._problems: dict[tuple[Place, str], Problem] = {}
        self._warnings: dict[tuple[Place, str], Problem] = {}
        self._suggestions = 0
        self._left_out = 0

    def add(self, at: Node | Place | int, message: str, hint: str = "") -> None:
        """Note a problem at a node, a place or an offset."""
        if len(self._problems) >= _MOST_KEPT:
            self._left_out += 1
            return
        place = at if isinstance(at, Place) else self.place(at)
        message = printable(message)
        self._problems.setdefault((place, message), Problem(place, message, printable(hint)))

    def warn(self, at: Place, message: str, hint: str = "") -> None:
        """Note what a person is to be told, and what stops nothing."""
        message = printable(message)
        self._warnings.setdefault((at, message), Problem(at, message, printable(hint)))

    def warnings(self) -> tuple[Problem, ...]:
        """What was noted so, in the order in which it was."""
        return tuple(self._warnings.values())

    def place(self, at: Node | int) -> Place:
        """Where a node or a character stands."""
        return self._source.place(at if isinstance(at, int) else at.offset)

    def whole_file(self) -> Place:
        """The place of what is missing altogether."""
        return Place(self._source.file)

    def guess(self, word: str, candidates: Iterable[str]) -> str:
        """The closest candidate, or "". Bounded: a file of nothing but mistakes costs little."""
        self._suggestions += 1
        return closest(word, candidates) if self._suggestions <= _MOST_SUGGESTIONS else ""

    def suggest(self, word: str, candidates: Iterable[str], otherwise: str = "") -> str:
        """A did-you-mean hint, or `otherwise`; bounded likewise."""
        return hint_of(self.guess(word, candidates)) or otherwise

    def raise_any(self) -> None:
        """`ConfigError` with everything that was noted, in order of place."""
        problems = sorted(self._problems.values(), key=lambda problem: (problem.place.line, problem.place.column))
        left_out = len(problems[_MOST_PROBLEMS:]) + self._left_out
        if left_out:
            problems[_MOST_PROBLEMS:] = [Problem(self.whole_file(), f"{left_out} more problems are not shown")]
        if problems:
            raise ConfigError(problems)
