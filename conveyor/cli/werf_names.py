"""Variables by their names in werf: `WERF_<FLAG>` is read where neither `CONVEYOR_<FLAG>` nor the flag is given.

A team that comes from werf has them in its pipelines. Values keep werf's meaning: a boolean that is none counts as not set,
a list is read from `WERF_<FLAG>_*` alone, in the order of its lines `NAME=value`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import click
from click.core import ParameterSource

from conveyor.cli.confirm import home_below

_OURS, _WERFS = "CONVEYOR_", "WERF_"
_HOME = "WERF_HOME"
_TRUE, _FALSE = ("1", "true", "yes"), ("0", "false", "no")
_META = "conveyor.cli.werf_names"


@contextmanager
def werf_names(ctx: click.Context, options: Sequence[click.Parameter]) -> Iterator[None]:
    """While a command line is read, variables of werf stand in for ours that are not set. Which ones is told on stderr."""
    given: dict[str, str] = {}
    used: dict[str, list[str]] = {}  # parameter -> variables of werf
    left_out: list[str] = []
    for option in options:
        if isinstance(option, click.Option) and option.name:
            found, ignored = _of_option(option, os.environ)
            given |= found
            left_out += ignored
            if found:
                used[option.name] = list(_sources(option, os.environ))
    os.environ.update(given)
    try:
        yield
        lists = {option.name for option in options if isinstance(option, click.Option) and option.multiple}
        typed = {name for name in used if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE}
        names = [name for parameter in used if parameter not in typed - lists for name in used[parameter]]
    except click.ClickException:
        names = [name for sources in used.values() for name in sources]
        raise
    finally:
        for name in given:
            del os.environ[name]
        _tell(ctx, sorted(names), left_out)


def told(ctx: click.Context) -> str:
    """The line that was told, for builds that are remembered; "" where there was none."""
    return str(ctx.find_root().meta.get(_META, ""))


def _tell(ctx: click.Context, names: Sequence[str], left_out: Sequence[str]) -> None:
    if ctx.params.get("log_quiet") or ctx.resilient_parsing or not (names or left_out):
        return
    parts = [f"read {', '.join(names)} (CONVEYOR_... of the same name would win)"] if names else []
    parts += [f"left out {', '.join(left_out)}, whose value means nothing here"] if left_out else []
    line = f"Variables of werf: {'; '.join(parts)}\n"
    ctx.find_root().meta[_META] = line
    click.echo(line, err=True, nl=False)


def _of_option(option: click.Option, environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What stands in for the variables of a flag, and the variables whose value has no meaning here."""
    flag = _flag_name(option)
    if not flag or _is_set(option, flag, environment):
        return {}, []
    sources = _sources(option, environment)
    if option.multiple:
        lines = sorted(f"{name}={value}" for name, value in sources.items())
        return {f"{_OURS}{flag}_{number:06}": line.partition("=")[2] for number, line in enumerate(lines)}, []
    for name, value in sources.items():
        known = _value(option, value)
        if known is None:
            return {}, [name]
        if known:
            return {f"{_OURS}{flag}": known}, []
    return {}, []


def _value(option: click.Option, value: str) -> str | None:
    """A value as our flag takes it; "" where it changes nothing, None where we have nothing for it."""
    if option.is_flag:
        changing = _FALSE if option.default is True else _TRUE
        return value if value.lower() in changing else ""
    if option.name == "home_dir":
        return home_below(value)
    if option.name == "synchronization" and value.startswith(("http://", "https://", "kubernetes://")):
        return None
    return value


def _flag_name(option: click.Option) -> str:
    long = next((name for name in option.opts if name.startswith("--")), "")
    return long.removeprefix("--").replace("-", "_").upper()


def _is_set(option: click.Option, flag: str, environment: Mapping[str, str]) -> bool:
    ours = _OURS + flag
    if option.multiple:
        return any(value and (name == ours or name.startswith(ours + "_")) for name, value in environment.items())
    twins = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
    return any(environment.get(name) for name in (ours, *(twin for twin in twins if twin.startswith(_OURS))))


def _sources(option: click.Option, environment: Mapping[str, str]) -> dict[str, str]:
    """The variables of werf for a flag that are set."""
    if option.name == "home_dir":
        names = [_HOME]
    elif option.multiple:
        prefix = f"{_WERFS}{_flag_name(option)}_"
        names = [name for name in environment if name.startswith(prefix)]
    else:
        names = [_WERFS + _flag_name(option)]
    return {name: environment[name] for name in names if environment.get(name)}
