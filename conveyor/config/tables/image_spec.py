"""Fields of `imageSpec`, of the project and of an image."""

from __future__ import annotations

from conveyor.config.tables.field import Field, Table

_PATTERNS = "names; a text between two `/` is a regular expression for the whole of a name"

HEALTHCHECK: Table = {
    "test": Field("list", "`[CMD, program, argument]`, `[CMD-SHELL, command]` or `[NONE]`"),
    "interval": Field("text", "between two checks: `30s`, or a number of seconds"),
    "timeout": Field("text", "of a check"),
    "startperiod": Field("text", "in which failures do not count"),
    "startPeriod": Field("text", "in which failures do not count", instead="`startperiod`"),
    "retries": Field("number", "so many failures one after the other make a container unhealthy", least=0),
}

SHARED_CONFIG: Table = {
    "keepEssentialWerfLabels": Field("flag", "the labels that stages are found by; they are kept in any case", "false"),
    "clearWerfLabels": Field("flag", "remove the labels that werf has given to the base", "false"),
    "removeLabels": Field("texts", f"labels to be removed: {_PATTERNS}"),
    "labels": Field("map of texts", "labels to be set"),
}

OWN_CONFIG: Table = {
    "clearCmd": Field("flag", "no CMD", "false"),
    "clearEntrypoint": Field("flag", "no ENTRYPOINT", "false"),
    "clearUser": Field("flag", "no USER", "false"),
    "clearWorkingDir": Field("flag", "no WORKDIR", "false"),
    "removeVolumes": Field("texts", f"volumes to be removed: {_PATTERNS}"),
    "removeEnv": Field("texts", f"variables to be removed: {_PATTERNS}"),
    "env": Field("map of texts", "variables to be set"),
    "volumes": Field("texts", "volumes to be added"),
    "expose": Field("texts", "ports to be added: `80`, `53/udp`"),
    "user": Field("text", "user"),
    "workingDir": Field("text", "working directory"),
    "stopSignal": Field("text", "signal that ends a container"),
    "cmd": Field("list", "program and arguments"),
    "entrypoint": Field("list", "program and arguments"),
    "healthcheck": Field("map", "how a container is found to be healthy", table=HEALTHCHECK),
}

CONFIG: Table = {**SHARED_CONFIG, **OWN_CONFIG}

_COMMON: Table = {
    "author": Field("text", "author of the image"),
    "clearHistory": Field("flag", "no history", "false"),
}

PROJECT_SPEC: Table = {**_COMMON, "config": Field("map", "labels of all images", table=SHARED_CONFIG)}
IMAGE_SPEC: Table = {**_COMMON, "config": Field("map", "the part `config` of the image", table=CONFIG)}
