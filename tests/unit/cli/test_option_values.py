import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from conveyor.cli import build_run
from conveyor.cli.build import command
from conveyor.cli.option_values import BuildCommand, read_again, write_down

LINES = [
    [],
    ["app", "!other", "--no-parallel", "--platform", "linux/arm64,linux/amd64", "--fail-fast"],
    ["--repo", "host:5000/a", "--secondary-repo", "b", "--secondary-repo", "c", "--cache-repo", "d", "--final-repo", "e"],
    ["--dir", "sub", "--tmp-dir", "~/tmp", "--docker-config", "/d", "--git-work-tree", "..", "--ssh-key", "k"],
    ["--introspect-stage", "app/install", "--introspect-stage", "~/setup", "--introspect-stage", "from"],
    ["--save-build-report", "--build-report-path", "report.env", "--log-verbose", "--log-color-mode", "off"],
    ["--engine", "sandbox", "--sandbox-runner", "runc", "--min-free", "5%", "--lock-timeout", "1.5s", "-S", "none"],
]


def read(monkeypatch, arguments, env=None):
    """What a command line asks."""
    got = []
    monkeypatch.setattr(build_run, "run_build", lambda asked: got.append(asked) or 0)
    ran = CliRunner().invoke(command, arguments, env=env, catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    (asked,) = got
    return asked


@pytest.mark.parametrize("arguments", LINES)
def test_what_was_asked_is_read_again_from_json(monkeypatch, arguments):
    asked = read(monkeypatch, arguments)
    assert isinstance(asked, BuildCommand)
    again = read_again(json.loads(json.dumps(write_down(asked))))
    assert again == asked
    assert type(again.project.dir) is type(Path())


def test_names_of_any_bytes_are_read_again(monkeypatch):
    name = b"/tmp/\xff".decode("utf-8", "surrogateescape")
    asked = read(monkeypatch, ["--home-dir", name])
    assert read_again(json.loads(json.dumps(write_down(asked)))).project.home_dir == Path(name)


def test_what_was_told_while_it_was_read_is_told_again(monkeypatch):
    asked = read(monkeypatch, [], {"WERF_ENV": "stage"})
    assert asked.project.env == "stage"
    assert "read WERF_ENV" in asked.told


@pytest.mark.parametrize("broken", [{}, [], {"images": []}, {"project": {"dir": 1}}])
def test_what_is_no_command_is_refused(monkeypatch, broken):
    written = write_down(read(monkeypatch, []))
    with pytest.raises(msgspec.ValidationError):
        read_again(broken if not isinstance(broken, dict) or "project" not in broken else {**written, **broken})
