"""Fields of an image or artifact."""

from __future__ import annotations

from conveyor.config.tables.field import Field, Table, copy_without
from conveyor.config.tables.image_spec import IMAGE_SPEC

STAGES = ("beforeInstall", "install", "beforeSetup", "setup")
_NEIGHBOURS = ("install", "setup")
_NUMBER = "a name (looked up in the base) or a number"

PATHS: Table = {
    "includePaths": Field("texts", "globs below `add`: which files", "all"),
    "excludePaths": Field("texts", "globs below `add`: which files not; stronger than `includePaths`", "none"),
}

POSITION: Table = {
    "before": Field("text", "the files are there before the commands of this stage", choices=_NEIGHBOURS, group="position"),
    "after": Field("text", "the files are there after the commands of this stage", choices=_NEIGHBOURS, group="position"),
}

STAGE_DEPENDENCIES: Table = {
    stage: Field("texts", f"globs below `add`: when a matched file changes, the commands of `{stage}` run again")
    for stage in STAGES[1:]
}

PASSWORD: Table = {
    "env": Field("text", "the variable that holds it", group="source"),
    "src": Field("text", "the file that holds it", group="source"),
    "value": Field("text", "the password itself, for everybody to read", group="source"),
}

BASIC_AUTH: Table = {
    "username": Field("text", "name of the user"),
    "password": Field("map", "where the password is", required=True, table=PASSWORD),
}

REMOTE: Table = {
    "url": Field("text", "another repository, as `git clone` takes it: the files are those of this one"),
    "tag": Field("text", "a tag of it", group="?ref", needs="url"),
    "commit": Field("text", "a commit of it: the full id", group="?ref", needs="url"),
    "branch": Field("text", "a branch of it; needs a permission of giterminism", "master", group="?ref", needs="url"),
    "basicAuth": Field("map", "how to log in to an https address", table=BASIC_AUTH, needs="url"),
}

GIT: Table = {
    "add": Field("text", "absolute path below the project directory: a directory or a file", "/"),
    "to": Field("text", "absolute path inside the image", required=True),
    "owner": Field("text", f"{_NUMBER}: user of the files", "the engine's"),
    "group": Field("text", f"{_NUMBER}: group of the files", "the engine's"),
    **PATHS,
    "stageDependencies": Field("map", "files that make the commands of a stage run again", table=STAGE_DEPENDENCIES),
    "onChanged": Field(
        "text",
        "where a file of git changes that commands have changed in the image: the stage fails (`git_file_changed`), or "
        "git's file takes its place",
        "fail",
        choices=("fail", "overwrite"),
    ),
    **REMOTE,
}

SHELL: Table = {
    **{stage: Field("texts", f"commands of the stage `{stage}`, for bash with `-e`") for stage in STAGES},
    "cacheVersion": Field("text", "of all four stages: change it to run their commands again"),
    **{f"{stage}CacheVersion": Field("text", f"of `{stage}`: change it to run its commands again") for stage in STAGES},
}

ANSIBLE: Table = {
    **{stage: Field("anything", f"list of tasks of the stage `{stage}`") for stage in STAGES},
    **{name: field for name, field in SHELL.items() if name not in STAGES},
}

IMPORT: Table = {
    "image": Field("text", "an image or artifact of the file", group="source"),
    "from": Field("text", "the same as `image`", group="source"),
    "artifact": Field("text", "an image or artifact of the file", group="source", instead="`image`"),
    "stage": Field("text", "take the files after this stage of the source", "the last one", choices=STAGES),
    **POSITION,
    "add": Field("text", "absolute path inside the source; `/` only with `includePaths`", required=True),
    "to": Field("text", "absolute path inside the image", "the path of `add`"),
    "owner": Field("text", f"{_NUMBER}: user of the files", "the source's"),
    "group": Field("text", f"{_NUMBER}: group of the files", "the source's"),
    **PATHS,
}

INJECTION: Table = {
    "type": Field(
        "text",
        "what of the image",
        required=True,
        choices=("ImageName", "ImageTag", "ImageRepo", "ImageID", "ImageDigest"),
    ),
    "targetEnv": Field("text", "variable of the commands that takes the value; each once in a dependency", required=True),
}

