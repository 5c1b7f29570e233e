"""The rule `no-effect` for images with a Dockerfile: what is given to it, and what no instruction of it takes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from conveyor.config.lint.notes import Files, Notes
from conveyor.config.lint.walk import Section, Text, maps_in
from conveyor.config.nodes import Node
from conveyor.config.suggestions import did_you_mean
from conveyor.dockerfile.parser import DockerfileError, Instruction, ParsedFile, parse

# What BuildKit heeds without a declaration.
_PREDEFINED = re.compile(r"(?:HTTP|HTTPS|FTP|NO|ALL)_PROXY|BUILDKIT_.*|SOURCE_DATE_EPOCH", re.IGNORECASE)
_DECLARED = re.compile(r"(?:^|\s)([A-Za-z_]\w*)")


def note_untaken(text: Text, notes: Notes, section: Section, files: Files) -> None:
    """Note arguments that the Dockerfile does not declare, secrets and an agent that it does not mount."""
    content = files.read(posixpath.join(_scalar(section, "context"), _scalar(section, "dockerfile")))
    if content is None:
        return
    try:
        parsed = parse(content)
    except DockerfileError:
        return  # a mistake, which is told as one
    if parsed.directives.get("syntax", "docker/dockerfile").rpartition("docker/dockerfile")[1] == "":
        return  # another frontend: nobody knows what it takes
    _arguments(text, notes, section, parsed)
    _mounted(text, notes, section, parsed)


def _arguments(text: Text, notes: Notes, section: Section, parsed: ParsedFile) -> None:
    given = {name: key for name, (key, _) in text.map_in(section.entries, "args").items()}
    for item in maps_in(section.entries, "dependencies"):
        for injection in maps_in(text.entries(item), "imports"):
            entries = text.entries(injection)
            if "targetBuildArg" in entries:
                given.setdefault(entries["targetBuildArg"][1].text, entries["targetBuildArg"][0])
    declared = {name for item in parsed.instructions for name in _declared(item)}
    for name, key in given.items():
        if name not in declared and not _PREDEFINED.fullmatch(name):
            message = f"the argument `{name}` has no effect: the Dockerfile has no `ARG {name}`"
            notes.add(
                text.place(key), "no-effect", message, did_you_mean(name, sorted(declared)) or "declare it, or remove it"
            )


def _declared(item: Instruction) -> Iterable[str]:
    keyword, _, rest = item.text.partition(" ")
    if item.keyword == "ONBUILD" and keyword.upper() == "ARG":
        return _DECLARED.findall(rest)
    return _DECLARED.findall(item.text) if item.keyword == "ARG" else ()


def _mounted(text: Text, notes: Notes, section: Section, parsed: ParsedFile) -> None:
    lines = [" ".join([*item.flags, item.text]) for item in parsed.instructions if item.keyword in ("RUN", "ONBUILD")]
    mounts = re.findall(r"--mount=(\S+)", "\n".join(lines))
    if "ssh" in section.entries and not _has(mounts, "ssh"):
        _note(text, notes, section.entries["ssh"][0], "`ssh` has no effect", "ssh")
    if maps_in(section.entries, "secrets") and not _has(mounts, "secret"):
        _note(text, notes, section.entries["secrets"][0], "`secrets` have no effect", "secret")


def _has(mounts: Iterable[str], kind: str) -> bool:
    return any(f"type={kind}" in mount or "$" in mount for mount in mounts)


def _note(text: Text, notes: Notes, key: Node, what: str, kind: str) -> None:
    notes.add(
        text.place(key), "no-effect", f"{what}: no RUN of the Dockerfile has `--mount=type={kind}`", "mount them there"
    )


def _scalar(section: Section, name: str) -> str:
    node = section.entries[name][1] if name in section.entries else None
    return node.text if node is not None and node.kind == "scalar" and not node.is_null else ""
