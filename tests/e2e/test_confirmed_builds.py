"""Builds with nothing to do: confirmed where nothing has changed, and going the usual way where anything has."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.e2e.projects import REPORT

WERF_YAML = """\
image: app
from: BUSYBOX
git: [{add: /src, to: /app}]
shell: {setup: cat /app/a > /b}
"""
FILES = {"src/a": "a\n", "other/b": "b\n"}

pytestmark = pytest.mark.docker


def confirm(project, *arguments, env=None):
    """What `conveyor` would print of its own accord; None where it would go the usual way."""
    program = """
import sys
from conveyor.cli.confirm import confirm, recall
record = recall(sys.argv[1:])
sys.exit(0 if record is not None and confirm(sys.argv[1:], record) else 9)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=project.directory,
        env={**project.env, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert ran.returncode in (0, 9), ran.stderr
    assert not ran.stdout
    return ran.stderr.decode() if ran.returncode == 0 else None


def forget(project):
    for record in (project.home / "conveyor/remembered").iterdir():
        record.unlink()


def without_times(text):
    return re.sub(r"\d+\.\d+ seconds", "N seconds", text)


def test_it_says_what_a_build_with_nothing_to_do_says(make_project):
    project = make_project(WERF_YAML, FILES)
    for arguments in (["--save-build-report"], ["--log-verbose", "--build-report-path", "report.env"], ["--log-quiet"]):
        env = {"WERF_ENV": "stage"} if "--log-verbose" in arguments else {}
        path = project.directory / ("report.env" if "report.env" in arguments else REPORT)
        project.conveyor("build", *arguments, env=env)
        path.unlink(missing_ok=True)
        said = confirm(project, "build", *arguments, env=env)
        report = path.read_text() if path.exists() else ""
        forget(project)
        usual = project.conveyor("build", *arguments, env=env)
        assert said is not None
        assert ("read WERF_ENV" in said) == bool(env)
        assert without_times(said) == without_times(usual.stderr)
        if "--log-quiet" not in arguments:
            assert re.sub(r'("BuildTime": )"[\d.]+"', r"\1", report) == re.sub(
                r'("BuildTime": )"[\d.]+"', r"\1", path.read_text()
            )
            path.unlink()


def test_what_has_changed_goes_the_usual_way(make_project):
    project = make_project(WERF_YAML, FILES)
    built = project.build()
    confirmed = ("build", "--save-build-report")
    assert confirm(project, *confirmed) is not None
    # It is written over a file that counts as no change.
    assert json.loads((project.directory / REPORT).read_text())["Images"]["app"]["Rebuilt"] is False

    project.write("other/b", "what no image uses\n")
    project.write("other/c", "untracked\n")
    assert confirm(project, *confirmed) is not None
    project.write("src/a", "changed\n")
    assert confirm(project, *confirmed) is None
    project.git("checkout", "src/a")
    project.write("src/untracked", "")
    assert confirm(project, *confirmed) is None
    project.remove("src/untracked")
    project.write("werf.yaml", (project.directory / "werf.yaml").read_text() + "\n")
    assert confirm(project, *confirmed) is None
    project.git("checkout", "werf.yaml")
    assert confirm(project, *confirmed) is not None

    assert confirm(project, "build") is None
    assert confirm(project, *confirmed, "app") is None
    assert confirm(project, *confirmed, env={"CONVEYOR_PLATFORM": "linux/arm64"}) is None
    assert confirm(project, *confirmed, env={"DOCKER_HOST": "unix:///nowhere"}) is None

    first = built.stage("app", "from")["DockerImageName"]
    project.docker("tag", first, f"{project.name}:{'0' * 56}-1700000000000-00000000")
    assert confirm(project, *confirmed) is not None  # a stage of another key
    project.docker("tag", first, f"{first}-rejected")
    assert confirm(project, *confirmed) is None
    project.docker("rmi", f"{first}-rejected")
    assert confirm(project, *confirmed) is not None
    last = built.reference("app")
    older = last.replace(last.split("-")[-2], "1600000000000")
    project.docker("tag", last, older)
    assert confirm(project, *confirmed) is None
    project.docker("rmi", older)
    assert confirm(project, *confirmed) is not None
    project.docker("rmi", last)
    assert confirm(project, *confirmed) is None
    assert project.build().built == {"app": ["setup"]}
    assert confirm(project, *confirmed) is not None

    project.git("commit", "--quiet", "--all", "--message", "Another commit with the same files of images")
    assert confirm(project, *confirmed) is None
    assert project.build().built == {}
    assert confirm(project, *confirmed) is not None
    (project.directory / ".git/shallow").write_text(project.git("rev-parse", "HEAD") + "\n")
    assert confirm(project, *confirmed) is None


@pytest.mark.parametrize("arguments", [["--dev"], ["--loose-giterminism"], ["--log-format", "json"]])
def test_what_cannot_be_confirmed_is_not_remembered(make_project, arguments):
    project = make_project("image: app\nfrom: scratch\n")
    project.build(*arguments)
    assert not (project.home / "conveyor/remembered").exists()


def test_a_merge_on_no_branch_goes_the_usual_way(make_project):
    project = make_project(WERF_YAML, FILES)
    project.git("checkout", "--quiet", "-b", "side")
    project.change("src/b", "b\n")
    project.git("checkout", "--quiet", "main")
    project.change("src/c", "c\n")
    project.git("merge", "--quiet", "--no-edit", "side")
    project.build()
    assert confirm(project, "build", "--save-build-report") is not None
    project.git("checkout", "--quiet", "--detach")
    assert confirm(project, "build", "--save-build-report") is None


def test_stages_in_a_registry(make_project, registry):
    project = make_project(WERF_YAML, FILES)
    arguments = ("--repo", f"{registry.host}/{project.name}")
    project.conveyor("build", *arguments)
    assert confirm(project, "build", *arguments) is not None
    # The engine's own store decides nothing where the registry has every stage.
    images = project.docker("images", "--format", "{{.Repository}}:{{.Tag}}", project.name).split()
    if images:
        project.docker("rmi", "--force", *images)
    assert confirm(project, "build", *arguments) is not None


def test_many_commands_are_not_remembered_for_ever(make_project):
    project = make_project("image: app\nfrom: scratch\n")
    place = project.home / "conveyor/remembered"
    project.build()
    for number in range(70):
        (place / f"{number}.json").write_text("{")
    project.build("app")
    assert len(list(place.iterdir())) == 64


def test_stages_in_the_sandbox(make_project):
    project = make_project("image: app\nfrom: scratch\ngit: [{add: /src, to: /app}]\n", FILES)
    sandbox = {"CONVEYOR_ENGINE": "sandbox"}
    project.build(env=sandbox)
    assert confirm(project, "build", "--save-build-report", env=sandbox) is not None
    assert confirm(project, "build", "--save-build-report") is None
    names = project.home / "conveyor/sandbox/names" / project.name
    stored = sorted(names.iterdir())
    assert len(stored) == 2
    stored[0].unlink()
    assert confirm(project, "build", "--save-build-report", env=sandbox) is None


IMPORTED = re.compile(r"^import time:[^|]*\|[^|]*\|\s*(\S+)$", re.MULTILINE)


def test_a_command_that_was_built_is_not_read_again(make_project):
    """It does the same, and says the same, as where it is."""
    project = make_project("image: app\nfrom: scratch\ngit: [{add: /src, to: /app}]\n", FILES)
    env = {"CONVEYOR_ENGINE": "sandbox", "WERF_LOG_VERBOSE": "true", "PYTHONPROFILEIMPORTTIME": "1"}
    command = ("build", "app", "--save-build-report", "--build-report-path", "report.json")
    said = []
    for number in range(4):
        project.write("src/a", f"{number}\n")
        project.git("commit", "--quiet", "--all", "--message", str(number))
        if number == 3:
            forget(project)
        ran = project.conveyor(*command, env=env)
        modules = set(IMPORTED.findall(ran.stderr))
        assert ("click" in modules) == (number in (0, 3))
        said.append(re.sub(r"[0-9a-f]{8,}|\d+\.\d+|sha256:\w+", "N", IMPORTED.sub("", ran.stderr)).split())
        assert json.loads((project.directory / "report.json").read_text())["Images"]["app"]["Rebuilt"] is True
    assert said[2] == said[3]
    assert "WERF_LOG_VERBOSE" in said[2]


def test_errors_of_a_command_that_is_not_read_again(make_project):
    project = make_project("image: app\nfrom: scratch\ngit: [{add: /src, to: /app}]\n", FILES)
    sandbox = {"CONVEYOR_ENGINE": "sandbox"}
    project.build(env=sandbox)
    project.write("werf.yaml", (project.directory / "werf.yaml").read_text() + "shel: {}\n")
    project.git("commit", "--quiet", "--all", "--message", "Broken")
    again = project.conveyor("build", "--save-build-report", env=sandbox)
    forget(project)
    read = project.conveyor("build", "--save-build-report", env=sandbox)
    assert again.status == read.status == 2
    assert again.stderr == read.stderr
    assert "did you mean `shell`?" in again.stderr


def test_no_password_is_remembered(make_project):
    project = make_project("image: app\nfrom: scratch\ngit: [{add: /src, to: /app}]\n", FILES)
    sandbox = {"CONVEYOR_ENGINE": "sandbox"}
    project.build(env=sandbox)
    forget(project)
    sandbox["CONVEYOR_SYNCHRONIZATION"] = "redis://user:hidden@127.0.0.1:1"
    project.build(env=sandbox)
    (record,) = (project.home / "conveyor/remembered").iterdir()
    assert "hidden" not in record.read_text()
    assert confirm(project, "build", "--save-build-report", env=sandbox) is not None
