"""Memory of the process and of all that it starts."""

from __future__ import annotations

import sys

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


# What starts a process lends it its own size until that runs another program: so a small one starts it.
_LAUNCHER = """
import os
null = os.open(os.devnull, os.O_WRONLY)
actions = [(os.POSIX_SPAWN_DUP2, null, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
_, status, usage = os.wait4(os.posix_spawnp("conveyor", ["conveyor", "build"], os.environ, file_actions=actions), 0)
print(usage.ru_maxrss if status == 0 else 0)
"""


def _peak_mib(project: Project) -> float:
    peak_kib = project.harness.call(sys.executable, "-S", "-c", _LAUNCHER, cwd=project.directory)
    assert int(peak_kib), "the build has failed"
    return int(peak_kib) / 1024
