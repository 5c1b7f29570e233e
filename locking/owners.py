"""Who holds a lock, as it is told to those who wait for it."""

from __future__ import annotations

import os

_JOB_VARIABLES = ("CI_JOB_URL", "BUILD_URL")


def describe_owner() -> str:
    """This process: its host, its number, and the address of its CI job where the environment names one."""
    job = next((os.environ[name] for name in _JOB_VARIABLES if os.environ.get(name)), "")
    if not job and os.environ.get("GITHUB_RUN_ID"):
        server, repository = os.environ.get("GITHUB_SERVER_URL", ""), os.environ.get("GITHUB_REPOSITORY", "")
        job = f"{server}/{repository}/actions/runs/{os.environ['GITHUB_RUN_ID']}"
    return f"{os.uname().nodename} pid {os.getpid()}" + (f" {job}" if job else "")
