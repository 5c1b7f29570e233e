"""What an engine is asked to build from a Dockerfile. Apart from `stapel.api`: most builds start faster without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stapel.api import File
from stapel.oci.api import ImageConfig


@dataclass(frozen=True, slots=True)
class DockerfileBuild:
    """An image that BuildKit builds. The context is `files` and nothing else: no `.dockerignore` is read.

    `bases` are made ready by the engine as it does it with `base`, and `check_bases` is told what they are before anything
    is built; what it raises ends the build.
    """

    dockerfile: bytes
    files: Sequence[File]  # files and links, paths relative to the context, sorted by components; opened at any time
    target: str = ""  # "" : the last stage
    args: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""
    bases: Sequence[tuple[str, str]] = ()  # references as the Dockerfile has them; the platform that is asked for, or ""
    check_bases: Callable[[Mapping[str, ImageConfig]], None] = lambda configs: None
    network: str = ""
    is_anew: bool = False  # nothing of what was built before may be used
    add_hosts: Sequence[str] = ()  # `name:address`
    mtime_s: int = 0  # of all files of the context
    context_key: str = ""  # equal where `files` and `mtime_s` are; "" : not known
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # by id; never in the image
    ssh: Mapping[str, Sequence[Path]] = field(default_factory=dict)  # by id: the socket of an agent, or keys for one
