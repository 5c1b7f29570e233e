"""The view that a command line asks for."""

from __future__ import annotations

import os
from typing import TextIO

from conveyor.cli.option_values import LogOptions
from conveyor.events.api import Reporter
from conveyor.events.compose import make_reporter


def make_view(log: LogOptions, *, live: bool = True, stream: TextIO | None = None) -> Reporter:
    """See `make_reporter`."""
    return make_reporter(
        log_format=log.format,
        color_mode=log.color_mode,
        quiet=log.quiet,
        verbose=log.verbose,
        debug=log.debug,
        env=os.environ,
        live=live,
        stream=stream,
    )
