"""The directive `ansible`: tasks of the user stages, checked as far as a build can know them before it begins."""

from __future__ import annotations

import json
from typing import TypeAlias

from conveyor.config.fields import Fields, describe, merged_entries
from conveyor.config.findings import Findings
from conveyor.config.models import USER_STAGES, Shell, UserStageName
from conveyor.config.nodes import Node
from conveyor.config.scalars import boolean, integer, scalar_type
from conveyor.config.tables.image import ANSIBLE
from stapel.ansible import BLOCKS, BUILTIN, COLLECTIONS, MODULES_OF_COLLECTIONS

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

MODULES = (
    "command", "shell", "raw", "script",
    "assemble", "blockinfile", "copy", "file", "find", "lineinfile", "replace", "stat", "tempfile", "unarchive",
    "get_url", "slurp", "uri", "pip",
    "apt", "apt_key", "apt_repository", "deb822_repository", "debconf", "dnf", "dpkg_selections", "package", "rpm_key",
    "yum", "yum_repository",
    "cron", "user", "group", "getent", "meta", "assert", "debug", "fail", "set_fact", "wait_for",
)  # fmt: skip
_ORDINARY = (
    "name", "when", "register", "args", "vars", "environment", "become", "become_user", "become_method", "become_flags",
    "become_exe", "loop", "loop_control", "until", "retries", "delay", "changed_when", "failed_when", "ignore_errors",
    "no_log", "tags", "check_mode", "diff", "any_errors_fatal", "run_once", "async", "poll", "throttle", "timeout",
    "module_defaults", "collections", "debugger", "notify", "listen", "delegate_to", "delegate_facts", "ignore_unreachable",
    "connection",
)  # fmt: skip
_MOVED = tuple(name for names in MODULES_OF_COLLECTIONS.values() for name in names)
_LISTED = f"modules: {', '.join((*MODULES, *_MOVED))}"
_CACHE_VERSIONS = {stage: f"{stage}CacheVersion" for stage in USER_STAGES}


def decode_ansible(findings: Findings, node: Node) -> Shell:
    """The tasks of each stage, as JSON, and the cache versions."""
    fields = Fields(findings, node, "`ansible`", ANSIBLE)
    tasks: dict[UserStageName, str] = {}
    versions: dict[UserStageName, str] = {}
    for stage in USER_STAGES:
        value = fields.value(stage)
        listed = _tasks(findings, value, stage) if value is not None else []
        if listed:
            tasks[stage] = json.dumps(listed, sort_keys=True, ensure_ascii=False)
        if version := fields.text(_CACHE_VERSIONS[stage]):
            versions[stage] = version
    return Shell({}, fields.text("cacheVersion"), versions, tasks)


def _tasks(findings: Findings, node: Node, where: str) -> list[Json]:
    if node.kind != "list":
        hint = "put `- ` before the first field of each task"
        findings.add(node, f"`{where}` in `ansible` takes a list of tasks, not {describe(node)}", hint)
        return []
    for item in node.items:
        if item.kind == "map":
            _check_task(findings, item)
        else:
            hint = "a task names its module: `command: ...`"
            findings.add(item, f"a task in `{where}` of `ansible` is a map, not {describe(item)}", hint)
    return [_plain(findings, item) for item in node.items]


def _check_task(findings: Findings, task: Node) -> None:
    entries = merged_entries(findings, task)
    blocks = [name for name in BLOCKS if name in entries]
    for name in blocks:
        _tasks(findings, entries[name][1], name)
    modules = []
    is_told = False
    for name, (key, _) in entries.items():
        short = name.removeprefix(BUILTIN)
        collection = name.rpartition(".")[0]
        if short in MODULES or short in _MOVED or collection in COLLECTIONS:
            modules.append(key)
        elif collection.count(".") == 1 and collection + "." != BUILTIN:
            message = f"the module `{name}` is of a collection that images are not built with"
            findings.add(key, message, f"collections: {', '.join(COLLECTIONS)}")
            is_told = True
        elif name not in (*BLOCKS, *_ORDINARY) and not name.startswith("with_"):
            hint = findings.suggest(name, (*MODULES, *_MOVED, *_ORDINARY), _LISTED)
            findings.add(key, f"unknown fields: `{name}` in a task of `ansible` is neither a module nor a keyword", hint)
            is_told = True
    if len(modules) + bool(blocks) > 1:
        at = modules[1] if len(modules) > 1 else modules[0]
        findings.add(at, f"a task takes exactly one module, or a `block`: `{at.text}` is too much", "make it two tasks")
    elif not modules and not blocks and not is_told:
        findings.add(task, "a task needs a module, or a `block`", _LISTED)


def _plain(findings: Findings, node: Node) -> Json:
    """What Ansible would read, but for dates: they stay texts."""
    if node.kind == "list":
        return [_plain(findings, item) for item in node.items]
    if node.kind == "map":
        return {name: _plain(findings, value) for name, (_, value) in merged_entries(findings, node).items()}
    kind = scalar_type(node)
    if kind == "null":
        return None
    if kind == "boolean":
        return boolean(node)
    if kind == "integer":
        number = integer(node)
        return node.text if number is None else number
    if kind == "float" and node.text.lstrip("+-.")[:1].isdigit():
        return float(node.text.replace("_", ""))
    return node.text
