"""Fields of an image that is built from a Dockerfile."""

from __future__ import annotations

from conveyor.config.tables.field import Field, Table
from conveyor.config.tables.image import IMAGE, INJECTION

BUILD_INJECTION: Table = {
    "type": INJECTION["type"],
    "targetBuildArg": Field("text", "build argument that takes the value; each once in a dependency", required=True),
}

BUILD_DEPENDENCY: Table = {
    "image": Field("text", "an image of the file", group="source"),
    "from": Field("text", "the same as `image`", group="source"),
    "imports": Field("list of maps", "values of the image that the Dockerfile takes as arguments", table=BUILD_INJECTION),
}

DOCKERFILE: Table = {
    "image": IMAGE["image"],
    "dockerfile": Field("text", "path of the Dockerfile, relative to `context`", required=True),
    "context": Field("text", "directory that COPY and ADD take from, relative to the project directory", "that itself"),
    "contextAddFiles": Field("texts", "files and directories of the work tree, beside the commit's"),
    "contextAddFile": Field("texts", "the same as `contextAddFiles`", instead="`contextAddFiles`"),
    "target": Field("text", "name or number of the stage that is the image", "the last one"),
    "args": Field("map of texts", "build arguments; their values are resolved and printed: `1.10` is 1.1, `yes` is true"),
    "addHost": Field("texts", "`host:address`, known to the commands of the build"),
    "network": Field("text", "of the commands of the build", choices=("default", "host", "none")),
    "ssh": Field("text", "`default`, or `id=path` of a key, for RUN --mount=type=ssh", "the agent, where there is one"),
    "cacheVersion": IMAGE["cacheVersion"],
    "final": IMAGE["final"],
    "platform": IMAGE["platform"],
    "dependencies": Field("list of maps", "names and digests of other images", table=BUILD_DEPENDENCY),
    "secrets": IMAGE["secrets"],
    "imageSpec": IMAGE["imageSpec"],
    "staged": Field("flag", "a stage an instruction: not supported yet, a warning", "that of `build`"),
}
