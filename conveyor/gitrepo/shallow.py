"""Fetching the history that a shallow clone has left out."""

from __future__ import annotations

import os
import time

from conveyor.gitrepo.discovery import Found
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.processes import run_git

_FETCH_TIMEOUT_S = 1800.0
_LOCK_POLL_S = 0.2


def unshallow(found: Found) -> bool:
    """Fetch the whole history from origin, once, asking nobody anything; whether it is complete now.

    Another run of the same clone may do the same: then the end of that one is awaited.
    """
    from subprocess import TimeoutExpired

    end_s = time.monotonic() + _FETCH_TIMEOUT_S
    try:
        run_git(
            [
                b"--git-dir=" + found.git_dir,
                b"-c",
                b"gc.auto=0",
                b"-c",
                b"maintenance.auto=false",
                b"fetch",
                b"--quiet",
                b"--unshallow",
                b"--no-recurse-submodules",
                b"origin",
            ],
            environment=git_environment(),
            timeout_s=_FETCH_TIMEOUT_S,
            detached=True,
        )
    except TimeoutExpired:
        return False
    boundary = os.path.join(found.common_dir, b"shallow")
    while os.path.exists(boundary) and os.path.exists(boundary + b".lock") and time.monotonic() < end_s:
        time.sleep(_LOCK_POLL_S)
    return not os.path.exists(boundary)
