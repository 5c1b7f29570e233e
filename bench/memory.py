"""Memory of the process and of all that it starts."""

from __future__ import annotations

import os
import subprocess

from bench.first_build import make_repository
from bench.harness import Harness, Project
from bench.nothing import many_images


def measure(harness: Harness) -> None:
    """The largest resident size of conveyor: many images, and the first build of a large repository."""
    many = Project(harness, "many", *many_images(harness.images))
    large = make_repository(harness, harness.files)
    for what, project in (
        (f"first build of {harness.images} images", many),
        (f"first build of {harness.files} files", large),
    ):
        print(f"   {what:<44} {_peak_mib(project):9.0f} MiB", flush=True)
    print(f"   {'nothing to do, confirmed':<44} {_peak_mib(many):9.0f} MiB", flush=True)


def _peak_mib(project: Project) -> float:
    unheard = subprocess.DEVNULL
    process = subprocess.Popen(
        ["conveyor", "build"], cwd=project.directory, env=project.harness.env, stdout=unheard, stderr=unheard
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024
