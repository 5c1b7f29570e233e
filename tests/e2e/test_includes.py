"""A project whose configuration comes from another repository."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from tests.e2e.conftest import MakeProject
from tests.trace_points import Plan, trace_points
from tests.unit.gitrepo.repositories import make_place

INCLUDES = """\
includes:
- {git: URL, branch: main, add: /, to: /, includePaths: [werf.yaml, .werf, texts]}
"""
WERF = """\
configVersion: 1
project: NAME
---
image: app
from: scratch
git: [{to: /app, includePaths: [file]}]
docker:
  LABEL: {text: {{ .Files.Get "texts/a" | trim | quote }}, by: {{ include "by" . }}, old: {{ include ".werf/plain" . }}}
"""


def test_a_configuration_from_elsewhere(make_project: MakeProject, tmp_path: Path, monkeypatch) -> None:
    """Refused without a lock, the same until the lock is written anew, own files first."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@b")
    common = make_place(tmp_path / "common")
    project = make_project(files={"file": "1\n", "werf-includes.yaml": INCLUDES.replace("URL", f"file://{common.path}")})
    common.write("werf.yaml", WERF.replace("NAME", project.name))
    common.write(".werf/by.tmpl", '{{ define "by" }}first{{ end }}')
    common.write(".werf/plain", "whole path")
    common.write("texts/a", "included\n")
    common.write("unused", "x\n")
    common.commit()

    refused = project.build("--engine", "sandbox", status=2).run.stderr
    assert "werf-includes.yaml:2:3" in refused
    assert "conveyor includes update" in refused
    updated = project.conveyor("includes", "update")
    assert updated.status == 0, updated.output
    uncommitted = project.build("--engine", "sandbox", status=2).run.stderr
    assert "werf-includes.lock" in uncommitted
    assert "must be committed" in uncommitted
    project.commit()

    def rendered(*arguments: str) -> str:
        ran = project.conveyor("config", "render", *arguments)
        assert ran.status == 0, ran.output
        return ran.stdout

    assert 'text: "included", by: first, old: whole path' in rendered()
    assert project.build("--engine", "sandbox").built == {"app": ["from", "gitArchive", "dockerInstructions"]}
    listed = project.conveyor("includes", "ls-files", "--filter", f"source=file://{common.path}").stdout.split("\n")
    assert [line.split()[0] for line in listed if line] == ["PATH", ".werf/by.tmpl", ".werf/plain", "texts/a", "werf.yaml"]
    assert "file" in project.conveyor("includes", "ls-files", "--filter=source=local").stdout
    assert project.conveyor("includes", "get-file", "texts/a").stdout == "included\n"
    missing = project.conveyor("includes", "get-file", "unused")
    assert missing.status == 2
    assert "not found" in missing.stderr

    common.write(".werf/by.tmpl", '{{ define "by" }}second{{ end }}')
    newest = common.commit()
    assert "by: first" in rendered()
    forbidden = project.conveyor("config", "render", "--allow-includes-update")
    assert forbidden.status == 2
    assert "--allow-includes-update option is not allowed" in forbidden.stderr
    project.change("werf-giterminism.yaml", "giterminismConfigVersion: 1\nincludes: {allowIncludesUpdate: true}\n")
    assert "by: second" in rendered("--allow-includes-update")
    assert "by: first" in rendered()
    assert project.conveyor("includes", "update").status == 0
    assert newest in (project.directory / "werf-includes.lock").read_text()
    project.change("texts/a", "own\n")
    assert 'text: "own", by: second' in rendered()

    # What is fixed needs no server.
    common.path.rename(tmp_path / "gone")
    assert "by: second" in rendered()


def test_a_clone_that_is_killed_anywhere_is_made_good_by_the_next_command(make_project: MakeProject, tmp_path: Path) -> None:
    """Each time something new is to be fetched, and the process ends at a point of it."""
    common = make_place(tmp_path / "common")
    common.git("config", "uploadpack.allowFilter", "true")
    common.git("config", "user.name", "a")
    common.git("config", "user.email", "a@b")
    project = make_project(files={"werf-includes.yaml": INCLUDES.replace("URL", f"file://{common.path}")})
    points = [point for point in trace_points() if point.startswith("clone.")]
    kills = [(point, count) for point in points for count in (1, 2) if count == 1 or point.endswith("-fetch")]
    for number, (point, count) in enumerate(kills):
        if point == "clone.before-rename":
            shutil.rmtree(project.home / "conveyor" / "clones")
        common.write("texts/a", f"{number}\n")
        commit = common.commit()
        lock = f"includes:\n- git: file://{common.path}\n  branch: main\n  commit: {commit}\n"
        project.change("werf-includes.lock", lock)
        plan = Plan(tmp_path / f"plan-{number}", ((point, count, "kill"),))
        plan.directory.mkdir()
        command = plan.command("includes", "get-file", "texts/a")
        killed = subprocess.run(command, cwd=project.directory, env={**project.env, **plan.env()}, capture_output=True)
        assert killed.returncode == -signal.SIGKILL, (point, count, killed.stderr)
        again = project.conveyor("includes", "get-file", "texts/a")
        assert (again.status, again.stdout) == (0, f"{number}\n"), (point, again.output)
    (clone,) = (project.home / "conveyor" / "clones").iterdir()
    assert not [path for path in clone.rglob("*") if path.name.endswith(".lock") or path.name.startswith("tmp_")]
