"""`conveyor doctor`: whether what a build needs is here, and what to do where it is not."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal

import click
from msgspec import Struct
from msgspec.structs import replace

from conveyor.cli.command import Command
from conveyor.cli.option_values import ProjectOptions, StorageOptions
from conveyor.cli.options import project_options, storage_options

ENGINES: tuple[Literal["sandbox", "docker"], ...] = ("sandbox", "docker")


class Finding(Struct, frozen=True):
    """One thing that was looked at."""

    subject: str
    state: Literal["ok", "warning", "error"]
    text: str


@click.command("doctor", cls=Command)
@project_options
@storage_options
def command(project: ProjectOptions, storage: StorageOptions) -> None:
    """Look at git, the engine, the toolchain, the registry, the SSH agent; exit 1 where a build cannot run."""
    findings = [_look(subject, check) for subject, check in _checks(project, storage)]
    for finding in findings:
        click.echo(f"{finding.state:<8} {finding.subject}: {finding.text}")
    if any(finding.state == "error" for finding in findings):
        raise click.exceptions.Exit(1)


Check = Callable[[], tuple[Literal["ok", "warning", "error"], str]]


def _look(subject: str, check: Check) -> Finding:
    from conveyor.errors import ConveyorError
    from stapel.errors import StapelError

    try:
        state, text = check()
    except (ConveyorError, StapelError) as error:
        hint = f" ({error.hint})" if error.hint else ""
        return Finding(subject, "error", f"{error}{hint}")
    return Finding(subject, state, text)


def _checks(project: ProjectOptions, storage: StorageOptions) -> list[tuple[str, Check]]:
    checks: list[tuple[str, Check]] = [
        ("git", _check_git),
        ("project", lambda: _check_project(project)),
        *(
            (f"engine {name}", functools.partial(_check_engine, project, replace(storage, engine=name), storage.engine))
            for name in ENGINES
            if storage.engine in ("auto", name)
        ),
        ("toolchain", lambda: _check_toolchain(project, storage)),
        ("ssh agent", _check_agent),
        ("locks", lambda: _check_locks(project, storage)),
    ]
    named = [("registry", storage.repo), ("final repository", storage.final_repo)]
    named += [("secondary", address) for address in storage.secondary_repos]
    named += [("cache", address) for address in storage.cache_repos]
    for role, address in named:
        if address:
            is_needed = role not in ("secondary", "cache")
            checks.append((f"{role} {address}", functools.partial(_check_registry, storage, address, is_needed)))
    return checks


def _check_git() -> tuple[Literal["ok", "warning", "error"], str]:
    import shutil
    import subprocess

    if shutil.which("git") is None:
        return "error", "not found (install git)"
    return "ok", subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def _check_project(project: ProjectOptions) -> tuple[Literal["ok", "warning", "error"], str]:
    from conveyor.cli.projects import open_project

    opened = open_project(project, checks_work_tree=False)
    opened.close()
    text = f"{opened.project.name} at commit {opened.repo.head[:12]}, images: {len(opened.project.images)}"
    if opened.repo.is_shallow():
        return "warning", f"{text}; the clone is shallow, it will be deepened from origin by the first build"
    return "ok", text


def _check_engine(
    project: ProjectOptions, storage: StorageOptions, asked: str
) -> tuple[Literal["ok", "warning", "error"], str]:
    from conveyor.cli.session import make_engine, open_places

    warnings: list[str] = []
    with open_places(project) as places:
        engine = make_engine("doctor", places, storage, warnings.append)
        try:
            why = engine.probe()
            if why:
                # Of two engines one is enough: whether that one is there is what the toolchain shows.
                return ("warning" if asked == "auto" else "error"), why
            text = f"runs here, builds for {engine.platform()} ({engine.describe()})"
            return ("warning", f"{text}, but {'; '.join(warnings)}") if warnings else ("ok", text)
        finally:
            engine.close()


def _check_toolchain(project: ProjectOptions, storage: StorageOptions) -> tuple[Literal["ok", "warning", "error"], str]:
    from conveyor.cli.session import make_engine, open_places
    from stapel.api import Cancel, Run
    from stapel.toolchain import proof_script

    output: list[bytes] = []
    with open_places(project) as places:
        engine = make_engine("doctor", places, storage, lambda message: None)
        try:
            scratch = engine.hold(None)
            made = engine.build(scratch, [Run(proof_script())], lambda stream, data: output.append(data), Cancel())
            made.close()
            scratch.close()
        finally:
            engine.close()
    return "ok", f"every tool works in a container of the engine {engine.name} without a base"


def _check_agent() -> tuple[Literal["ok", "warning", "error"], str]:
    import os

    from stapel.ssh_agent import find_agent

    socket = find_agent(os.environ)
    if socket is not None:
        return "ok", f"{socket} is forwarded to build containers"
    return "ok", "none (start one and set SSH_AUTH_SOCK, or use --ssh-key, where commands need keys)"


def _check_locks(project: ProjectOptions, storage: StorageOptions) -> tuple[Literal["ok", "warning", "error"], str]:
    from conveyor.cli.session import make_locks
    from locking.api import LockTimeout, LockUnavailable

    locks = make_locks(storage, project.home_dir)
    try:
        locks.acquire("doctor", timeout_s=0).release()
    except LockTimeout:
        pass  # another one looks at this moment, so they work
    except LockUnavailable as error:
        return "warning", f"builds go on without: {error}"
    finally:
        locks.close()
    return "ok", storage.synchronization or "files of this machine"


def _check_registry(storage: StorageOptions, address: str, is_needed: bool) -> tuple[Literal["ok", "warning", "error"], str]:
    from conveyor.cli.session import make_registry
    from stapel.errors import Unreachable

    try:
        count = sum(1 for _ in make_registry(address, storage, (), lambda message: None, is_patient=False).names())
    except Unreachable as error:
        if is_needed:
            raise
        return "warning", f"builds go on without: {error}"
    return "ok", f"answers, {count} names"
