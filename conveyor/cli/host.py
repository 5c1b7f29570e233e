"""`conveyor host`: what conveyor keeps on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from conveyor.cli.command import Command, Group
from conveyor.cli.flags import PREFIX
from conveyor.cli.options import home_option

if TYPE_CHECKING:
    from conveyor.cleanup.choosing import Verdict
    from conveyor.cleanup.limits import Size
    from stapel.api import Upkeep

_T = TypeVar("_T")


@click.group("host", cls=Group)
def command() -> None:
    """Keep in bounds what conveyor keeps on this machine."""


def _limit(flag: str, default: str, metavar: str, help: str) -> Callable[[Any], Any]:
    twin = PREFIX + flag.removeprefix("--").replace("-", "_").upper()
    shown = bool(default)
    return click.option(flag, default=default, metavar=metavar, envvar=twin, show_envvar=True, show_default=shown, help=help)


_dry_run = click.option(
    "--dry-run/--no-dry-run",
    default=False,
    envvar="CONVEYOR_DRY_RUN",
    show_envvar=True,
    help="Remove nothing; say what would become of everything, and why.",
)


@command.command("cleanup", cls=Command)
@_limit("--allowed-size", "70%", "SIZE", "What the home may take (20GiB), or how full its volume may be (70%).")
@_limit("--min-free", "", "SIZE", "How much of the volume must be free: 10GiB, or 20%.")
@_limit("--keep-for", "", "DURATION", "Remove what was not used for so long too: 36h, 7d, 2w.")
@_dry_run
@home_option
def clean_up(allowed_size: str, min_free: str, keep_for: str, dry_run: bool, home_dir: Path) -> None:
    """Remove what nobody needs, and then what was not used for longest, until the home is within its limits."""
    from conveyor.cleanup.host import Limits, clean, decide, unneeded, volume_of
    from conveyor.cleanup.limits import parse_duration
    from conveyor.events.text import size_text

    limits = Limits(
        _read_size("--allowed-size", allowed_size),
        _read_size("--min-free", min_free),
        _read("--keep-for", keep_for, parse_duration) if keep_for else None,
    )
    with _open(home_dir) as upkeep:
        for what in unneeded(upkeep):
            click.echo(f"remove  {what}  (nobody needs it)")
        if dry_run:
            for verdict in decide(home_dir, upkeep, limits):
                click.echo(_line(verdict))
            return
        free_before = volume_of(home_dir).free_bytes
        clean(home_dir, upkeep, limits, lambda verdict: click.echo(_line(verdict)))
        freed = max(volume_of(home_dir).free_bytes - free_before, 0)
    click.echo(f"freed {size_text(freed)} of the volume", err=True)


@command.command("purge", cls=Command)
@click.option(
    "--force/--no-force",
    default=False,
    envvar="CONVEYOR_FORCE",
    show_envvar=True,
    help="Purge although a command of this home is running; it will fail.",
)
@_dry_run
@home_option
def purge_home(force: bool, dry_run: bool, home_dir: Path) -> None:
    """Remove everything that conveyor keeps on this machine: stages of the sandbox, logs, caches, mounts of builds.

    It does not ask. Images in the Docker Engine and in registries stay.
    """
    from conveyor.cleanup.host import purge, purgeable
    from conveyor.cli.session import open_upkeep
    from conveyor.errors import UsageError

    if dry_run:
        for path in purgeable(home_dir):
            click.echo(path)
        return
    with open_upkeep(home_dir, _warn) as opened:
        if opened.others and not force:
            raise UsageError(
                f"{len(opened.others)} other commands are running with the home {home_dir}",
                reason="home_in_use",
                hint="wait for them, or --force",
            )
        purge(home_dir, opened.upkeep)
    click.echo(f"purged {home_dir}; images in the Docker Engine are left: `docker image rm` removes them", err=True)


@command.command("fsck", cls=Command)
@click.option(
    "--repair/--no-repair",
    default=False,
    envvar="CONVEYOR_REPAIR",
    show_envvar=True,
    help="Remove what is broken, so that it is built or fetched again.",
)
@home_option
def check(repair: bool, home_dir: Path) -> None:
    """Look whether the sandbox's store is whole: names, images, the files of every layer, bytes of others.

    Exit status 1 where something is broken, and not repaired.
    """
    left = 0
    found = 0
    with _open(home_dir) as upkeep:
        for fault in upkeep.check(mend=repair):
            found += 1
            left += not fault.is_mended
            click.echo(f"{'removed' if fault.is_mended else 'broken'}: {fault.what}")
        count = len(upkeep.images())
    click.echo(f"{count} images, {left} faults" + (f", {found - left} removed" if found > left else ""), err=True)
    if left:
        raise click.exceptions.Exit(1)


@contextmanager
def _open(home_dir: Path) -> Iterator[Upkeep]:
    from conveyor.cli.session import open_upkeep

    with open_upkeep(home_dir, _warn) as opened:
        yield opened.upkeep


def _read_size(flag: str, text: str) -> Size | None:
    from conveyor.cleanup.limits import parse_size

    return _read(flag, text, parse_size) if text else None


def _read(flag: str, text: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=f"'{flag}'") from None


def _line(verdict: Verdict) -> str:
    from conveyor.events.text import size_text

    item = verdict.item
    size = size_text(verdict.freed_bytes if verdict.goes else item.size_bytes)
    return f"{'remove' if verdict.goes else 'keep':<6}  {item.kind:<16}  {size:>10}  {item.name}  ({verdict.why})"


def _warn(message: str) -> None:
    click.echo(f"Warning: {message}", err=True)