DEPENDENCY: Table = {
    "image": Field("text", "an image of the file", group="source"),
    "from": Field("text", "the same as `image`", group="source"),
    **POSITION,
    "imports": Field("list of maps", "values of the image that commands see", table=INJECTION),
}

MOUNT: Table = {
    "to": Field("text", "absolute path inside the build container, not `/`; each once", required=True),
    "from": Field(
        "text",
        "`tmp_dir`: a directory of this run; `build_dir`: one that all builds of the project on this machine share",
        choices=("tmp_dir", "build_dir"),
        group="origin",
    ),
    "fromPath": Field("text", "a path of the machine", group="origin"),
}

SECRET: Table = {
    "id": Field("text", "name of the file; each once, without `/`; required with `value`", "the variable, the file's name"),
    "env": Field("text", "the value of this variable", group="origin"),
    "src": Field("text", "the content of this file of the machine", group="origin"),
    "value": Field("text", "the value itself", group="origin"),
}

DOCKER: Table = {
    "VOLUME": Field("texts", "paths"),
    "EXPOSE": Field("texts", "`8080`, `53/udp`, `7000-7010`"),
    "ENV": Field("map of texts", "variables; their names hold no `=`"),
    "LABEL": Field("map of texts", "labels"),
    "CMD": Field("texts", "a text is the shell form, a list the exec form"),
    "ENTRYPOINT": Field("texts", "a text is the shell form, a list the exec form"),
    "WORKDIR": Field("text", "working directory"),
    "USER": Field("text", "user"),
    "HEALTHCHECK": Field("text", "options and `CMD` as in a Dockerfile"),
    "exactValues": Field("flag", "a `$NAME` in a value is no variable of the base", "false"),
}

IMAGE: Table = {
    "image": Field(
        "names",
        "names; every name of a list is an image with the same stages; null (`~`) is the nameless image",
        required=True,
    ),
    "from": Field("text", "the base: an image of the file, `scratch` (nothing), or an image from outside", group="base"),
    "fromImage": Field("text", "the base, an image of the file", group="base", instead="`from`"),
    "fromArtifact": Field("text", "the base, an artifact of the file", group="base", instead="`from`"),
    "fromLatest": Field("flag", "the base from outside is pinned to what its tag means now", "false"),
    "fromCacheVersion": Field("text", "change it to build the image anew from its base"),
    "cacheVersion": Field("text", "change it to build the image anew", "that of `build`"),
    "final": Field("flag", "false: built when another image needs it", "true"),
    "platform": Field("texts", "`linux/amd64`, `linux/arm64/v8`", "that of `build`"),
    "network": Field("text", "of the build containers: `host`, `none`, `isolated` (sandbox) or one of the Docker Engine"),
    "disableGitAfterPatch": Field("flag", "no stages `gitCache` and `gitLatestPatch`", "false"),
    "git": Field("list of maps", "files of the commit", table=GIT),
    "shell": Field("map", "commands", table=SHELL, group="?commands"),
    "ansible": Field("map", "tasks of Ansible in the place of commands", table=ANSIBLE, group="?commands"),
    "import": Field("list of maps", "files of other images", table=IMPORT),
    "dependencies": Field("list of maps", "names and digests of other images", table=DEPENDENCY),
    "mount": Field("list of maps", "directories of the machine in the build containers", table=MOUNT),
    "secrets": Field("list of maps", "files in /run/secrets for the commands, left nowhere", table=SECRET),
    "docker": Field("map", "configuration of the image", table=DOCKER, group="?configuration", instead="`imageSpec`"),
    "imageSpec": Field("map", "the last word on the configuration of the image", table=IMAGE_SPEC, group="?configuration"),
}

IMAGE_ONLY = ("final", "docker", "imageSpec", "dependencies", "disableGitAfterPatch")

ARTIFACT: Table = {
    "artifact": Field(
        "text", "name of the artifact, which gives files to others", required=True, instead="`image`, `final: false`"
    ),
    **copy_without(IMAGE, ("image", *IMAGE_ONLY)),
}

IMAGE_OR_ARTIFACT: Table = {**IMAGE, "artifact": ARTIFACT["artifact"]}
