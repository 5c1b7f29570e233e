"""Fields of `werf-includes.yaml` and of its lock."""

from __future__ import annotations

from conveyor.config.tables.field import Field, Table
from conveyor.config.tables.image import BASIC_AUTH, PATHS

_REFERENCE: Table = {
    "branch": Field("text", "what it points to when `conveyor includes update` runs", group="reference"),
    "tag": Field("text", "likewise", group="reference"),
    "commit": Field("text", "its full id", group="reference"),
}

INCLUDE: Table = {
    "git": Field("text", "address of the repository", required=True),
    **_REFERENCE,
    "basicAuth": Field("map", "who reads it", table=BASIC_AUTH),
    "add": Field("text", "absolute path in that repository", required=True),
    "to": Field("text", "absolute path in the project", required=True),
    **PATHS,
}

LOCKED: Table = {
    "git": Field("text", "address of the repository", required=True),
    "branch": Field("text", "what was asked for"),
    "tag": Field("text", "what was asked for"),
    "commit": Field("text", "what is read", required=True),
}

INCLUDES: Table = {"includes": Field("list of maps", "files of other repositories", table=INCLUDE)}
