"""The directive `git`: mappings of the commit's files, and of other repositories' (`conveyor.config.decode_remote`)."""

from __future__ import annotations

from conveyor.config.fields import Fields
from conveyor.config.findings import Findings
from conveyor.config.giterminism.api import Refusals
from conveyor.config.models import GitMapping, UserStageName
from conveyor.config.nodes import Node
from conveyor.config.paths import absolute_path, image_path, owner, path_filter, relative_globs
from conveyor.config.tables.image import GIT, REMOTE, STAGE_DEPENDENCIES

_STAGES: tuple[UserStageName, ...] = ("install", "beforeSetup", "setup")


def decode_git(findings: Findings, refusals: Refusals, node: Node) -> GitMapping | None:
    """One mapping; None where a mistake leaves nothing to check further."""
    fields = Fields(findings, node, "`git`", GIT)
    remote = next((name for name in REMOTE if fields.has(name)), None)
    source = None
    if fields.has("url"):
        from conveyor.config.decode_remote import decode_remote

        source = decode_remote(fields)
        if source is not None and not source.is_fixed:
            refusals.require(
                "config.stapel.git.allowBranch", at=findings.place(fields.key("branch" if source.ref else "url"))
            )
    elif remote:
        hint = "a local mapping takes the files of the commit that is built: remove it"
        findings.add(fields.key(remote), f"`{remote}` in `git` is for remote mappings, and there is no `url`", hint)
    if fields.lacks("to"):
        findings.add(fields.key("to"), "`to` is required in `git`", "write the absolute path inside the image")
    add = absolute_path(fields, "add", "/")
    to = image_path(fields, "to")
    mapping = GitMapping(
        place=findings.place(node),
        add=add,
        to=to,
        owner=owner(fields, "owner"),
        group=owner(fields, "group"),
        paths=path_filter(fields),
        stage_dependencies=_stage_dependencies(fields),
        remote=source,
        overwrites_changed=fields.choice("onChanged", ("fail", "overwrite")) == "overwrite",
    )
    return mapping if to else None


def _stage_dependencies(fields: Fields) -> dict[UserStageName, tuple[str, ...]]:
    node = fields.map_node("stageDependencies")
    if node is None:
        return {}
    stages = Fields(fields.findings, node, "`stageDependencies`", (*STAGE_DEPENDENCIES, "beforeInstall"))
    if stages.has("beforeInstall"):
        message = "`stageDependencies` has no `beforeInstall`: the sources are not there yet in that stage"
        fields.findings.add(stages.key("beforeInstall"), message, "move the commands to `install`")
    found: dict[UserStageName, tuple[str, ...]] = {}
    for stage in _STAGES:
        globs = relative_globs(stages, stage)
        if globs:
            found[stage] = tuple("**" if glob == "." else glob for glob in globs)
    return found
