"""Which images of a project the arguments of a command mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

from conveyor.config.models import Project
from conveyor.config.suggestions import did_you_mean
from conveyor.errors import UsageError

_LONGEST_PATTERN = 100


def select_images(project: Project, patterns: Sequence[str]) -> tuple[str, ...]:
    """Names of the images that `patterns` mean, in order of configuration; without patterns all but the artifacts.

    A pattern is a name, or a glob whose `*` does not cross `/`; `!pattern` takes away, except what a name asked for
    literally. An artifact is meant only by its own name; `~` is the nameless image. What the images need is not added.
    `UsageError` for a pattern that cannot be read or matches no image, and where nothing is left.
    """
    candidates = [image.name for image in project.images if not image.artifact]
    if not patterns:
        return tuple(candidates)
    names = {image.name for image in project.images}
    literal: set[str] = set()
    included: set[str] = set()
    excluded: set[str] = set()
    only_exclusions = True
    for pattern in patterns:
        if pattern.startswith("!") and pattern not in names:
            excluded.update(_matching(pattern[1:], candidates, names))
            continue
        only_exclusions = False
        name = "" if pattern == "~" and "~" not in names else pattern
        if name in names and (name or pattern == "~"):
            literal.add(name)
            continue
        found = _matching(pattern, candidates, names)
        if not found:
            known = ", ".join(sorted(filter(None, names))[:10])
            hint = did_you_mean(pattern, filter(None, names)) or (f"images: {known}" if known else "")
            raise UsageError(f'no image matches pattern "{pattern}"', hint=hint)
        included.update(found)
    if only_exclusions:
        included.update(candidates)
    chosen = (included - excluded) | literal
    if not chosen:
        raise UsageError("the patterns leave no image", hint="remove one of those that start with `!`")
    return tuple(image.name for image in project.images if image.name in chosen)


def _matching(pattern: str, candidates: Sequence[str], names: set[str]) -> list[str]:
    if pattern in names and pattern:
        return [pattern]
    if pattern == "~":
        return [name for name in candidates if not name]
    expression = _expression(pattern)
    return [name for name in candidates if name and expression.fullmatch(name)]


def _expression(pattern: str) -> re.Pattern[str]:
    """`*`, `?`, `[..]` (negated by `^` or `!`) and `\\` as a regular expression."""
    if not pattern:
        raise UsageError("a pattern is empty", hint="write the name of an image")
    if len(pattern) > _LONGEST_PATTERN:
        raise UsageError(f"the pattern {pattern[:20]}... is longer than {_LONGEST_PATTERN} characters")
    if "**" in pattern or re.search(r"[&|$]", pattern):
        raise UsageError(f'invalid pattern "{pattern}"', hint="`**`, `&`, `|` and `$` cannot stand in a pattern")
    parts = []
    rest = pattern
    while rest:
        special = re.match(r"\[([\^!]?)((?:\\.|[^\]\\])+)\]", rest)
        if special:
            parts.append(f"(?!/)[{'^' if special[1] else ''}{_class(special[2])}]")
            rest = rest[special.end() :]
            continue
        if rest[0] == "[" or rest == "\\":
            raise UsageError(f'invalid pattern "{pattern}"', hint=r"close the `[`, or write `\[` for the character itself")
        length = 2 if rest[0] == "\\" else 1
        parts.append({"*": "[^/]*", "?": "[^/]"}.get(rest[:length], re.escape(rest[length - 1 : length])))
        rest = rest[length:]
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error:
        raise UsageError(f'invalid pattern "{pattern}"', hint="check the ranges inside `[..]`") from None


def _class(text: str) -> str:
    return re.sub(r"\\(.)|([\[\]&~|^\\])", lambda match: re.escape(match[1] or match[2]), text)
