"""Two builds, as processes over real storages, stopped at points of saving: each reports what is selected afterwards.

Every pair of points is tried in `tests/unit/build/test_convergence.py`; these are the pairs that hurt, and the clock of the
whole process.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.projects import REPORT, Project
from tests.trace_points import Plan

HOUR_MS = 3_600_000
TIMEOUT_S = 300
APP = """\
image: app
from: BUSYBOX
shell:
  install: cat /proc/sys/kernel/random/uuid > /first
  setup: cat /proc/sys/kernel/random/uuid > /second
"""


@dataclass
class Builder:
    """A build in a clone of its own that waits at a point."""

    clone: Path
    plan: Plan
    point: str
    process: subprocess.Popen[str]

    def end(self) -> list[str]:
        """Let it go on to its end; the stages that it reports."""
        self.plan.go_on(self.point)
        output, _ = self.process.communicate(timeout=TIMEOUT_S)
        assert self.process.returncode == 0, output
        images = json.loads((self.clone / REPORT).read_text())["Images"]
        return [stage["DockerImageName"] for image in images.values() for stage in image["Stages"]]


def start(project: Project, home: str, point: str, clock_ms: int, *arguments: str) -> Builder:
    clone = project.directory.parent / f"clone-{secrets.token_hex(4)}"
    project.git("clone", "--quiet", str(project.directory), str(clone))
    plan = Plan(clone.with_name(f"{clone.name}-plan"), [(point, 1, "wait")], clock_ms)
    plan.directory.mkdir()
    env = {**project.env, **plan.env(), "CONVEYOR_HOME_DIR": str(project.home / home)}
    process = subprocess.Popen(
        plan.command("build", "--save-build-report", *arguments),
        cwd=clone,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    plan.await_stop(point, timeout_s=TIMEOUT_S)
    return Builder(clone, plan, point, process)


# Both homes have locks of their own: neither knows of the other. One home: the second waits for the first.
@pytest.mark.parametrize(
    ("stored_in", "homes", "first", "second", "ends_first", "clock_ms"),
    [
        ("engine", "AA", "save.before-name", "save.before-lock", "A", 0),
        ("engine", "AB", "save.before-name", "save.after-name", "B", -HOUR_MS),
        ("registry", "AB", "save.after-list", "build.after-confirm", "B", HOUR_MS),
        # A name is on its way until the other one is about to confirm what it has found.
        ("registry", "AB", "manifest.before-name", "build.before-confirm", "A", HOUR_MS),
    ],
)
def test_two_builds_that_are_stopped_report_what_is_selected(
    make_project, images, registry, stored_in, homes, first, second, ends_first, clock_ms
):
    project = make_project(APP)
    arguments = ["--repo", f"{registry.host}/converge-{secrets.token_hex(4)}"] if stored_in == "registry" else []
    a = start(project, homes[0], first, 0, *arguments)
    b = start(project, homes[1], second, clock_ms, *arguments)
    reported = [builder.end() for builder in ((a, b) if ends_first == "A" else (b, a))]
    selected = project.build("--require-built-images", *arguments).names()
    assert reported == [selected] * 2
    # What was discarded has left no image without a name.
    left = images.client.images(filters={"dangling": ["true"], "label": ["dev.conveyor.stage"]})
    facts = [json.loads(image["Labels"]["dev.conveyor.stage"]) for image in left if not image.get("RepoDigests")]
    assert [one["stage"] for one in facts if one["project"] == project.name] == []
