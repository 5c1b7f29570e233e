"""Values that change from commit to commit, or from one run of a CI system to the next, and reach an early stage.

Nothing is read off the templates: they are rendered once more as another commit and another run would have it, and what is
different is told. So a value counts however it came to where it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec.structs import replace

from conveyor.config.lint.notes import Elsewhere, Notes
from conveyor.config.lint.walk import Entries, Section, Text
from conveyor.config.nodes import Node
from conveyor.config.rendering import Surroundings
from conveyor.errors import ConveyorError

_VOLATILE = re.compile(r"(?:CI|GITHUB|BUILDKITE|CIRCLE|BUILD|TRAVIS)_.+")
# These name the project and its servers: they are the same in every run.
_STABLE = re.compile(
    r"(?:CI_(?:REGISTRY|SERVER|PROJECT|API|TEMPLATE|DEFAULT|DEPENDENCY_PROXY|PAGES)|GITHUB_(?:REPOSITORY|SERVER|API|GRAPHQL)).*"
)
_MOST_VARIABLES = 10  # each is a rendering of its own
_OTHER_TIME_S = 1_234_567
_OF_FROM = ("from", "fromImage", "fromArtifact", "fromCacheVersion", "cacheVersion", "platform", "mount")
_STAGES = ("beforeInstall", "install", "beforeSetup")  # nothing that is costly comes after `setup`

Path = tuple[str, ...]


def note_volatile(text: Text, notes: Notes, elsewhere: Elsewhere, file: str) -> None:
    """Note what changes where it should not."""
    for cause, other in _others(elsewhere.here, elsewhere.variables):
        try:
            content = elsewhere.render(other)
        except ConveyorError:  # it is refused there; nothing is known of what it would be
            continue
        for section, path, node in _differences(text, Text(content, file)):
            if what := _rebuilt(section, path):
                message = f"`{'.'.join(path)}` changes with {cause}: {what} built anew each time"
                notes.add(text.place(node), "volatile", message, _hint(section, path))


def _others(surroundings: Surroundings, variables: Iterable[str]) -> Iterator[tuple[str, Surroundings]]:
    commit = "".join(f"{15 - int(digit, 16):x}" for digit in surroundings.commit)
    yield "the commit (`.Commit`)", replace(surroundings, commit=commit, time_s=surroundings.time_s + _OTHER_TIME_S)
    volatile = sorted(name for name in variables if _VOLATILE.fullmatch(name) and not _STABLE.fullmatch(name))
    for name in volatile[:_MOST_VARIABLES]:
        yield f"`{name}`", replace(surroundings, read=_with_other(surroundings.read, name))


def _with_other(read: Callable[[str], str | None], changed: str) -> Callable[[str], str | None]:
    def read_other(name: str) -> str | None:
        value = read(name)
        if name != changed:
            return value
        return str(int(value) + 1) if value and value.isdecimal() else f"{value or ''}x"

    return read_other


def _differences(text: Text, other: Text) -> Iterator[tuple[Section, Path, Node]]:
    """Where two texts differ, documents one by one; documents without a counterpart are left out."""
    for section, counterpart in zip(text.sections(), other.sections(), strict=False):
        if section.kind == counterpart.kind:
            for path, node in _compare((), text, section.entries, other, counterpart.entries):
                yield section, path, node


def _compare(above: Path, text: Text, entries: Entries, other: Text, others: Entries) -> Iterator[tuple[Path, Node]]:
    for name, (key, value) in entries.items():
        if name not in others:
            yield (*above, name), key
        else:
            yield from _compare_values((*above, name), text, value, other, others[name][1])


def _compare_values(path: Path, text: Text, value: Node, other: Text, counterpart: Node) -> Iterator[tuple[Path, Node]]:
    if value.kind != counterpart.kind or len(value.items) != len(counterpart.items) or value.text != counterpart.text:
        yield path, value
    elif value.kind == "map":
        yield from _compare(path, text, text.entries(value), other, other.entries(counterpart))
    for item, one in zip(value.items, counterpart.items, strict=False):
        yield from _compare_values(path, text, item, other, one)


def _rebuilt(section: Section, path: Path) -> str:
    """What a change at a path makes anew; "" where it costs little."""
    if section.kind == "project":
        return "every image is" if path in (("build", "cacheVersion"), ("project",)) else ""
    if section.kind == "dockerfile":
        return _OF_DOCKERFILES.get(path[0], "")
    if path[0] in _OF_FROM:
        return "the whole image is"
    if path[0] in ("shell", "ansible") and len(path) > 1:
        stage = path[1].removesuffix("CacheVersion")
        if stage == "cacheVersion":
            return "all commands are"
        return f"the stage `{stage}` and all after it are" if stage in _STAGES else ""
    return {"import": "the image from the import on is", "git": "the image from its files on is"}.get(path[0], "")


_OF_DOCKERFILES: Mapping[str, str] = {
    "args": "all that follows its `ARG` is",
    "cacheVersion": "the whole image is",
    "target": "the whole image is",
    "dockerfile": "the whole image is",
    "context": "the whole image is",
}


def _hint(section: Section, path: Path) -> str:
    if section.kind == "dockerfile":
        name = path[-1] if len(path) > 1 else "NAME"
        return f"put `ARG {name}` behind what does not need it" if path[0] == "args" else "take it out"
    return "put it into `setup`, or into labels or variables of the image: they come last"
