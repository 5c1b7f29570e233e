"""Several builders at one commit: what each reports is what everybody selects afterwards."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections import Counter

import pytest

from tests.e2e.projects import REPORT

RANDOM = "cat /proc/sys/kernel/random/uuid"
APP = f"""\
image: app
from: BUSYBOX
git: [{{add: /src, to: /app}}]
shell:
  beforeInstall: {RANDOM} > /first
  install: sleep 0.3; {RANDOM} > /second
  setup: {RANDOM} > /third
---
image: user
from: app
shell: {{setup: "{RANDOM} > /fourth"}}
"""
BUILDERS = 4


def build_at_once(project, homes, *arguments):
    """Start builders, each in a clone of its own; the names of all stages that each of them reports."""
    started = []
    for number in range(BUILDERS):
        clone = project.directory.parent / f"clone-{secrets.token_hex(4)}"
        project.git("clone", "--quiet", str(project.directory), str(clone))
        env = {**project.env, "CONVEYOR_HOME_DIR": str(project.home / f"conveyor-{number % homes}")}
        command = project.command("build", "--save-build-report", *arguments)
        process = subprocess.Popen(
            command, cwd=clone, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        started.append((clone, process))
    reported = []
    for clone, process in started:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output.decode(errors="replace")
        images = json.loads((clone / REPORT).read_text())["Images"]
        reported.append([stage["DockerImageName"] for image in images.values() for stage in image["Stages"]])
    return reported


@pytest.mark.parametrize("homes", [1, BUILDERS])
def test_builders_on_one_engine_agree(make_project, images, homes):
    project = make_project(APP, {"src/a": "a"})
    reported = build_at_once(project, homes)
    assert all(names == reported[0] for names in reported)
    assert project.build("--require-built-images").names() == reported[0]
    if homes == 1:  # one lock for all: each stage was saved once
        digests = Counter(name.rpartition(":")[2].partition("-")[0] for name in images.names(project.name))
        assert set(digests.values()) == {1}


@pytest.mark.parametrize("homes", [1, BUILDERS])
def test_builders_on_one_registry_agree(make_project, registry, homes):
    project = make_project(APP, {"src/a": "a"})
    address = f"{registry.host}/{secrets.token_hex(4)}/app"
    reported = build_at_once(project, homes, "--repo", address)
    assert all(names == reported[0] for names in reported)
    assert project.build("--repo", address, "--require-built-images").names() == reported[0]
