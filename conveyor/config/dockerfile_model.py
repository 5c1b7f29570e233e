"""What a `werf.yaml` says of an image with a Dockerfile. Most projects start faster without it."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class Dockerfile(Struct, frozen=True):
    """How an image is built from a Dockerfile. `path` and `context_add_files` are relative to `context`.

    `context` is relative to the project directory, "" is that itself.
    """

    path: str
    context: str = ""
    context_add_files: tuple[str, ...] = ()
    target: str = ""  # "" : the last stage of the file
    args: Mapping[str, str] = field(default_factory=dict)
    add_hosts: tuple[str, ...] = ()
    ssh: str = ""
    staged: bool = False
