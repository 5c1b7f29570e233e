"""How a directive's names and patterns are compared with a value."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_LITERAL = frozenset({"config.secrets.allowEnvVariables", "config.secrets.allowValueIds"})
_NAMES = frozenset({"config.goTemplateRendering.allowEnvVariables"})


def matches(directive: str, given: Sequence[str], value: str) -> bool:
    """Whether one of the given names or patterns means the value."""
    if directive in _LITERAL:
        return value in given
    if directive in _NAMES:
        return value in given or any(_is_expression(one) and matches_expression(one, value) for one in given)
    if directive == "config.secrets.allowFiles":
        return matches_paths([_expand(one) for one in given], _expand(value))
    if directive == "config.stapel.mount.allowFromPaths":
        return matches_paths(given, value)
    # Of a path of the project a leading `/` is the project's directory.
    return matches_paths([one.lstrip("/") for one in given], value.lstrip("/"))


def matches_paths(globs: Sequence[str], path: str) -> bool:
    """Whether one of the globs matches a path, in werf's three forms; an absolute one matches absolute paths only."""
    from conveyor.gitrepo.matching import compile_matcher

    is_absolute = path.startswith("/")
    chosen = tuple(_clean(glob) for glob in globs if glob.startswith("/") == is_absolute)
    if not chosen:
        return False
    cleaned = _clean(path).encode("utf-8", "surrogateescape")
    return "" in chosen or compile_matcher(chosen, ()).matches(cleaned)


def clean_globs(globs: Sequence[str]) -> tuple[str, ...]:
    """Globs as paths of a project are matched with: a leading `/` is the project's directory, and "." everything."""
    return tuple(_clean(glob) or "." for glob in globs)


def _clean(path: str) -> str:
    return posixpath.normpath(path).strip("/") if path not in ("", ".", "/") else ""


def _expand(path: str) -> str:
    """A path of this machine: `~` is the home, a relative one is below the current directory."""
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - texts of a configuration, globs too


def _is_expression(text: str) -> bool:
    return len(text) > 2 and text.startswith("/") and text.endswith("/")


def matches_expression(text: str, value: str) -> bool:
    """Whether `/expression/` means the whole of a value; one that cannot be read means nothing."""
    return not expression_mistake(text) and _compile(text).fullmatch(value) is not None


def expression_mistake(text: str) -> str:
    """What is wrong with `/expression/`; "" where nothing is, or it is none."""
    if not _is_expression(text):
        return ""
    import re2  # type: ignore[import-untyped, unused-ignore] # it has no types

    try:
        _compile(text)
    except re2.error as error:
        said = error.args[0]
        return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return ""


@lru_cache(maxsize=1024)
def _compile(text: str) -> Any:  # noqa: ANN401 - re2 has no types
    """The expression between slashes. By RE2, as werf has it: no expression takes more than linear time."""
    import re2  # type: ignore[import-untyped, unused-ignore] # it has no types

    options = re2.Options()
    options.log_errors = False
    return re2.compile(text[1:-1], options)
