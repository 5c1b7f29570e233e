"""What a command line has asked: the values of the flags that commands share (`conveyor.cli.options`), without click."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

DEFAULT_REPORT = ".conveyor-build-report.json"


class ProjectOptions(Struct, frozen=True):
    """Where the project is and how it is read. `tmp_dir` None: the system's."""

    dir: Path
    config: str  # relative to the project's directory
    env: str
    dev: bool
    loose_giterminism: bool
    home_dir: Path
    tmp_dir: Path | None
    config_templates_dir: str = ".werf"  # relative to the project's directory, as the next one
    giterminism_config: str = ""  # "": werf-giterminism.yaml, where it is there
    git_work_tree: Path | None = None  # None: that of `dir`
    debug_templates: bool = False
    allow_includes_update: bool = False
    ssh_keys: tuple[str, ...] = ()


class StorageOptions(Struct, frozen=True):
    """What builds, and where stages are stored.

    `repo` "": the engine's own store; `synchronization` "": files of this machine.
    """

    repo: str
    secondary_repos: tuple[str, ...]
    cache_repos: tuple[str, ...]
    final_repo: str  # "": there is none
    synchronization: str
    lock_timeout_s: float
    insecure_registry: bool
    skip_tls_verify_registry: bool
    docker_config: Path | None  # None: Docker's own default
    engine: Literal["auto", "sandbox", "docker"] = "auto"
    sandbox_runner: Literal["bubblewrap", "runc", "crun"] = "bubblewrap"
    min_free: str = "256MiB"
    sandbox_store: Literal["auto", "overlay", "btrfs", "copy"] = "auto"
    layer_compression: Literal["gzip", "zstd"] = "gzip"


class Introspection(Struct, frozen=True):
    """A stage to open a shell in. `image` None: of every image; "": of the nameless one."""

    image: str | None
    stage: str


class BuildOptions(Struct, frozen=True):
    """How images are built; by default they are looked for. `limit` 0: none; `report_path` None: no report is saved."""

    limit: int = 0
    require_built_images: bool = True
    platform: str = ""
    ancestry: Literal["strict", "same-tree"] = "strict"
    virtual_merge: bool = False
    introspect_error: bool = False
    introspect_before_error: bool = False
    introspect_stages: tuple[Introspection, ...] = ()
    fail_fast: bool = False
    report_path: Path | None = None
    custom_tags: tuple[str, ...] = ()


class LogOptions(Struct, frozen=True):
    """How much is told, and how. At most one of `quiet`, `verbose` and `debug` is set; `debug` includes `verbose`."""

    quiet: bool
    verbose: bool
    debug: bool
    color_mode: Literal["auto", "on", "off"]
    format: Literal["auto", "plain", "json"]


class BuildCommand(Struct, frozen=True):
    """A whole `conveyor build`. `images`: as they were named. `told`: the line that was told when the flags were read."""

    images: tuple[str, ...]
    project: ProjectOptions
    storage: StorageOptions
    build: BuildOptions
    log: LogOptions
    told: str = ""


def write_down(command: BuildCommand) -> object:
    """A command as plain values, of which JSON can be made."""
    return msgspec.to_builtins(command, enc_hook=str)


def read_again(written: object) -> BuildCommand:
    """A command that was written down. `msgspec.ValidationError` where it is none of this version's."""
    return msgspec.convert(written, BuildCommand, dec_hook=_read_path)


def _read_path(kind: type, value: Any) -> Path:  # noqa: ANN401 -- as msgspec has it
    if kind is not Path or not isinstance(value, str):
        raise TypeError(f"{value!r} is no path")
    return Path(value)
