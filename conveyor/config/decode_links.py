"""What an image takes from others and from the host: `import`, `dependencies`, `mount`."""

from __future__ import annotations

import re
from typing import Literal, cast

from conveyor.config.fields import Fields
from conveyor.config.models import USER_STAGES, Dependency, Import, Injection, MountPoint, UserStageName
from conveyor.config.nodes import Node
from conveyor.config.paths import absolute_path, image_path, owner, path_filter
from conveyor.config.references import reference_mistake
from conveyor.config.scope import Scope
from conveyor.config.tables.image import DEPENDENCY, IMPORT, INJECTION, MOUNT

_MOUNT_HINT = "a path of the machine is given by `fromPath`"
_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"

When = Literal["before", "after"]
Neighbour = Literal["install", "setup"]

_TARGETS = {"targetEnv": "without", "targetBuildArg": "with"}  # a Dockerfile


def decode_import(scope: Scope, node: Node) -> Import | None:
    """One import; None where a mistake leaves nothing to check further."""
    fields = Fields(scope.findings, node, "`import`", IMPORT)
    external = _external_image(scope, fields)
    image = external or source_image(scope, fields, ("image", "from", "artifact"), "an import")
    position = _position(fields, "an import")
    from_stage = cast("UserStageName | None", fields.choice("stage", USER_STAGES))
    if external and fields.has("stage"):
        hint = "remove it: the stages of an image from outside are not known"
        scope.findings.add(fields.key("stage"), "`stage` in `import` needs an image of the project", hint)
    if fields.lacks("add"):
        scope.findings.add(
            fields.key("add"), "`add` is required in `import`", "write the absolute path inside the source image"
        )
    add = absolute_path(fields, "add")
    to = image_path(fields, "to", add)
    paths = path_filter(fields)
    if add == "/" and not fields.has("includePaths"):
        hint = "say with `includePaths` which files are wanted"
        scope.findings.add(fields.key("add"), "`add: /` in `import` needs `includePaths`", hint)
    user, group = owner(fields, "owner"), owner(fields, "group")
    if not (image and position and add):
        return None
    place = scope.findings.place(node)
    return Import(place, image, *position, add, to, user, group, paths, from_stage, bool(external))


def decode_dependency(scope: Scope, node: Node) -> Dependency | None:
    """One dependency; None where a mistake leaves nothing to check further."""
    fields = Fields(scope.findings, node, "`dependencies`", DEPENDENCY)
    image = source_image(scope, fields, ("image", "from"), "a dependency")
    position = _position(fields, "a dependency")
    injections: list[Injection] = []
    targets: set[str] = set()
    for item in fields.map_nodes("imports"):
        injection = _injection(scope, item)
        if injection is None:
            continue
        if injection.target_env in targets:
            message = f"`targetEnv: {injection.target_env}` is set twice in one dependency"
            scope.findings.add(item, message, "the second value would replace the first")
        targets.add(injection.target_env)
        injections.append(injection)
    if not (image and position):
        return None
    return Dependency(scope.findings.place(node), image, *position, tuple(injections))


def read_injection(node: Node, fields: Fields, own: str, other: str) -> tuple[str | None, str]:
    """Type and target of an injected value. `own` names the target; `other` does so for images of the other kind.

    What is wrong is noted; the type is None and the target "" where they are not there.
    """
    if fields.has(other):
        hint = f"images {_TARGETS[own]} a Dockerfile take `{own}`"
        fields.findings.add(fields.key(other), f"`{other}` is for images {_TARGETS[other]} a Dockerfile", hint)
    for name in ("type", own):
        if not fields.has(name) and not fields.has(other):
            fields.findings.add(node, f"`{name}` is required in `dependencies.imports`")
    return fields.choice("type", INJECTION["type"].choices), fields.text(own)


def _injection(scope: Scope, node: Node) -> Injection | None:
    fields = Fields(scope.findings, node, "`dependencies.imports`", (*INJECTION, "targetBuildArg"))
    kind, target = read_injection(node, fields, "targetEnv", "targetBuildArg")
    if target and not re.fullmatch(_VARIABLE, target):
        scope.findings.add(fields.value("targetEnv") or node, f"`targetEnv: {target}` cannot name a variable")
    return Injection(kind, target) if kind and target else None  # type: ignore[arg-type] # `choice` gives one of them


def decode_mount(scope: Scope, node: Node) -> MountPoint | None:
    """One mount; None where a mistake leaves nothing to check further."""
    findings = scope.findings
    fields = Fields(findings, node, "`mount`", MOUNT)
    origin = fields.exactly_one(("from", "fromPath"), "a mount")
    if fields.lacks("to"):
        findings.add(fields.key("to"), "`to` is required in `mount`", "write the absolute path inside the build container")
    to = image_path(fields, "to")
    if to == "/":
        findings.add(fields.key("to"), "`to: /` in `mount` would hide the whole image")
    kind = cast("Literal['tmp_dir', 'build_dir'] | None", fields.choice("from", ("tmp_dir", "build_dir"), _MOUNT_HINT))
    source = fields.text("fromPath")
    if fields.has("fromPath") and not source.strip():
        findings.add(fields.key("fromPath"), "`fromPath` in `mount` is empty")
    if not to:
        return None
    if origin == "from" and kind:
        if kind == "build_dir":
            scope.refusals.require("config.stapel.mount.allowBuildDir", at=findings.place(fields.key("from")))
        return MountPoint(findings.place(node), kind, to)
    if origin == "fromPath" and source:
        scope.refusals.require("config.stapel.mount.allowFromPaths", source, findings.place(fields.key("fromPath")))
        return MountPoint(findings.place(node), "from_path", to, source)
    return None


def source_image(scope: Scope, fields: Fields, names: tuple[str, ...], title: str) -> str:
    """The image that something is taken from; "" where it is not said."""
    given = fields.exactly_one(names, title)
    value = fields.value(given) if given else None
    if given is None or value is None:
        return ""
    name = fields.text(given)
    if value.kind != "scalar":
        return ""
    return scope.require_image(value, name)


def _external_image(scope: Scope, fields: Fields) -> str:
    """The reference of an import from outside: no image of the project has the name, and it has a tag or a digest."""
    values = [value for name in ("image", "from", "artifact") if (value := fields.value(name)) and value.kind == "scalar"]
    name = values[0].text if len(values) == 1 else ""
    if name in scope.names or not ("@" in name or ":" in name.rpartition("/")[2]):
        return ""
    mistake, hint = reference_mistake(name)
    if mistake:
        message = f"`{name}` is neither an image of the project nor a reference to one from outside: {mistake}"
        scope.findings.add(values[0], message, hint)
    return name


def _position(fields: Fields, title: str) -> tuple[When, Neighbour] | None:
    """Where something stands among the stages."""
    for name in ("before", "after"):
        fields.choice(name, ("install", "setup"))
    given = fields.exactly_one(("before", "after"), title, "write `before: setup` or `after: install`, say")
    if given is None or fields.text(given) not in ("install", "setup"):
        return None
    return cast("When", given), cast("Neighbour", fields.text(given))
