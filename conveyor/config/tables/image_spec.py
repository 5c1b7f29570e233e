"""Fields of `imageSpec`, of an image and of the project."""

from __future__ import annotations

from conveyor.config.tables.field import Field, Table

_REMOVED = "a name, or `/regular expression/` for the whole of it"

HEALTHCHECK: Table = {
    "test": Field("list", "begins with `CMD`, `CMD-SHELL` or `NONE`"),
    "interval": Field("text", "between two tests: `30s`, or a number of seconds"),
    "timeout": Field("text", "of one test: `30s`, or a number of seconds"),
    "startperiod": Field("text", "while failures do not count: `30s`, or a number of seconds"),
    "startPeriod": Field("text", "the same as `startperiod`"),
    "retries": Field("number", "so many failures make it unhealthy", least=0),
}

SHARED: Table = {
    "keepEssentialWerfLabels": Field("flag", "read, without effect: labels by which stages are found stay", "false"),
    "clearWerfLabels": Field("flag", "take away the labels of a base that werf has built", "false"),
    "removeLabels": Field("texts", f"labels to take away: {_REMOVED}"),
    "labels": Field("map of texts", "labels to set; `%image%` and `%project%` stand for the names"),
}

OF_IMAGE: Table = {
    "clearCmd": Field("flag", "take the base's CMD away", "false"),
    "clearEntrypoint": Field("flag", "take the base's ENTRYPOINT away", "false"),
    "clearUser": Field("flag", "take the base's user away", "false"),
    "clearWorkingDir": Field("flag", "take the base's working directory away", "false"),
    "removeVolumes": Field("texts", f"volumes to take away: {_REMOVED}"),
    "removeEnv": Field("texts", f"variables to take away: {_REMOVED}"),
    "env": Field("map of texts", "variables to set; `${NAME}` is the value that the base has"),
    "volumes": Field("texts", "volumes to add"),
    "expose": Field("texts", "ports to add: `8080`, `53/udp`, `7000-7010`"),
    "user": Field("text", "user"),
    "workingDir": Field("text", "working directory"),
    "stopSignal": Field("text", "signal that ends a container"),
    "cmd": Field("list", "CMD; the entrypoint stays"),
    "entrypoint": Field("list", "ENTRYPOINT; resets the base's CMD where there is no `cmd`"),
    "healthcheck": Field("map", "how the health of a container is tested", table=HEALTHCHECK),
}

_ABOVE: Table = {
    "author": Field("text", "author of the image"),
    "clearHistory": Field("flag", "tell nothing of how the layers were made", "false"),
}

IMAGE_SPEC: Table = {**_ABOVE, "config": Field("map", "the configuration itself", table={**SHARED, **OF_IMAGE})}
PROJECT_SPEC: Table = {**_ABOVE, "config": Field("map", "the configuration itself", table=SHARED)}
