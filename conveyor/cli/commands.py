"""The command `conveyor`: a group whose commands are imported when they are called, for start-up time is a feature."""

from __future__ import annotations

import importlib

import click

from conveyor import __version__
from conveyor.cli.command import Group
from conveyor.cli.ending import run_told

_COMMANDS = {
    "build": "conveyor.cli.build",
    "completion": "conveyor.cli.completion",
    "config": "conveyor.cli.config",
    "doctor": "conveyor.cli.doctor",
    "export": "conveyor.cli.export",
    "host": "conveyor.cli.host",
    "image": "conveyor.cli.image",
    "includes": "conveyor.cli.includes",
    "logs": "conveyor.cli.logs",
    "run": "conveyor.cli.run",
    "stages": "conveyor.cli.stages",
    "version": "conveyor.cli.version",
}

_OF_WERF = ("bundle", "converge", "dismiss", "helm", "kube-run", "kubectl", "lint", "plan", "render", "rollback")


class _Lazy(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name])
        command: click.Command = module.command
        return command

    def hint_for(self, name: str) -> str:
        """Where a command is that another tool has at the top."""
        if name == "help":
            return "conveyor --help tells of all commands, conveyor COMMAND --help of one."
        for group in _COMMANDS:
            command = self.get_command(click.Context(self), group)
            if isinstance(command, Group) and name in command.commands:
                return f"did you mean 'conveyor {group} {name}'?"
        return "it is one of werf's: conveyor builds images, and does not deploy them." if name in _OF_WERF else ""


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(version)s")
def conveyor() -> None:
    """Build container images whose only input is a git commit."""


def run() -> int:
    """Run the command that the command line names; its status. A user's error is shown without a traceback."""
    return run_told(_run)


def _run() -> int:
    try:
        # Without its standalone mode click gives the status of `Exit` as the result.
        result = conveyor.main(prog_name="conveyor", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    return result if isinstance(result, int) else 0
