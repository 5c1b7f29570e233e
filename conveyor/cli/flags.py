"""The kinds of flags, and groups of them that hand a command one value.

Every flag has a twin in the environment, `CONVEYOR_<FLAG>`; the flag wins over the twin, the twin over the default, and an
empty twin is an absent one. A list flag reads every variable `CONVEYOR_<FLAG>` and `CONVEYOR_<FLAG>_<ANYTHING>`, sorted by
name, and puts their values before those of the command line. A boolean flag has a `--no-` form, so that a command line can
take back what the environment says; `--flag=true` and `--flag=false` are understood too. Where no twin is set, that of werf
(`WERF_<FLAG>`) is read.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

import click

PREFIX = "CONVEYOR_"

AnyCommand = Callable[..., Any]
Decorator = Callable[[AnyCommand], AnyCommand]


class _Flag(click.Option):
    """A boolean; its `--no-` form is not listed in the help, it would double it."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        if record is None or (self.default is True):
            return record
        return ", ".join(sorted(self.opts, key=len)), record[1]


def _twin(flag: str) -> str:
    return PREFIX + flag.removeprefix("--").replace("-", "_").upper()


def value_flag(
    flag: str,
    help: str,
    *,
    short: str = "",
    twins: tuple[str, ...] = (),
    **attributes: Any,  # noqa: ANN401 - whatever click.option takes
) -> Decorator:
    """A flag with a value, a text where `attributes` say nothing else. `twins`: of other names, read after its own."""
    names = [short, flag] if short else [flag]
    attributes.setdefault("default", "")
    attributes.setdefault("show_default", bool(attributes["default"]))
    return click.option(*names, help=help, envvar=[_twin(flag), *twins], show_envvar=True, **attributes)


class Joined(click.Option):
    """A text that may be given in pieces, by a flag that is repeated."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:  # noqa: ANN401 - click's parser has no public name
        """Keep every piece."""
        del ctx
        parser.add_option(obj=self, opts=self.opts, dest=self.name, action="append", nargs=1)

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:  # noqa: ANN401 - as click has it
        """One text, with commas between."""
        return super().type_cast_value(ctx, ",".join(value) if isinstance(value, list) else value)


def switch(flag: str, help: str, *, short: str = "", default: bool = False) -> Decorator:
    """A boolean flag with its `--no-` form."""
    names = [short] if short else []
    shown = "on" if default else False
    both = f"{flag}/--no-{flag.removeprefix('--')}"
    return click.option(
        *names, both, help=help, cls=_Flag, default=default, envvar=_twin(flag), show_envvar=True, show_default=shown
    )


def list_flag(flag: str, help: str, *, metavar: str, into: str) -> Decorator:
    """A flag that may be repeated; the command is handed a tuple by the name `into`."""

    def with_environment(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
        return values_of_environment(os.environ, _twin(flag)) + tuple(value)

    help = f"{help} May be repeated.  [env var: {_twin(flag)}_*]"
    return click.option(flag, into, multiple=True, metavar=metavar, help=help, callback=with_environment)


def values_of_environment(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The non-empty values of `name` and of all variables `<name>_<anything>`, in the order of the variables' names."""
    names = sorted(key for key in env if key == name or key.startswith(name + "_"))
    return tuple(env[key] for key in names if env[key])


def flag_group(name: str, options: list[Decorator], make: Callable[[dict[str, Any]], Any]) -> Decorator:
    """Flags that a command is handed as one value, by `name`; `make` makes it of theirs."""
    keys = [parameter.name for parameter in _parameters(options)]

    def decorate(command: AnyCommand) -> AnyCommand:
        @functools.wraps(command)
        def call(*args: object, **kwargs: object) -> object:
            return command(*args, **{name: make({key: kwargs.pop(key) for key in keys})}, **kwargs)

        for option in reversed(options):
            option(call)
        return call

    return decorate


def _parameters(options: list[Decorator]) -> list[click.Parameter]:
    def nothing() -> None: ...

    for option in options:
        option(nothing)
    return list(getattr(nothing, "__click_params__", []))
