"""A build whose command line was read before: click, and what it reads with, take a tenth of the time of a small build.

What flags say depends on the arguments, the directory, variables and the version of the tool alone, and a record is of the
same of all (`conveyor.cli.confirm.describe_command`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from msgspec import ValidationError

from conveyor.cli.build_run import run_build
from conveyor.cli.ending import run_told
from conveyor.cli.option_values import read_again


def build_again(record: Mapping[str, Any]) -> int | None:
    """Build what a record says was asked, and tell errors; the status, None where it does not say that."""
    try:
        command = read_again(record["asked"])
    except (KeyError, ValidationError):
        return None
    sys.stderr.write(command.told)
    return run_told(partial(run_build, command))
