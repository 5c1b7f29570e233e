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

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

MODULES = (
    "command", "shell", "raw", "script",
    "assemble", "blockinfile", "copy", "file", "find", "lineinfile", "replace", "stat", "tempfile", "unarchive",
    "get_url", "slurp", "uri", "pip",
    "apt", "apt_key", "apt_repository", "deb822_repository", "debconf", "dnf", "dpkg_selections", "package", "rpm_key",
    "yum", "yum_repository",
    "cron", "user", "group", "getent", "meta", "assert", "debug", "fail", "set_fact", "wait_for",
)  # fmt: skip
# Known where Ansible comes with its collections, which it does not here: a configuration may name them, no build runs them.
_IN_COLLECTIONS = (
    "acl", "archive", "ini_file", "iso_extract", "xattr", "bower", "bundler", "composer", "cpanm", "easy_install", "gem",
    "maven_artifact", "npm", "pear", "yarn", "apk", "apt_rpm", "flatpak", "homebrew", "macports", "opkg", "pacman", "pkgng",
    "portage", "slackpkg", "snap", "swupd", "urpmi", "zypper", "zypper_repository", "locale_gen", "timezone",
    "openssl_certificate", "openssl_csr", "openssl_dhparam", "openssl_pkcs12", "openssl_privatekey", "openssl_publickey",
)  # fmt: skip
_BLOCKS = ("block", "rescue", "always")
_ORDINARY = (
    "name", "when", "register", "args", "vars", "environment", "become", "become_user", "become_method", "become_flags",
    "become_exe", "loop", "loop_control", "until", "retries", "delay", "changed_when", "failed_when", "ignore_errors",
    "no_log", "tags", "check_mode", "diff", "any_errors_fatal", "run_once", "async", "poll", "throttle", "timeout",
    "module_defaults", "collections", "debugger", "notify", "listen", "delegate_to", "delegate_facts", "ignore_unreachable",
    "connection",
)  # fmt: skip
_CORE = "ansible.builtin."
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


def missing_modules(tasks: str) -> tuple[str, ...]:
    """The modules, each once, that tasks of a `Shell` name and that no build has."""
    found: dict[str, None] = {}
    open_lists = [json.loads(tasks)]
    while open_lists:
        for task in open_lists.pop():
            found.update((name, None) for name in task if name.removeprefix(_CORE) in _IN_COLLECTIONS)
            open_lists += [task[name] for name in _BLOCKS if name in task]
    return tuple(found)


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
    blocks = [name for name in _BLOCKS if name in entries]
    for name in blocks:
        _tasks(findings, entries[name][1], name)
    modules = []
    is_told = False
    for name, (key, _) in entries.items():
        short = name.removeprefix(_CORE)
        if short in MODULES or short in _IN_COLLECTIONS:
            modules.append(key)
        elif name not in (*_BLOCKS, *_ORDINARY) and not name.startswith("with_"):
            hint = findings.suggest(name, (*MODULES, *_ORDINARY), f"modules: {', '.join(MODULES)}")
            findings.add(key, f"unknown fields: `{name}` in a task of `ansible` is neither a module nor a keyword", hint)
            is_told = True
    if len(modules) + bool(blocks) > 1:
        at = modules[1] if len(modules) > 1 else modules[0]
        findings.add(at, f"a task takes exactly one module, or a `block`: `{at.text}` is too much", "make it two tasks")
    elif not modules and not blocks and not is_told:
        findings.add(task, "a task needs a module, or a `block`", f"modules: {', '.join(MODULES)}")


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
