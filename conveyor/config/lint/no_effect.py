"""The rule `no-effect`: fields that are right by themselves, and change nothing beside what the image has or has not."""

from __future__ import annotations

from conveyor.config.lint.notes import Notes
from conveyor.config.lint.walk import Section, Text, maps_in
from conveyor.config.models import USER_STAGES
from conveyor.config.nodes import Node
from conveyor.config.scalars import boolean

_OF_COMMANDS = {"network": "", "secrets": "commands alone see them"}


def note_without_effect(text: Text, notes: Notes, section: Section) -> None:
    """Note the fields of a document that change nothing."""
    if section.kind in ("image", "artifact"):
        _dependencies_of_stages(text, notes, section)
        _fields_of_commands(text, notes, section)
        _after_patch(text, notes, section)
    _spec_of_others(text, notes, section)
    _nothing_injected(text, notes, section)


def _dependencies_of_stages(text: Text, notes: Notes, section: Section) -> None:
    there = _stages_with_commands(text, section)
    for mapping in maps_in(section.entries, "git"):
        for stage, (key, value) in text.map_in(text.entries(mapping), "stageDependencies").items():
            if stage in there or value.is_null:
                continue
            message = f"`stageDependencies.{stage}` has no effect: the image has no commands for `{stage}`"
            listed = ", ".join(f"`{one}`" for one in there if one != "beforeInstall")
            notes.add(text.place(key), "no-effect", message, f"it has commands for {listed}" if listed else "remove it")


def _fields_of_commands(text: Text, notes: Notes, section: Section) -> None:
    if _stages_with_commands(text, section):
        return
    for name, why in _OF_COMMANDS.items():
        if name in section.entries and _is_something(section.entries[name][1]):
            message = f"`{name}` has no effect: the image has no commands"
            notes.add(text.place(section.entries[name][0]), "no-effect", message, why or "remove it")


def _after_patch(text: Text, notes: Notes, section: Section) -> None:
    if _is_flag(section, "disableGitAfterPatch", True) and not maps_in(section.entries, "git"):
        key = section.entries["disableGitAfterPatch"][0]
        notes.add(text.place(key), "no-effect", "`disableGitAfterPatch` has no effect: the image has no `git`", "remove it")


def _spec_of_others(text: Text, notes: Notes, section: Section) -> None:
    if _is_flag(section, "final", False) and "imageSpec" in section.entries:
        key, value = section.entries["imageSpec"]
        if _is_something(value):
            message = "`imageSpec` has no effect: the image is not final"
            notes.add(text.place(key), "no-effect", message, "write it in the images that are built on this one")


def _nothing_injected(text: Text, notes: Notes, section: Section) -> None:
    for item in maps_in(section.entries, "dependencies"):
        if not maps_in(text.entries(item), "imports"):
            message = "a dependency without `imports` has no effect: nothing of the other image is taken"
            notes.add(text.place(item), "no-effect", message, "say what: `imports: [{type: ImageName, ...}]`")


def _is_flag(section: Section, name: str, value: bool) -> bool:
    node = section.entries[name][1] if name in section.entries else None
    return node is not None and node.kind == "scalar" and boolean(node) is value


def _stages_with_commands(text: Text, section: Section) -> list[str]:
    given = {**text.map_in(section.entries, "ansible"), **text.map_in(section.entries, "shell")}
    return [stage for stage in USER_STAGES if stage in given and _is_something(given[stage][1])]


def _is_something(node: Node) -> bool:
    return bool(node.text and not node.is_null) if node.kind == "scalar" else bool(node.items or node.pairs)
