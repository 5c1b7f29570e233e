"""Fields of the project document."""

from __future__ import annotations

from conveyor.config.tables.field import Field, Table
from conveyor.config.tables.image_spec import PROJECT_SPEC

_OPERATORS = ("And", "Or")
_UNUSED = "read, without effect on a build"

BUILD: Table = {
    "cacheVersion": Field("text", "of all images that have none of their own; change it to build everything anew"),
    "platform": Field("texts", "of all images that have none of their own: `linux/amd64`, `linux/arm64/v8`", "the engine's"),
    "staged": Field("flag", "`staged` of images with a Dockerfile that do not say it", "false"),
    "imageSpec": Field("map", "of all final images; what an image says wins", table=PROJECT_SPEC),
}

GIT_WORKTREE: Table = {
    "forceShallowClone": Field("flag", "build in a shallow clone, without its history", "false"),
    "allowUnshallow": Field("flag", "fetch the history of a shallow clone", "true"),
    "allowFetchOriginBranchesAndTags": Field("flag", f"{_UNUSED}: it needs no branches and tags of origin", "true"),
}

LIMIT: Table = {
    "last": Field("number", "so many of the newest; -1: all", "-1", least=-1),
    "in": Field("text", "those of this time: a duration, `168h`, `1h30m`"),
    "operator": Field("text", "whether both limits must hold, or one of them", "And", choices=_OPERATORS),
}

REFERENCES: Table = {
    "tag": Field("text", "name of tags, or `/regular expression/`", group="reference"),
    "branch": Field("text", "name of branches of origin, or `/regular expression/`", group="reference"),
    "limit": Field("map", "which of them", table=LIMIT),
}

KEEP_POLICY: Table = {
    "references": Field("map", "the tags or branches whose images are kept", required=True, table=REFERENCES),
    "imagesPerReference": Field("map", "how many images of each", table=LIMIT),
}

CLEANUP_FLAGS = (
    "disable",
    "disableKubernetesBasedPolicy",
    "disableGitHistoryBasedPolicy",
    "disableBuiltWithinLastNHoursPolicy",
)

CLEANUP: Table = {
    **{name: Field("flag", _UNUSED, "false") for name in CLEANUP_FLAGS},
    "keepImagesBuiltWithinLastNHours": Field("number", "keep images built within so many hours", "2", least=0),
    "keepPolicies": Field("list of maps", "what is kept because of the history of git", table=KEEP_POLICY),
}

HELM_CHART_CONFIG: Table = {"appVersion": Field("text", _UNUSED)}

DEPLOY: Table = {
    "helmChartDir": Field("text", _UNUSED, ".helm"),
    "helmRelease": Field("text", _UNUSED),
    "namespace": Field("text", _UNUSED),
    "helmReleaseSlug": Field("flag", _UNUSED, "true"),
    "namespaceSlug": Field("flag", _UNUSED, "true"),
    "helmChartConfig": Field("map", _UNUSED, table=HELM_CHART_CONFIG),
}

PROJECT: Table = {
    "configVersion": Field("number", "version of the language", required=True, choices=("1",)),
    "project": Field(
        "text",
        "name of the project, part of the name of everything that is stored: a-z, 0-9 and `-`, no `-` at the ends, "
        "at most 50 characters",
        required=True,
    ),
    "build": Field("map", "what holds for all images", table=BUILD),
    "cleanup": Field("map", f"which images are kept; {_UNUSED}", table=CLEANUP),
    "deploy": Field("map", f"how the project is deployed; {_UNUSED}", table=DEPLOY),
    "gitWorktree": Field("map", "what may be done to the clone", table=GIT_WORKTREE),
}
