"""Fields of `werf-giterminism.yaml`: the directives that permissions are asked by, as the file nests them."""

from __future__ import annotations

from collections.abc import Mapping

from conveyor.config.giterminism.api import Directive
from conveyor.config.giterminism.decode import VERSION, directive_tree
from conveyor.config.giterminism.wording import is_flag
from conveyor.config.tables.field import Field, Table

_NAMES = "names, or `/regular expressions/` that must match all of a name"
_GLOBS = "globs, relative to the project directory"

MEANINGS: Mapping[Directive, str] = {
    "cli.allowCustomTags": "custom tags may be used in place of the stages' own",
    "config.allowUncommitted": "`werf.yaml` may be read from the disk",
    "config.allowUncommittedTemplates": f"templates that may be read from the disk: {_GLOBS}",
    "config.goTemplateRendering.allowEnvVariables": f"variables that templates may read by `env`: {_NAMES}",
    "config.goTemplateRendering.allowUncommittedFiles": f"files that `.Files` may read from the disk: {_GLOBS}",
    "config.secrets.allowEnvVariables": "variables that secrets may be taken from",
    "config.secrets.allowFiles": "files that secrets may be taken from: globs",
    "config.secrets.allowValueIds": "ids of secrets whose value may stand in the configuration",
    "config.stapel.allowFromLatest": "`fromLatest` may be used",
    "config.stapel.git.allowBranch": "mappings of other repositories may follow a branch",
    "config.stapel.mount.allowBuildDir": "`mount` may name `build_dir`",
    "config.stapel.mount.allowFromPaths": "what `fromPath` of `mount` may name: globs of paths as they are written",
    "config.dockerfile.allowUncommitted": f"Dockerfiles that may be read from the disk: {_GLOBS}",
    "config.dockerfile.allowUncommittedDockerignoreFiles": f".dockerignore files that may be read from the disk: {_GLOBS}",
    "config.dockerfile.allowContextAddFiles": f"what `contextAddFiles` may name: {_GLOBS}",
    "helm.allowUncommittedFiles": "files of the chart; without effect on a build",
    "includes.allowIncludesUpdate": "`--allow-includes-update` may be used",
}

_MAPS = {
    "cli": "flags",
    "config": "the configuration",
    "helm": "the chart",
    "includes": "configuration of other repositories",
    "config.goTemplateRendering": "what templates may read",
    "config.secrets": "where secrets may come from",
    "config.stapel": "images without a Dockerfile",
    "config.stapel.git": "mappings of other repositories",
    "config.stapel.mount": "directories of this machine",
    "config.dockerfile": "images with a Dockerfile",
}


def _table(tree: Mapping[str, object], above: str) -> Table:
    table: dict[str, Field] = {}
    for name, below in tree.items():
        path = above + name
        if isinstance(below, Mapping):
            table[name] = Field("map", _MAPS[path], table=_table(below, f"{path}."))
        else:
            takes: tuple[str, str] = ("flag", "false") if is_flag(path) else ("list", "none")
            table[name] = Field(takes[0], MEANINGS[path], takes[1])  # type: ignore[arg-type,index] # both are literals
    return table


GITERMINISM: Table = {
    VERSION: Field("number", "version of the file", required=True, choices=("1",)),
    **_table(directive_tree(), ""),
}
