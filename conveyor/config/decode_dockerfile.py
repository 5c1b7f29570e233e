"""A document with `dockerfile`: one image for each of its names, built from a Dockerfile."""

from __future__ import annotations

import math
import posixpath
import re
from decimal import Decimal

from msgspec.structs import replace

from conveyor.config.decode_image import read_platforms
from conveyor.config.decode_links import read_injection, source_image
from conveyor.config.decode_secrets import decode_secrets
from conveyor.config.dockerfile_model import Dockerfile
from conveyor.config.fields import Fields, describe, merged_entries
from conveyor.config.image_names import NamedDocument
from conveyor.config.models import Base, Dependency, Image, Injection
from conveyor.config.nodes import Node
from conveyor.config.scalars import boolean, integer, scalar_type
from conveyor.config.scope import Scope
from conveyor.config.tables.dockerfile import BUILD_DEPENDENCY, BUILD_INJECTION, DOCKERFILE
from stapel.image_spec import ImageSpec

_LEAST_EXPONENT = 6
_HOST = re.compile(r"[^\s:=]+[:=]\S+")


def decode_dockerfile(scope: Scope, document: NamedDocument) -> tuple[Image, ...]:
    """The images of one document."""
    findings = scope.findings
    fields = Fields(findings, document.node, "an image with a Dockerfile", DOCKERFILE)
    context = _relative(fields, "context", fields.value("context"))
    path = _relative(fields, "dockerfile", fields.value("dockerfile"))
    if not path and not fields.text("dockerfile") and (fields.has("dockerfile") or fields.lacks("dockerfile")):
        findings.add(fields.key("dockerfile"), "`dockerfile` is empty", "write the path of the file, relative to `context`")
    if fields.has("contextAddFile") and fields.has("contextAddFiles"):
        message = "`contextAddFile` and `contextAddFiles` are one field"
        findings.add(fields.key("contextAddFile"), message, "leave `contextAddFiles`")
    nodes = [*fields.text_nodes("contextAddFiles"), *fields.text_nodes("contextAddFile")]
    added: dict[str, None] = {}
    for node in nodes:
        name = _relative(fields, "contextAddFiles", node)
        if name:
            added[name] = None
            at = findings.place(node)
            scope.refusals.require("config.dockerfile.allowContextAddFiles", posixpath.join(context, name), at)
        elif node.text in (".", "./"):
            message = "`contextAddFiles`: the whole context cannot be added"
            findings.add(node, message, "name the files and directories that git has not")
    dependencies = tuple(link for node in fields.map_nodes("dependencies") if (link := _dependency(scope, node)))
    args = _args(fields)
    _check_args(fields, args, dependencies)
    platforms = read_platforms(fields) or scope.platforms
    image = Image(
        place=findings.place(fields.key("image")),
        name="",
        base=Base("scratch"),
        final=fields.flag("final", True),
        cache_version=fields.text("cacheVersion") or scope.cache_version,
        dependencies=dependencies,
        image_spec=_image_spec(scope, fields),
        secrets=decode_secrets(scope, fields),
        network=fields.choice("network", DOCKERFILE["network"].choices) or "",
        platforms=platforms,
        platform=platforms[0] if platforms else "",
        dockerfile=Dockerfile(
            path=path,
            context=context,
            context_add_files=tuple(added),
            target=fields.text("target"),
            args=args,
            add_hosts=_hosts(fields),
            ssh=fields.text("ssh"),
            staged=fields.flag("staged", scope.staged),
        ),
    )
    return tuple(replace(image, name=name, place=place) for name, place in document.names)


def _image_spec(scope: Scope, fields: Fields) -> ImageSpec | None:
    """That of a final image; what others say is read all the same, for its mistakes."""
    node = fields.map_node("imageSpec")
    if node is None and scope.image_spec is None:
        return None
    from conveyor.config.decode_image_spec import decode_image_spec, merge_specs

    own = decode_image_spec(scope.findings, node) if node is not None else None
    if not fields.flag("final", True):
        return None
    return merge_specs(scope.image_spec, own) if own is not None else scope.image_spec


def _relative(fields: Fields, name: str, node: Node | None) -> str:
    """A cleaned path below a directory, "" for that itself; something else is noted."""
    if node is None:
        return ""
    if node.kind != "scalar":
        fields.findings.add(node, f"`{name}` must be text, not {describe(node)}")
        return ""
    text = node.text
    cleaned = posixpath.normpath(text) if text else ""
    where = "the project directory" if name == "context" else "`context`"
    if text.startswith("/"):
        hint = f"write `{cleaned.lstrip('/') or '.'}`: the path is relative to {where}"
        fields.findings.add(node, f"`{name}: {text}` must be a relative path", hint)
        return ""
    if cleaned == ".." or cleaned.startswith("../"):
        fields.findings.add(node, f"`{name}: {text}` must not lead out of {where}", f"the path is relative to {where}")
        return ""
    return "" if cleaned == "." else cleaned


