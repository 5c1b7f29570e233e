"""The project document: what holds for all images. Cleanup and deploy are read so that real files load."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from conveyor.config.decode_image import read_platforms
from conveyor.config.fields import Fields, describe
from conveyor.config.findings import Findings
from conveyor.config.models import GitWorktree
from conveyor.config.nodes import Node
from conveyor.config.scalars import integer
from conveyor.config.tables.image import IMAGE_OR_ARTIFACT
from conveyor.config.tables.project import (
    BUILD,
    CLEANUP,
    CLEANUP_FLAGS,
    DEPLOY,
    GIT_WORKTREE,
    HELM_CHART_CONFIG,
    KEEP_POLICY,
    LIMIT,
    PROJECT,
    REFERENCES,
)

if TYPE_CHECKING:
    from stapel.image_spec import ImageSpec

_NAME = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_LONGEST_NAME = 50
_LONGEST_EXPRESSION, _LONGEST_SHOWN = 1000, 200  # characters
_DURATION = r"[-+]?(?:0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)"


class Settings(Struct, frozen=True):
    """What the project document says."""

    name: str
    cache_version: str
    platform: str
    git_worktree: GitWorktree
    image_spec: ImageSpec | None = None  # for all final images
    staged: bool = False
    platforms: tuple[str, ...] = ()


def decode_project(findings: Findings, document: Node) -> Settings:
    """Of the document with `configVersion`."""
    fields = Fields(findings, document, "the project document", PROJECT, ("includes",), elsewhere=_of_an_image)
    _check_version(fields)
    cache_version = ""
    platforms: tuple[str, ...] = ()
    image_spec = None
    staged = False
    if node := fields.map_node("build"):
        build = Fields(findings, node, "`build`", BUILD)
        cache_version, platforms = build.text("cacheVersion"), read_platforms(build)
        staged = build.flag("staged")
        if spec := build.map_node("imageSpec"):
            from conveyor.config.decode_image_spec import decode_project_spec

            image_spec = decode_project_spec(findings, spec)
    if node := fields.map_node("cleanup"):
        _check_cleanup(findings, node)
    if node := fields.map_node("deploy"):
        _check_deploy(findings, node)
    platform = platforms[0] if platforms else ""
    return Settings(_name(fields), cache_version, platform, _git_worktree(fields), image_spec, staged, platforms)


def _of_an_image(name: str) -> str:
    return "images stand in documents of their own, below a line `---`" if name in IMAGE_OR_ARTIFACT else ""


def _check_version(fields: Fields) -> None:
    value = fields.value("configVersion")
    version = integer(value) if value and value.kind == "scalar" else None
    if value is None:
        fields.findings.add(fields.key("configVersion"), "`configVersion` is required", "write `configVersion: 1`")
    elif version != 1:
        message = f"`configVersion` must be 1, not {describe(value)}"
        fields.findings.add(value, message, "" if value.plain else "write `configVersion: 1`, without quotes")


def _name(fields: Fields) -> str:
    value = fields.value("project")
    name = fields.text("project")
    if value is None:
        hint = "write `project: NAME`; the name stands in the names of everything that is stored"
        fields.findings.add(fields.key("project"), "`project` is required", hint)
    elif value.kind == "scalar" and not re.fullmatch(_NAME, name):
        better = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")[:_LONGEST_NAME].strip("-")
        hint = f"write `{better}`" if better else ""
        message = f"`project: {name}` must consist of a-z, 0-9 and `-`, without `-` at its ends"
        fields.findings.add(value, message, hint)
    elif len(name) > _LONGEST_NAME:
        fields.findings.add(value, f"`project: {name}` is longer than {_LONGEST_NAME} characters")
    return name


def _git_worktree(fields: Fields) -> GitWorktree:
    node = fields.map_node("gitWorktree")
    if node is None:
        return GitWorktree()
    worktree = Fields(fields.findings, node, "`gitWorktree`", GIT_WORKTREE)
    return GitWorktree(
        worktree.flag("forceShallowClone"),
        worktree.flag("allowUnshallow", True),
        worktree.flag("allowFetchOriginBranchesAndTags", True),
    )


def _check_deploy(findings: Findings, node: Node) -> None:
    texts, flags = ("helmChartDir", "helmRelease", "namespace"), ("helmReleaseSlug", "namespaceSlug")
    deploy = Fields(findings, node, "`deploy`", DEPLOY)
    for name in texts:
        if deploy.has(name) and not deploy.text(name, "-"):
            findings.add(deploy.key(name), f"`{name}` is empty", "remove it")
    for name in flags:
        deploy.flag(name)
    if chart := deploy.map_node("helmChartConfig"):
        Fields(findings, chart, "`helmChartConfig`", HELM_CHART_CONFIG).text("appVersion")


def _check_cleanup(findings: Findings, node: Node) -> None:
    cleanup = Fields(findings, node, "`cleanup`", CLEANUP)
    for name in CLEANUP_FLAGS:
        cleanup.flag(name)
    cleanup.whole("keepImagesBuiltWithinLastNHours", 2, least=0)
    for item in cleanup.map_nodes("keepPolicies"):
        policy = Fields(findings, item, "`keepPolicies`", KEEP_POLICY)
        references = policy.map_node("references")
        if references:
            fields = Fields(findings, references, "`references`", REFERENCES)
            if given := fields.exactly_one(("tag", "branch"), "`references`"):
                _check_reference(fields, given)
            _check_limit(findings, fields.map_node("limit"), "`limit`")
        elif not policy.has("references"):
            findings.add(item, "`references` is required in `keepPolicies`")
        _check_limit(findings, policy.map_node("imagesPerReference"), "`imagesPerReference`")


def _check_reference(fields: Fields, name: str) -> None:
    """A name as it is, or a regular expression between two `/`."""
    text = fields.text(name)
    if len(text) < 2 or not (text.startswith("/") and text.endswith("/")):
        return
    if len(text) > _LONGEST_EXPRESSION:
        message = f"`{name}: {text[:_LONGEST_SHOWN]}...` has more than {_LONGEST_EXPRESSION} characters"
        fields.findings.add(fields.value(name) or fields.node, message, "write a shorter one")
        return
    try:
        re.compile(text[1:-1])
    except (re.error, RecursionError, OverflowError):
        from conveyor.config.giterminism.matching import expression_mistake  # what RE2 says counts; it is loaded in doubt

        mistake = expression_mistake(text)
        if mistake:
            message = f"`{name}: {text[:_LONGEST_SHOWN]}` is no regular expression: {mistake[:_LONGEST_SHOWN]}"
            hint = "a text between two `/` is a regular expression for the whole of a name"
            fields.findings.add(fields.value(name) or fields.node, message, hint)


def _check_limit(findings: Findings, node: Node | None, title: str) -> None:
    if node is None:
        return
    fields = Fields(findings, node, title, LIMIT)
    fields.whole("last", -1, least=-1)
    fields.choice("operator", ("And", "Or"))
    duration = fields.value("in")
    if duration and duration.kind == "scalar" and not re.fullmatch(_DURATION, duration.text):
        findings.add(duration, f"`in: {duration.text}` is not a duration", "write `168h` or `30m`")
    elif duration:
        fields.text("in")
