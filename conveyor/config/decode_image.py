"""A document with `image` or `artifact`: one image for each of its names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec.structs import replace

from conveyor.config.decode_docker import decode_docker
from conveyor.config.decode_git import decode_git
from conveyor.config.decode_links import decode_dependency, decode_import, decode_mount
from conveyor.config.fields import Fields
from conveyor.config.image_names import NamedDocument
from conveyor.config.models import USER_STAGES, Base, Image, MountPoint, Shell, UserStageName
from conveyor.config.overlap import exclude_overlaps
from conveyor.config.references import reference_mistake
from conveyor.config.scope import Scope
from conveyor.config.tables.image import IMAGE_ONLY, IMAGE_OR_ARTIFACT, SHELL

if TYPE_CHECKING:
    from conveyor.config.secret import Secret
    from stapel.image_spec import ImageSpec

_UNSUPPORTED = ("includes",)
_PLATFORM = r"[a-z0-9_.-]+/[a-z0-9_.-]+(?:/[a-z0-9_.-]+)?"


def decode_images(scope: Scope, document: NamedDocument) -> tuple[Image, ...]:
    """The images of one document."""
    findings = scope.findings
    kind = document.kind
    is_artifact = kind == "artifact"
    title = "an artifact" if is_artifact else "an image"
    fields = Fields(findings, document.node, title, IMAGE_OR_ARTIFACT, _UNSUPPORTED)
    if fields.has("image") and fields.has("artifact"):
        findings.add(fields.key("artifact"), "a document is an image or an artifact, not both", "remove one of the names")
    if is_artifact:
        for name in IMAGE_ONLY:
            if fields.has(name):
                findings.add(fields.key(name), f"`{name}` is not allowed in an artifact", "remove it, or make it an `image`")
    mounts = _mounts(scope, fields)
    mappings = [mapping for node in fields.map_nodes("git") if (mapping := decode_git(findings, scope.refusals, node))]
    imports = [item for node in fields.map_nodes("import") if (item := decode_import(scope, node))]
    git, imports = exclude_overlaps(findings, mappings, imports)
    docker = fields.map_node("docker")
    platforms = read_platforms(fields) or scope.platforms
    image = Image(
        place=findings.place(fields.key(kind)),
        name="",
        base=_base(scope, fields, [name for name, _ in document.names]),
        artifact=is_artifact,
        final=not is_artifact and fields.flag("final", True),
        from_latest=fields.flag("fromLatest"),
        from_cache_version=fields.text("fromCacheVersion"),
        cache_version=fields.text("cacheVersion") or scope.cache_version,
        git=tuple(git),
        shell=_shell(fields),
        docker=decode_docker(findings, docker, fields.key("docker")) if docker else None,
        image_spec=_image_spec(scope, fields, is_final=not is_artifact and fields.flag("final", True)),
        imports=tuple(imports),
        dependencies=tuple(link for node in fields.map_nodes("dependencies") if (link := decode_dependency(scope, node))),
        mounts=mounts,
        secrets=_secrets(scope, fields),
        network=fields.text("network"),
        platforms=platforms,
        platform=platforms[0] if platforms else "",
        disable_git_after_patch=is_artifact or fields.flag("disableGitAfterPatch"),
    )
    if image.from_latest and image.base.kind != "external" and (fields.has("from") or fields.has("fromImage")):
        findings.add(fields.key("fromLatest"), "`fromLatest` needs a base from outside of the project", "remove it")
    elif image.from_latest:
        scope.refusals.require("config.stapel.allowFromLatest", at=findings.place(fields.key("fromLatest")))
    return tuple(replace(image, name=name, place=place) for name, place in document.names)


def _secrets(scope: Scope, fields: Fields) -> tuple[Secret, ...]:
    if not fields.has("secrets"):
        return ()
    from conveyor.config.decode_secrets import decode_secrets

    return decode_secrets(scope, fields)


def _image_spec(scope: Scope, fields: Fields, *, is_final: bool) -> ImageSpec | None:
    """That of a final image; what others say is read all the same, for its mistakes."""
    node = fields.map_node("imageSpec")
    if node is None:
        return scope.image_spec if is_final else None
    from conveyor.config.decode_image_spec import decode_image_spec, merge_specs

    if fields.has("docker"):
        hint = "move what `docker` says into `imageSpec.config`"
        scope.findings.add(fields.key("imageSpec"), "an image takes `docker` or `imageSpec`, not both", hint)
    own = decode_image_spec(scope.findings, node)
    return merge_specs(scope.image_spec, own) if is_final else None


def read_platforms(fields: Fields) -> tuple[str, ...]:
    """The platforms of `platform`, each once."""
    nodes = fields.text_nodes("platform")
    for node in nodes:
        if not re.fullmatch(_PLATFORM, node.text):
            hint = "write `linux/amd64` or `linux/arm64/v8`"
            fields.findings.add(node, f"`platform`: `{node.text}` is not a platform", hint)
    return tuple(dict.fromkeys(node.text for node in nodes))


def _base(scope: Scope, fields: Fields, own_names: list[str]) -> Base:
    findings = scope.findings
    hint = "write `from: alpine:3.20`, or the name of an image of the file"
    given = fields.exactly_one(("from", "fromImage", "fromArtifact"), "an image", hint)
    value = fields.value(given) if given else None
    if given is None or value is None or value.kind != "scalar":
        if given is not None:
            fields.text(given)
        return Base("external")
    name = value.text
    if given == "from" and own_names == [name]:
        pass  # the one from outside: an image that is built on itself would make no sense
    elif name in own_names:
        hint = f"write `{name}:latest` for the image from outside" if given == "from" else "name another image"
        findings.add(value, f'image "{name}" cannot be built on itself', hint)
        return Base("external", name)
    if given == "fromImage" and name not in scope.names and _is_from_outside(scope, name):
        return Base("external", name)
    if given != "from":
        return Base("image", scope.require_image(value, name))
    if name in scope.names and name not in own_names:
        return Base("image", name)
    if name == "scratch":
        return Base("scratch")
    mistake, hint = reference_mistake(name)
    if mistake and scope.complete:
        guess = findings.suggest(name, [other for other in scope.names if other and other not in own_names])
        message = f"`from: {name}` is neither an image of the project nor a reference to one from outside: {mistake}"
        findings.add(value, message, guess or hint)
    return Base("external", name)


def _is_from_outside(scope: Scope, name: str) -> bool:
    """Whether the name of no image of the project can only be meant for one from a registry, and is no slip of the pen."""
    if reference_mistake(name)[0] or ("/" not in name and ":" not in name):
        return False
    return not scope.findings.suggest(name, filter(None, scope.names))


def _mounts(scope: Scope, fields: Fields) -> tuple[MountPoint, ...]:
    mounts: dict[str, MountPoint] = {}
    for node in fields.map_nodes("mount"):
        mount = decode_mount(scope, node)
        if mount is None:
            continue
        if mount.to in mounts:
            message = f"conflict between mounts! `{mount.to}` is mounted twice"
            scope.findings.add(mount.place, message, f"the first one is in line {mounts[mount.to].place.line}")
        mounts.setdefault(mount.to, mount)
    return tuple(mounts.values())


_CACHE_VERSIONS = {stage: f"{stage}CacheVersion" for stage in USER_STAGES}


def _shell(fields: Fields) -> Shell:
    tasks = fields.map_node("ansible")
    if tasks is not None:
        from conveyor.config.decode_ansible import decode_ansible

        if fields.has("shell"):
            fields.findings.add(fields.key("ansible"), "an image takes `shell` or `ansible`, not both", "leave one of them")
        return decode_ansible(fields.findings, tasks)
    node = fields.map_node("shell", "name the stage, `install:`, and put the commands below it")
    if node is None:
        return Shell()
    shell = Fields(fields.findings, node, "`shell`", SHELL)
    commands: dict[UserStageName, tuple[str, ...]] = {}
    versions: dict[UserStageName, str] = {}
    for stage in USER_STAGES:
        if any(texts := shell.texts(stage)):
            commands[stage] = texts
        if version := shell.text(_CACHE_VERSIONS[stage]):
            versions[stage] = version
    return Shell(commands, shell.text("cacheVersion"), versions)
