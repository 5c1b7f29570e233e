"""Builds in the sandbox that are killed at every point but those of other engines: the next one makes good what is left."""

import os
import re
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from samples.make_base import busybox_archive, find_busybox
from stapel.runs import home_label
from tests.trace_points import Plan, points_of

APP = """\
image: app
from: test/busybox:1
git:
- add: /src
  to: /app
  stageDependencies: {setup: "*"}
shell:
  beforeInstall: echo one >/one
  setup: cat /app/a >/two
"""
# Not on the way of a build in a home where the first one is behind it: these are of an engine's start.
ONCE = {"seccomp.before-rename", "stub.before-rename"}


@pytest.fixture
def project(make_project, tmp_path):
    project = make_project(APP, {"src/a": "0"})
    project.env["CONVEYOR_ENGINE"] = "sandbox"
    archive = tmp_path / "busybox.tar"
    archive.write_bytes(busybox_archive(find_busybox()))
    assert project.conveyor("image", "import", "test/busybox:1", str(archive)).status == 0
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    project.options = ["--add-custom-tag", "v-%image%", "--ssh-key", str(key)]
    return project


def build(project, tmp_path, *at, log=False):
    directory = tmp_path / f"plan-{secrets.token_hex(4)}"
    directory.mkdir()
    plan = Plan(directory, at, log=log)
    command = plan.command("build", "--save-build-report", *project.options)
    env = {**project.env, **plan.env()}
    ran = subprocess.run(command, cwd=project.directory, env=env, capture_output=True, text=True, timeout=120, check=False)
    return ran, plan.points()


def processes_of(home):
    """Command lines that name a home: workers, agents."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(home) in line or home_label(home).encode() in line:
                found.append(line)
    return found


def stages(home):
    """The names of all stored stages."""
    names = [path.name for path in (home / "sandbox/names").rglob("*")]
    return {name for name in names if re.fullmatch(r"[0-9a-f]{56}-\d{13}-[0-9a-f]{8}", name)}


def test_a_build_killed_anywhere_is_made_good_by_the_next(project, tmp_path):
    home = Path(project.env["CONVEYOR_HOME_DIR"])
    first, reached = build(project, tmp_path, log=True)
    assert first.returncode == 0, first.stderr
    assert set(points_of("sandbox")) - set(reached) <= ONCE
    for number, point in enumerate(dict.fromkeys(reached)):
        if point in ONCE:
            continue
        if point.startswith("toolchain."):
            shutil.rmtree(home / "toolchain")
        project.change("src/a", f"change {number}")
        before = stages(home)
        killed, _ = build(project, tmp_path, (point, 1, "kill"))
        assert killed.returncode == -signal.SIGKILL, (point, killed.stderr)
        stored = stages(home)
        # What the second and the third have to do does not depend on the point, so they are run at every fourth.
        names = [project.build(*project.options).names() for _ in range(3 if number % 4 == 0 else 1)]
        assert names == [names[0]] * len(names), point
        used = {name.rpartition(":")[2] for name in names[0]}
        assert stored <= stages(home), point
        assert len(stages(home) - before - used) <= 1, point
        assert processes_of(home) == [], point
        for place in ("sandbox/filling", "sandbox/pins", "sandbox/work", "runs"):
            assert list((home / place).iterdir()) == [], point
        assert list(Path("/tmp").glob(f"conveyor-{home_label(home)}-*")) == [], point
        assert list(project.directory.glob(".*.tmp")) == [], point
    assert project.conveyor("host", "fsck").status == 0
    left = [path for path in (home / "sandbox").glob("*/*") if path.name.startswith(".") and path.name != ".lock"]
    assert left == []
