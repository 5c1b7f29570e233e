"""The rules of `config lint` that look at one configuration."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from msgspec.structs import replace

from conveyor.config.lint.dockerfiles import note_untaken
from conveyor.config.lint.no_effect import note_without_effect
from conveyor.config.lint.notes import Elsewhere, Files, Note, Notes
from conveyor.config.lint.secrets import secret_name, secret_shape
from conveyor.config.lint.walk import Entries, Section, Text, Visit, maps_in
from conveyor.config.models import USER_STAGES
from conveyor.config.nodes import Node
from conveyor.errors import printable

_CI_VARIABLE = re.compile(r"\$\{?((?:CI|GITHUB)_[A-Z0-9_]+)")
_OF_VARIABLES = ("docker.ENV", "docker.LABEL", "args", "imageSpec.config.env", "imageSpec.config.labels")
_SECRET_HINT = "give it by `secrets`: a value of {} is in the image for everybody to read"  # noqa: S105 - a text for people


def lint(content: bytes, file: str, files: Files, elsewhere: Elsewhere | None = None) -> tuple[Note, ...]:
    """Everything that the rules see in a configuration that can be built. `elsewhere`: None where it is no template."""
    text = Text(content, file)
    notes = Notes()
    for section in text.sections():
        visits = list(text.visit(section))
        _deprecated(text, notes, section, visits)
        _secrets(text, notes, visits)
        _run_together(text, notes, visits)
        note_without_effect(text, notes, section)
        if section.kind == "dockerfile":
            note_untaken(text, notes, section, files)
        if section.kind in ("image", "artifact"):
            _matches_nothing(text, notes, section, files)
            _unset_variables(text, notes, section)
    if elsewhere is not None:
        from conveyor.config.lint.volatile import note_volatile

        note_volatile(text, notes, elsewhere, file)
        return tuple(_with_line(note, content) for note in notes.sorted())
    return notes.sorted()


def _with_line(note: Note, content: bytes) -> Note:
    """A note with the line that it is about: nobody has a rendered text before them. Secrets are not shown."""
    from conveyor.gitrepo.addresses import hide_secrets

    lines = content.decode("utf-8", "replace").split("\n")
    line = hide_secrets(lines[note.place.line - 1].strip()) if note.rule != "secret" and note.place.line else ""
    shown = f"the line is `{printable(line[:200])}`" if line else ""
    return replace(note, hint="; ".join(filter(None, (shown, note.hint))))


def _deprecated(text: Text, notes: Notes, section: Section, visits: Iterable[Visit]) -> None:
    for visit in visits:
        if visit.field.instead and not visit.value.is_null:
            message = f"`{visit.name}` is deprecated"
            notes.add(text.place(visit.key), "deprecated", message, f"write {visit.field.instead}")
    if "image" in section.entries:
        key, value = section.entries["image"]
        if value.is_null:
            notes.add(text.place(key), "deprecated", "an image without a name is deprecated", "give it a name")


def _secrets(text: Text, notes: Notes, visits: Iterable[Visit]) -> None:
    for visit in visits:
        if visit.path in _OF_VARIABLES and visit.value.kind == "map":
            for name, (key, value) in text.entries(visit.value).items():
                if value.kind == "scalar" and secret_name(name, value.text):
                    message = f"`{name}` of `{visit.name}` looks like a secret"
                    notes.add(text.place(key), "secret", message, _SECRET_HINT.format(f"`{visit.name}`"))
        if not visit.field.table and visit.path.partition(".")[0] != "secrets":
            for scalar in text.scalars(visit.value):
                if kind := secret_shape(scalar.text):
                    message = f"`{visit.name}` holds what looks like {kind}"
                    notes.add(text.place(scalar), "secret", message, _SECRET_HINT.format(f"`{visit.name}`"))


def _run_together(text: Text, notes: Notes, visits: Iterable[Visit]) -> None:
    """An item of a list that is indented too far goes on with the text above it, and YAML has nothing against that."""
    for visit in visits:
        for item in visit.value.items:
            if item.kind != "scalar" or not item.plain or " - " not in item.text:
                continue
            following = text.next_line(item).strip()
            if following.startswith("- ") and following in item.text:
                message = f"`{visit.name}`: the line below goes on with this text, for it is indented further"
                notes.add(text.place(item), "indentation", message, "indent all items of a list alike")


def _matches_nothing(text: Text, notes: Notes, section: Section, files: Files) -> None:
    for mapping in maps_in(section.entries, "git"):
        entries = text.entries(mapping)
        if "url" in entries:
            continue
        add = entries["add"][1].text if "add" in entries and not entries["add"][1].is_null else "/"
        if not files.match(add, (), (), ()):
            node = entries["add"][0] if "add" in entries else mapping
            notes.add(text.place(node), "matches-nothing", f"`git.add: {add}`: nothing is there at this commit")
            continue
        include, exclude = _globs(entries, "includePaths"), _globs(entries, "excludePaths")
        for name, nodes in (("includePaths", include), ("excludePaths", exclude)):
            for node in nodes:
                if not files.match(add, (), (), (_clean(node),)):
                    message = f"`{name}`: `{node.text}` matches nothing below `{add}` at this commit"
                    notes.add(text.place(node), "matches-nothing", message, "globs are relative to `add`")
        filters = tuple(map(_clean, include)), tuple(map(_clean, exclude))
        stages = text.map_in(entries, "stageDependencies")
        for stage in stages:
            for node in _globs(stages, stage):
                _check_dependency(text, notes, files, add, filters, stage, node)


def _check_dependency(
    text: Text,
    notes: Notes,
    files: Files,
    add: str,
    filters: tuple[tuple[str, ...], tuple[str, ...]],
    stage: str,
    node: Node,
) -> None:
    glob = _clean(node)
    if files.match(add, *filters, (glob,)):
        return
    message = f"`stageDependencies.{stage}`: `{node.text}` matches nothing below `{add}` at this commit"
    hint = "globs are relative to `add`"
    if files.match(add, (), (), (glob,)):
        message = f"`stageDependencies.{stage}`: `{node.text}` matches only what includePaths and excludePaths leave out"
        hint = "a file that is not laid cannot make commands run again"
    notes.add(text.place(node), "matches-nothing", message, hint)


def _unset_variables(text: Text, notes: Notes, section: Section) -> None:
    """Nothing of the host's environment reaches a build container: such a variable is empty there."""
    commands = text.map_in(section.entries, "shell")
    set_here = set(text.map_in(text.map_in(section.entries, "docker"), "ENV"))
    scripts = [scalar for stage in USER_STAGES if stage in commands for scalar in text.scalars(commands[stage][1])]
    for scalar in scripts:
        for name in dict.fromkeys(_CI_VARIABLE.findall(scalar.text)):
            if name in set_here or any(re.search(rf"\b{name}=", script.text) for script in scripts):
                continue
            message = f"`${name}` is not set in build containers: nothing of the environment reaches them"
            hint = f'write its value by a template, `{{{{ env "{name}" }}}}`, in a late stage or the configuration'
            notes.add(text.place(scalar), "unset-variable", message, hint)


def _globs(entries: Entries, name: str) -> list[Node]:
    if name not in entries:
        return []
    value = entries[name][1]
    return [node for node in ([value] if value.kind == "scalar" else value.items) if not node.is_null]


def _clean(node: Node) -> str:
    glob = posixpath.normpath(node.text)
    return "**" if glob == "." else glob
