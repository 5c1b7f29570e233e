"""Paths as a configuration writes them: absolute in images and the project, relative globs, owners."""

from __future__ import annotations

import posixpath

from conveyor.config.fields import Fields
from conveyor.config.globs import glob_mistake
from conveyor.config.models import PathFilter
from conveyor.config.nodes import Node

MAX_GLOBS = 2000  # of one list
_LONGEST_SHOWN = 200  # characters of a glob

RESERVED = "/.conveyor"


def absolute_path(fields: Fields, name: str, default: str = "") -> str:
    """A cleaned absolute path: no `.`, `..`, doubled or trailing slash. Something else is noted, the result is `default`."""
    value = fields.value(name)
    text = fields.text(name)
    if value is None or value.kind != "scalar":
        return default
    if not text.startswith("/"):
        hint = f"write `/{posixpath.normpath(text).lstrip('./')}`" if text else "write an absolute path"
        fields.findings.add(value, f"`{name}: {text}` must be an absolute path", hint)
        return default
    return clean(text)


def image_path(fields: Fields, name: str, default: str = "") -> str:
    """Like `absolute_path`; a path that build containers keep for themselves is noted."""
    path = absolute_path(fields, name, default)
    if path == RESERVED or path.startswith(RESERVED + "/"):
        fields.findings.add(
            fields.value(name) or fields.node, f"`{name}: {path}`: {RESERVED} belongs to the build container"
        )
    return path


def clean(path: str) -> str:
    """An absolute path without `.`, `..`, doubled and trailing slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


def relative_globs(fields: Fields, name: str) -> list[str]:
    """Globs below a directory, cleaned, each once; "." stands for the directory itself."""
    globs: dict[str, None] = {}
    nodes = fields.text_nodes(name)
    if len(nodes) > MAX_GLOBS:
        message = f"`{name}` has {len(nodes)} globs, and at most {MAX_GLOBS} are read"
        fields.findings.add(fields.key(name), message, "write fewer and wider ones")
        return []
    for node in nodes:
        glob = _relative_glob(fields, name, node)
        if glob:
            globs[glob] = None
    return list(globs)


def path_filter(fields: Fields) -> PathFilter:
    """`includePaths` and `excludePaths`."""
    include = relative_globs(fields, "includePaths")
    exclude = relative_globs(fields, "excludePaths")
    if "." in include:
        include = []
    if "." in exclude:
        fields.findings.add(fields.key("excludePaths"), "`excludePaths` excludes everything", "remove `.`")
    return PathFilter(tuple(include), tuple(exclude))


def owner(fields: Fields, name: str) -> str:
    """A name or number of a user or group."""
    value = fields.value(name)
    text = fields.text(name)
    if value is None or value.kind != "scalar":
        return ""
    if not text or text.startswith("-") or any(character.isspace() or character in ":/" for character in text):
        hint = "`owner` and `group` are two fields" if ":" in text else ""
        fields.findings.add(value, f"`{name}: {text}` must be a name or a number", hint)
        return ""
    if text.isascii() and text.isdigit() and int(text[:12]) > 0xFFFFFFFE:
        fields.findings.add(value, f"`{name}: {text}` is not an id: the greatest is 4294967294")
        return ""
    return text


def _relative_glob(fields: Fields, name: str, node: Node) -> str:
    text = node.text
    message = hint = ""
    cleaned = posixpath.normpath(text) if text else ""
    if not text:
        message, hint = "the path is empty", "remove it, or write `.` for everything"
    elif text.startswith("/"):
        message, hint = "must be relative", f"paths are relative to `add`: write `{cleaned.lstrip('/') or '.'}`"
    elif cleaned == ".." or cleaned.startswith("../"):
        message, hint = "must not lead out of `add`", "paths are relative to `add`"
    else:
        mistake = glob_mistake(text)
        text = text[:_LONGEST_SHOWN] + "..." if len(text) > _LONGEST_SHOWN else text
        message = f"is not a glob: {mistake}" if mistake else ""
        hint = "a `\\` before a character takes it as it is" if mistake else ""
    if message:
        fields.findings.add(node, f"`{name}`: `{text}` {message}" if text else f"`{name}`: {message}", hint)
        return ""
    return cleaned