def _args(fields: Fields) -> dict[str, str]:
    node = fields.map_node("args", "write `NAME: value` below it, without `- ` and `=`")
    found: dict[str, str] = {}
    for name, (key, value) in (merged_entries(fields.findings, node) if node else {}).items():
        if value.kind != "scalar":
            message = f"`{name}` of `args` must be text, not {describe(value)}"
            fields.findings.add(value, message, "a build argument is one text: write it in quotes")
        elif not name or "=" in name or any(character.isspace() for character in name):
            fields.findings.add(key, f"`{name}` of `args` cannot name a build argument")
        else:
            found[name] = _printed(value)
    return found


def _printed(node: Node) -> str:
    """A value that was resolved and printed: `1.10` is 1.1, `0777` is 511, `yes` is true."""
    kind = scalar_type(node)
    if kind == "boolean":
        return "true" if boolean(node) else "false"
    if kind == "null":
        return "<nil>"
    if kind == "integer":
        number = integer(node)
        return node.text if number is None else str(number)
    if kind == "float":
        try:
            return _print_float(float(node.text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan")))
        except ValueError:
            return node.text
    return node.text


def _print_float(number: float) -> str:
    """The shortest digits that read as the same number, with an exponent below -4 and from 6 on."""
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    sign, digits, scale = Decimal(repr(number)).normalize().as_tuple()
    exponent = len(digits) - 1 + int(scale)
    text = "".join(map(str, digits))
    if number and not -4 <= exponent < _LEAST_EXPONENT:
        text = f"{text[0]}{'.' if text[1:] else ''}{text[1:]}e{exponent:+03d}"
        return f"-{text}" if sign else text
    return format(Decimal(repr(number)).normalize(), "f")


def _check_args(fields: Fields, args: dict[str, str], dependencies: tuple[Dependency, ...]) -> None:
    node = fields.map_node("args")
    entries = merged_entries(fields.findings, node) if node else {}
    for dependency in dependencies:
        for injection in dependency.imports:
            if injection.target_build_arg in args:
                message = f"`{injection.target_build_arg}` is set by `args` and by `targetBuildArg` of a dependency"
                fields.findings.add(entries[injection.target_build_arg][0], message, "remove one of them")


def _hosts(fields: Fields) -> tuple[str, ...]:
    hosts = []
    for node in fields.text_nodes("addHost"):
        if not _HOST.fullmatch(node.text):
            fields.findings.add(node, f"`addHost`: `{node.text}` is not a host and its address", "write `host:192.0.2.1`")
        else:
            name = re.split("[:=]", node.text, maxsplit=1)
            hosts.append(f"{name[0]}:{name[1]}")
    return tuple(hosts)


def _dependency(scope: Scope, node: Node) -> Dependency | None:
    """One dependency of an image with a Dockerfile; None where a mistake leaves nothing to check further."""
    fields = Fields(scope.findings, node, "`dependencies`", (*BUILD_DEPENDENCY, "before", "after"))
    image = source_image(scope, fields, ("image", "from"), "a dependency")
    for name in ("before", "after"):
        if fields.has(name):
            message = f"`{name}` in `dependencies` is for images without a Dockerfile"
            scope.findings.add(fields.key(name), message, "remove it")
    injections: dict[str, Injection] = {}
    for item in fields.map_nodes("imports"):
        injection = _build_argument(scope, item)
        if injection is None:
            continue
        if injection.target_build_arg in injections:
            message = f"`targetBuildArg: {injection.target_build_arg}` is set twice in one dependency"
            scope.findings.add(item, message, "the second value would replace the first")
        injections.setdefault(injection.target_build_arg, injection)
    if not image:
        return None
    return Dependency(scope.findings.place(node), image, None, None, tuple(injections.values()))


def _build_argument(scope: Scope, node: Node) -> Injection | None:
    fields = Fields(scope.findings, node, "`dependencies.imports`", (*BUILD_INJECTION, "targetEnv"))
    kind, target = read_injection(node, fields, "targetBuildArg", "targetEnv")
    return Injection(kind, target_build_arg=target) if kind and target else None  # type: ignore[arg-type] # one of _TYPES
