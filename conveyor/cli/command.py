"""Commands and groups as click has them, with valued booleans, names of werf, and hints about misspelt commands."""

from __future__ import annotations

import os
import re

import click


class Command(click.Command):
    """A command whose boolean flags also take `--flag=true` and `--flag=false`, as scripts for Go tools pass them.

    Its flags are read from variables of werf, too (`conveyor.cli.werf_names`).
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Rewrite valued booleans to the form that click knows, up to a `--`."""
        parameters = self.get_params(ctx)
        args = _without_boolean_values(parameters, args)
        if not any(name.startswith("WERF_") for name in os.environ):
            return super().parse_args(ctx, args)
        from conveyor.cli.werf_names import werf_names

        with werf_names(ctx, parameters):
            return super().parse_args(ctx, args)


class Group(click.Group):
    """A group of such commands, which knows what a misspelt one was meant to be."""

    command_class = Command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does; a name that is none is answered with the nearest one."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-") and not ctx.resilient_parsing:
            from conveyor.config.suggestions import did_you_mean
            from conveyor.errors import printable

            hint = did_you_mean(name, self.list_commands(ctx)).replace("`", "'") or self.hint_for(name)
            ctx.fail(f"No such command '{printable(name)}'." + (f" {hint[0].upper()}{hint[1:]}" if hint else ""))
        return super().resolve_command(ctx, args)

    def hint_for(self, name: str) -> str:
        """What to do in place of a command that is not here; "" where nothing is known."""
        del name
        return ""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every command with its whole first sentence."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, _first_sentence(command.help or "")) for name, command in commands if command and not command.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", text.strip(), maxsplit=1)[0].replace("\n", " ")


def _without_boolean_values(parameters: list[click.Parameter], args: list[str]) -> list[str]:
    flags: dict[str, tuple[str, str]] = {}
    for parameter in parameters:
        if isinstance(parameter, click.Option) and parameter.is_bool_flag and parameter.secondary_opts:
            on = next(name for name in parameter.opts if name.startswith("--"))
            off = parameter.secondary_opts[0]
            flags[on], flags[off] = (on, off), (off, on)
    rewritten = list(args)
    for index, argument in enumerate(args):
        if argument == "--":
            break
        name, equals, value = argument.partition("=")
        if equals and name in flags:
            try:
                truth = click.BOOL.convert(value, None, None)
            except click.BadParameter as error:
                raise click.BadParameter(error.message, param_hint=f"'{name}'") from None
            rewritten[index] = flags[name][0 if truth else 1]
    return rewritten
