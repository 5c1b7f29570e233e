"""The rule `no-effect` for images with a Dockerfile: what is given to it, and what no instruction of it takes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

from conveyor.config.lint.notes import Files, Notes
from conveyor.config.lint.walk import Entries, Section, Text, maps_in
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
    if "docker/dockerfile" not in parsed.directives.get("syntax", "docker/dockerfile"):
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
            hint = did_you_mean(name, sorted(declared)) or "declare it, or remove it"
            notes.add(text.place(key), "no-effect", message, hint)


def _declared(item: Instruction) -> Iterable[str]:
    keyword, _, rest = item.text.partition(" ")
    if item.keyword == "ONBUILD" and keyword.upper() == "ARG":
        return _DECLARED.findall(rest)
    return _DECLARED.findall(item.text) if item.keyword == "ARG" else ()


def _mounted(text: Text, notes: Notes, section: Section, parsed: ParsedFile) -> None:
    lines = [" ".join([*item.flags, item.text]) for item in parsed.instructions if item.keyword in ("RUN", "ONBUILD")]
    mounted = re.findall(r"--mount=(\S+)", "\n".join(lines))
    if any("$" in one for one in mounted):
        return  # only a build knows what is mounted
    mounts = [_mount(one) for one in mounted]
    if "ssh" in section.entries and not any(mount.get("type") == "ssh" for mount in mounts):
        message = "`ssh` has no effect: no RUN of the Dockerfile has `--mount=type=ssh`"
        notes.add(text.place(section.entries["ssh"][0]), "no-effect", message, "mount it there, or remove it")
    taken = [mount.get("id") or _last_name(mount) for mount in mounts if mount.get("type") == "secret"]
    for item in maps_in(section.entries, "secrets"):
        name = _id_of(text.entries(item))
        if name and name not in taken:
            message = f"the secret `{name}` has no effect: no RUN of the Dockerfile has `--mount=type=secret,id={name}`"
            notes.add(text.place(item), "no-effect", message, did_you_mean(name, taken) or "mount it there, or remove it")


def _mount(text: str) -> dict[str, str]:
    return {key.lower(): value for key, _, value in (word.partition("=") for word in f"type=,{text}".split(","))}


def _last_name(mount: Mapping[str, str]) -> str:
    """What a mount without an id takes: the name of the file that it makes."""
    return posixpath.basename(next((mount[key] for key in ("target", "dst", "destination") if key in mount), ""))


def _id_of(secret: Entries) -> str:
    given = {name: value.text for name, (_, value) in secret.items() if value.kind == "scalar" and not value.is_null}
    return given.get("id") or given.get("env") or posixpath.basename(given.get("src", ""))


def _scalar(section: Section, name: str) -> str:
    node = section.entries[name][1] if name in section.entries else None
    return node.text if node is not None and node.kind == "scalar" and not node.is_null else ""
