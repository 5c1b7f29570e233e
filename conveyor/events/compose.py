"""Chooses the view that a user asked for, or that fits where the output goes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Literal, TextIO

from conveyor.events.api import Event, ImageFailed, ImageMissing, Reporter, Warned
from conveyor.events.output import Output
from conveyor.events.text import Look


def make_reporter(
    *,
    log_format: Literal["auto", "plain", "json"],
    color_mode: Literal["auto", "on", "off"],
    quiet: bool,
    verbose: bool,
    debug: bool,
    env: Mapping[str, str],
    live: bool = True,
    stream: TextIO | None = None,
) -> Reporter:
    """The view for a run. `stream` None: stdout for JSON lines, which are data; stderr for the others, which are talk.

    The live view needs a terminal that is not dumb and no CI system (`CI` set, and not to `false` or `0`); plain lines take
    its place, and with `live` False always: for runs that open a shell on the terminal. Colours, where the mode is `auto`,
    need such a terminal too, and `NO_COLOR` to be empty or absent.
    """
    view: Reporter
    if log_format == "json":
        from conveyor.events.jsonlines import JsonLinesView

        view = JsonLinesView(Output(stream or sys.stdout))
    else:
        target = stream or sys.stderr
        capable = _is_terminal(target) and env.get("TERM", "dumb") != "dumb"
        colors = color_mode == "on" or (color_mode == "auto" and capable and not _in_ci(env) and not env.get("NO_COLOR"))
        look = Look(colors=colors, verbose=verbose or debug, debug=debug)
        if log_format == "auto" and live and capable and not _in_ci(env) and not quiet:
            from conveyor.events.terminal import TerminalView

            view = TerminalView(Output(target), look)
        else:
            from conveyor.events.plain import PlainView

            view = PlainView(Output(target), look)
    return QuietView(view) if quiet else view


class QuietView:
    """A `Reporter` that hands another one failures and warnings, and nothing else."""

    __slots__ = ("_view",)

    def __init__(self, view: Reporter) -> None:
        self._view = view

    def __call__(self, event: Event) -> None:
        """Pass the event on, or not."""
        if isinstance(event, ImageFailed | ImageMissing | Warned):
            self._view(event)

    def close(self) -> None:
        """Close the view."""
        self._view.close()


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


def _in_ci(env: Mapping[str, str]) -> bool:
    return env.get("CI", "").lower() not in ("", "0", "false", "no")
