"""The flags that commands share, in four groups: each hands its command one value.

What a flag is, and its twin in the environment, stands in `conveyor.cli.flags`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from conveyor.cli.flags import PREFIX, Decorator, Joined, flag_group, list_flag, switch, value_flag
from conveyor.cli.option_values import (
    DEFAULT_REPORT,
    BuildOptions,
    Introspection,
    LogOptions,
    ProjectOptions,
    StorageOptions,
)

DEFAULT_HOME = "~/.conveyor"


def _seconds(text: str | float) -> float:
    try:
        seconds = float(str(text).strip().removesuffix("s"))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a number of seconds.") from None
    if not 0 <= seconds < float("inf"):
        raise click.BadParameter(f"{text!r} is not a number of seconds from 0.")
    return seconds


def _synchronization(text: str) -> str:
    if text in ("", ":local", "none") or text.startswith(("redis://", "rediss://")):
        return text
    # What stands before an @ may be a password, and this message may end in a public log.
    shown = ("...@" if "@" in text else "") + text.rpartition("@")[2]
    raise click.BadParameter(f"{shown!r} is not `:local`, `none`, `redis://...` or `rediss://...`.")


def parse_introspection(text: str) -> Introspection:
    """Read `IMAGE/STAGE`, `~/STAGE`, `*/STAGE` or `STAGE`; the name of an image may hold slashes itself.

    Raises `ValueError` where the image or the stage is empty.
    """
    image, slash, stage = text.rpartition("/")
    if not stage or (slash and not image):
        raise ValueError(f"{text!r} is not IMAGE/STAGE, */STAGE or STAGE (the nameless image is ~).")
    if image in ("", "*"):
        return Introspection(None, stage)
    return Introspection("" if image == "~" else image, stage)


def _path(text: str) -> Path:
    return Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises where there is no home


def _project(values: dict[str, Any]) -> ProjectOptions:
    return ProjectOptions(
        dir=_path(values["dir"]),
        config=values["config"],
        env=values["env"],
        dev=values["dev"],
        loose_giterminism=values["loose_giterminism"],
        home_dir=_path(values["home_dir"]),
        tmp_dir=_path(values["tmp_dir"]) if values["tmp_dir"] else None,
        config_templates_dir=values["config_templates_dir"],
        giterminism_config=values["giterminism_config"],
        git_work_tree=_path(values["git_work_tree"]) if values["git_work_tree"] else None,
        debug_templates=values["debug_templates"],
        allow_includes_update=values["allow_includes_update"],
        ssh_keys=values["ssh_keys"],
    )


def project_of(ctx: click.Context) -> ProjectOptions:
    """The project that a command line is about, for what is not the command itself."""
    return _project(ctx.params)


def _storage(values: dict[str, Any]) -> StorageOptions:
    return StorageOptions(
        repo=values["repo"],
        secondary_repos=values["secondary_repos"],
        cache_repos=values["cache_repos"],
        final_repo=values["final_repo"],
        synchronization=values["synchronization"],
        lock_timeout_s=values["lock_timeout"],
        insecure_registry=values["insecure_registry"],
        skip_tls_verify_registry=values["skip_tls_verify_registry"],
        docker_config=_path(values["docker_config"]) if values["docker_config"] else None,
        engine=values["engine"],
        sandbox_runner=values["sandbox_runner"],
        min_free=values["min_free"],
        sandbox_store=values["sandbox_store"],
        layer_compression=values["layer_compression"],
    )


def _build(values: dict[str, Any]) -> BuildOptions:
    try:
        stages = tuple(parse_introspection(text) for text in values["introspect_stages"])
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--introspect-stage'") from None
    shells = bool(stages) or values["introspect_error"] or values["introspect_before_error"]
    return BuildOptions(
        limit=max(values["parallel_tasks_limit"], 0) if values["parallel"] and not shells else 1,
        require_built_images=values["require_built_images"],
        platform=values["platform"],
        ancestry=values["ancestry"],
        virtual_merge=values["virtual_merge"],
        introspect_error=values["introspect_error"],
        introspect_before_error=values["introspect_before_error"],
        introspect_stages=stages,
        fail_fast=values["fail_fast"],
        report_path=_report_path(values["save_build_report"], values["build_report_path"]),
        custom_tags=values["custom_tags"],
    )


def _report_path(save: bool, text: str) -> Path | None:
    # A path that somebody typed asks for a report; one of the environment only says where reports go.
    if not save and not (_from_command_line("build_report_path") and not _from_command_line("save_build_report")):
        return None
    path = _path(text)
    from conveyor.build.report import check_report_path
    from conveyor.errors import UsageError

    try:
        check_report_path(path)
    except UsageError as error:
        raise click.BadParameter(f"{error} {error.hint}".strip(), param_hint="'--build-report-path'") from None
    return path


def _from_command_line(parameter: str) -> bool:
    return click.get_current_context().get_parameter_source(parameter) is ParameterSource.COMMANDLINE


def _log(values: dict[str, Any]) -> LogOptions:
    asked = [level for level in ("quiet", "verbose", "debug") if values["log_" + level]]
    typed = [level for level in asked if _from_command_line("log_" + level)]
    asked = typed or asked
    if "quiet" in asked and len(asked) > 1:
        raise click.UsageError(f"--log-quiet and --log-{asked[-1]} exclude one another.")
    level = asked[-1] if asked else ""
    return LogOptions(
        quiet=level == "quiet",
        verbose=level == "verbose",
        debug=level == "debug",
        color_mode=values["log_color_mode"],
        format=values["log_format"],
    )


def _home(**attributes: Any) -> Decorator:  # noqa: ANN401 - whatever click.option takes
    return value_flag(
        "--home-dir",
        "Directory for caches, locks and the local store's records.",
        default=DEFAULT_HOME,
        twins=(PREFIX + "HOME",),
        metavar="DIR",
        **attributes,
    )


home_option = _home(callback=lambda ctx, parameter, value: _path(value).resolve())
"""Hands `home_dir: Path` to a command that is about no project."""

project_options = flag_group(
    "project",
    [
        value_flag("--dir", "Directory of the project, in a git work tree.", default=".", metavar="DIR"),
        value_flag("--config", "The configuration, below the project's directory.", default="werf.yaml", metavar="FILE"),
        value_flag(
            "--config-templates-dir",
            "Directory of the configuration's templates (`*.tmpl`), below the project's directory.",
            default=".werf",
            metavar="DIR",
        ),
        value_flag(
            "--giterminism-config",
            "What may come from outside of the commit; default: `werf-giterminism.yaml`, where it is there.",
            metavar="FILE",
        ),
        value_flag(
            "--git-work-tree", "The git work tree; default: the one that the project's directory is in.", metavar="DIR"
        ),
        switch(
            "--debug-templates", "Tell what templates say by `printf_debug`, `dump_debug`, `tpl_debug`, `include_debug`."
        ),
        switch(
            "--allow-includes-update", "Take included files at the newest commits, not at those of `werf-includes.lock`."
        ),
        value_flag("--env", "Name of the environment, `.Env` in the configuration.", metavar="NAME"),
        switch("--dev", "Build uncommitted and untracked changes too, from a commit made for them."),
        switch("--loose-giterminism", "Read the configuration from the disk and allow what giterminism forbids."),
        list_flag("--ssh-key", "Private key for SSH, of git and of commands.", metavar="FILE", into="ssh_keys"),
        _home(),
        value_flag("--tmp-dir", "Directory for what lives as long as one run; default: the system's.", metavar="DIR"),
    ],
    _project,
)
"""Hands `project: ProjectOptions` to a command."""

storage_options = flag_group(
    "storage",
    [
        value_flag(
            "--engine",
            "What builds: `sandbox` needs no daemon, `docker` is the Docker Engine; auto: the sandbox where it can run.",
            default="auto",
            type=click.Choice(["auto", "sandbox", "docker"], case_sensitive=False),
        ),
        value_flag(
            "--sandbox-runner",
            "What starts commands in the sandbox.",
            default="bubblewrap",
            type=click.Choice(["bubblewrap", "runc", "crun"], case_sensitive=False),
        ),
        value_flag(
            "--sandbox-store",
            "How the sandbox keeps files; auto: overlay, else btrfs, else copy, whichever works.",
            default="auto",
            type=click.Choice(["auto", "overlay", "btrfs", "copy"], case_sensitive=False),
        ),
        value_flag(
            "--layer-compression",
            "How the sandbox compresses layers for a registry.",
            default="gzip",
            type=click.Choice(["gzip", "zstd"], case_sensitive=False),
        ),
        value_flag(
            "--min-free",
            "Stop commands in the sandbox where less is free on the volume: 256MiB, or 5%.",
            default="256MiB",
            metavar="SIZE",
        ),
        value_flag("--repo", "Repository that stores the stages; default: the engine's own store.", metavar="ADDRESS"),
        list_flag("--secondary-repo", "Repository to take stages from.", metavar="ADDRESS", into="secondary_repos"),
        list_flag(
            "--cache-repo", "Repository near by that gives and is given bytes.", metavar="ADDRESS", into="cache_repos"
        ),
        value_flag("--final-repo", "Repository that gets the final images too.", metavar="ADDRESS"),
        value_flag(
            "--synchronization",
            "Where locks are held: `:local` (files of this machine, the default), "
            "`redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://...` (TLS) or `none`.",
            short="-S",
            metavar="ADDRESS",
            type=_synchronization,
        ),
        value_flag(
            "--lock-timeout", "Wait so long for a lock, then go on without.", default=60, type=_seconds, metavar="SECONDS"
        ),
        switch("--insecure-registry", "Speak plain HTTP to the registry."),
        switch("--skip-tls-verify-registry", "Do not verify the registry's certificate."),
        value_flag(
            "--docker-config",
            "Directory of Docker's configuration with the credentials; default: `~/.docker`.",
            twins=("DOCKER_CONFIG",),
            metavar="DIR",
        ),
    ],
    _storage,
)
"""Hands `storage: StorageOptions` to a command."""

build_options = flag_group(
    "build",
    [
        switch("--parallel", "Build independent images at the same time.", short="-p", default=True),
        value_flag(
            "--parallel-tasks-limit", "So many at the same time; 0 or less: no limit.", default=5, type=int, metavar="N"
        ),
        switch("--require-built-images", "Build nothing; exit 3 where a stage is missing."),
        value_flag(
            "--platform",
            "Platforms of images that name none, OS/ARCH[/VARIANT]; default: the engine's. Commas between, or repeated.",
            twins=("DOCKER_DEFAULT_PLATFORM",),
            metavar="PLATFORM",
            cls=Joined,
        ),
        value_flag(
            "--ancestry",
            "Which commits' stages may be used: ancestors only, or also those whose files are the same as an ancestor's.",
            default="strict",
            type=click.Choice(["strict", "same-tree"], case_sensitive=False),
        ),
        switch("--virtual-merge", "HEAD is a merge that a CI system made and that will not stay."),
        switch("--introspect-error", "Open a shell in the container of the stage that failed, after its commands."),
        switch("--introspect-before-error", "Open a shell in the container of the stage that failed, before its commands."),
        list_flag("--introspect-stage", "Open a shell in this stage.", metavar="[IMAGE/]STAGE", into="introspect_stages"),
        switch("--fail-fast", "Cancel the stages that run when one fails."),
        switch("--save-build-report", "Write a report, of a failed build too."),
        value_flag("--build-report-path", "Where the report goes: .json or .env.", default=DEFAULT_REPORT, metavar="FILE"),
        list_flag(
            "--add-custom-tag", "Tag the final images with this too; needs --repo.", metavar="TAG", into="custom_tags"
        ),
    ],
    _build,
)
"""Hands `build: BuildOptions` to a command."""

log_options = flag_group(
    "log",
    [
        switch("--log-quiet", "Tell failures and warnings only."),
        switch("--log-verbose", "Tell more: reasons of decisions, waits, digests' names."),
        switch("--log-debug", "Tell everything."),
        value_flag(
            "--log-color-mode",
            "Colours; auto: on a terminal, unless NO_COLOR is set.",
            default="auto",
            type=click.Choice(["auto", "on", "off"], case_sensitive=False),
        ),
        value_flag(
            "--log-format",
            "auto: a live view on a terminal, plain lines elsewhere; json: an object an event, on stdout.",
            default="auto",
            type=click.Choice(["auto", "plain", "json"], case_sensitive=False),
        ),
    ],
    _log,
)
"""Hands `log: LogOptions` to a command."""
