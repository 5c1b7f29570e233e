"""What is confirmed, and what the confirming costs: deciding code without git and engines."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from conveyor.cli import confirm as module
from conveyor.cli.build_again import build_again
from conveyor.cli.confirm import choose_names, confirm, describe_command, recall, record_path, was_killed
from stapel.runs import open_run
from stapel.sandbox.names import read_names

DIGEST, OTHER = "a" * 56, "b" * 56


def test_it_imports_nothing_that_is_heavy():
    program = "import sys\nimport conveyor.cli.main, conveyor.cli.confirm, stapel.docker.names\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, cwd=module.__file__[:-23])
    assert ran.returncode == 0, ran.stderr
    heavy = {"click", "yaml", "docker", "urllib3", "requests", "redis", "dataclasses", "typing", "pathlib", "subprocess"}
    heavy |= {"socket", "http", "hashlib", "threading", "tempfile", "logging", "conveyor.config", "conveyor.build"}
    assert heavy.isdisjoint(ran.stdout.split())


def test_the_names_that_decide():
    names = {
        f"{DIGEST}-1700000000000-01234567": "sha256:01",
        f"{DIGEST}-1700000000001-01234567-rejected": "sha256:02",
        f"{OTHER}-1700000000000-01234567": "sha256:03",
        f"{OTHER}-1700000000000-01234567-rejected": "sha256:04",
        f"import-{DIGEST}-{OTHER}": "sha256:05",
        f"{DIGEST}-1700000000000-01234567-unrejected-2": "sha256:05",
        "latest": "sha256:06",
        "x" * 79: "sha256:06",
        "x" * 120: "sha256:06",
    }
    assert choose_names(names, {DIGEST}) == {
        f"{DIGEST}-1700000000000-01234567": "sha256:01",
        f"{DIGEST}-1700000000001-01234567-rejected": "",
        f"{OTHER}-1700000000000-01234567-rejected": "",
        f"{DIGEST}-1700000000000-01234567-unrejected-2": "",
        f"import-{DIGEST}-{OTHER}": "",
    }


@pytest.mark.parametrize(
    ("changed", "touches"),
    [
        (b"src", True),
        (b"src/a", True),
        (b"src/a/", True),
        (b"s", False),
        (b"src2/a", False),
        (b"lib/deep/", True),  # a repository inside, which git does not look into
        (b"lib/deep/er/file", True),
        (b"lib/deeper", False),
        (b"lib", True),
    ],
)
def test_which_changes_count(changed, touches):
    assert any(module._touches(changed, used) for used in (b"src", b"lib/deep/er")) is touches
    assert module._touches(changed, b"")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"command": 1}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVEYOR_HOME_DIR", str(tmp_path))
    arguments = ["build", "app"]
    command = describe_command(arguments)
    path = tmp_path / "remembered" / record_path("", command).rpartition("/")[2]
    path.parent.mkdir()
    path.write_text(text.replace("1", json.dumps(command)))
    record = recall(arguments)
    assert (record is not None) == (text == '{"command": 1}')
    if record is not None:
        assert not confirm(arguments, record)
        build_again(record)
    assert capsys.readouterr() == ("", "")


def test_other_commands_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(module, "describe_command", None)
    assert recall([]) is None
    assert recall(["stages", "ls"]) is None
    assert recall(["--help"]) is None


def test_passwords_are_not_kept(monkeypatch):
    monkeypatch.setenv("CONVEYOR_SYNCHRONIZATION", "redis://user:secret@host")
    assert "secret" not in describe_command(["build", "--synchronization", "redis://user:secret@host"])


def test_where_a_command_is_remembered(monkeypatch):
    monkeypatch.setenv("HOME", "/root")
    monkeypatch.delenv("CONVEYOR_HOME_DIR", raising=False)
    monkeypatch.setenv("CONVEYOR_HOME", "")
    assert module.find_home(["build"]) == "/root/.conveyor"
    assert module.find_home(["build", "--home-dir", "/h"]) == "/h"
    assert module.find_home(["build", "--home-dir=~/h"]) == "/root/h"
    monkeypatch.setenv("CONVEYOR_HOME", "/there")
    assert module.find_home(["build"]) == "/there"


def test_the_names_of_a_sandbox(tmp_path):
    directory = tmp_path / "sandbox/names/shop"
    directory.mkdir(parents=True)
    (directory / "a").symlink_to("sha256:01")
    (directory / ".filling").write_text("")
    assert read_names("shop", home_dir=str(tmp_path)) == {"a": "sha256:01"}
    assert read_names("a/b", home_dir=str(tmp_path)) is None


def test_a_killed_run_is_seen_and_one_that_lives_is_not(tmp_path):
    assert not was_killed(str(tmp_path))
    with open_run(tmp_path) as run:
        (tmp_path / "runs" / f"{run.id}.docker-01234567").write_text("image sha256:01\n")
        assert not was_killed(str(tmp_path))
    assert was_killed(str(tmp_path)), "its notes are there, and nobody holds its lock"
    (tmp_path / "runs" / f"{run.id}.docker-01234567").unlink()
    assert not was_killed(str(tmp_path))
    (tmp_path / "runs" / "0123456789ab.lock").touch()
    assert was_killed(str(tmp_path))
