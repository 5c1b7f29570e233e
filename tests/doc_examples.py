"""The examples of the documentation: whole small projects, and the commands that a reader runs in them.

An example is a section of a page whose heading begins with `Example: `. In it a file is a fenced block below a line that
begins with its path between backticks, and a `console` block is a dialogue: lines `$ COMMAND`, and what each one prints.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
_HEADING = re.compile(r"#+ +(.+)")
_FENCE = re.compile(r"```(\w*)")
_PATH = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Step:
    """A command of a dialogue and its output."""

    command: str
    output: str


@dataclass(frozen=True)
class Example:
    """One example; `page` is the page's path below docs, `title` the heading without `Example: `."""

    page: str
    title: str
    files: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.page}: {self.title}"

    def with_texts(self, texts: Mapping[str, str]) -> Example:
        """The example with other texts in some places of its files, commands and outputs: those of a server, say."""

        def changed(text: str) -> str:
            for old, new in texts.items():
                text = text.replace(old, new)
            return text

        files = {path: changed(text) for path, text in self.files.items()}
        return replace(self, files=files, steps=[Step(changed(step.command), changed(step.output)) for step in self.steps])


@cache
def read_examples() -> tuple[Example, ...]:
    """All of them, by pages and in their order; `ValueError` for a block whose meaning cannot be told."""
    return tuple(example for page in sorted(DOCS.rglob("*.md")) for example in _of_page(page))


def _of_page(page: Path) -> list[Example]:
    name = page.relative_to(DOCS).as_posix()
    examples: list[Example] = []
    current: Example | None = None
    above = ""
    lines = iter(page.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if heading := _HEADING.fullmatch(line):
            kind, _, title = heading[1].partition(": ")
            current = Example(name, title) if kind == "Example" else None
            examples += [current] if current else []
        elif fence := _FENCE.match(line):
            block = list(iter(lambda: next(lines), "```"))
            if current and fence[1] == "console":
                current.steps.extend(_dialogue(block, current))
            elif current:
                path = _PATH.match(above)
                if path is None or path[1] in current.files:
                    raise ValueError(f"{current.name}: a block of the example has no path of its own: {block[:1]}")
                current.files[path[1]] = "\n".join([*block, ""])
        above = line or above
    return examples


def _dialogue(block: list[str], example: Example) -> list[Step]:
    steps: list[Step] = []
    for line in block:
        if line.startswith("$ "):
            steps.append(Step(line[2:], ""))
        elif steps:
            steps[-1] = Step(steps[-1].command, steps[-1].output + line + "\n")
        else:
            raise ValueError(f"{example.name}: a dialogue begins with a command: {line}")
    return steps
