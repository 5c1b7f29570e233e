"""What conveyor keeps on a machine, through its commands, and builds beside them."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from samples.make_base import busybox_archive, find_busybox
from tests.e2e.projects import Project

TEXT = """
image: app
from: busybox:1
git:
- {add: /, to: /src}
shell:
  install: echo installing; head -c 3000000 /dev/urandom >/big; chown 33:33 /big; mkdir -m 000 /closed
  setup: COMMAND
"""
OLD_S = time.time() - 9 * 86400


@pytest.fixture
def project(tmp_path):
    project = Project(tmp_path / "app", "host", "busybox:1", tmp_path / "home")
    project.env["CONVEYOR_ENGINE"] = "sandbox"
    project.configure(TEXT.replace("COMMAND", "echo one"))
    project.commit()
    (tmp_path / "busybox.tar").write_bytes(busybox_archive(find_busybox()))
    assert project.conveyor("image", "import", "busybox:1", str(tmp_path / "busybox.tar")).status == 0
    return project


def home(project):
    return Path(project.env["CONVEYOR_HOME_DIR"])


def age(project, *places):
    for place in places or ("sandbox/images", "logs", "remembered", "stages"):
        for path in (home(project) / place).rglob("*"):
            os.utime(path, (OLD_S, OLD_S), follow_symlinks=False)
        os.utime(home(project) / place, (OLD_S, OLD_S))


def test_a_cleanup_by_size_by_age_and_what_it_says(project):
    project.build()
    project.configure(TEXT.replace("COMMAND", "echo two"))
    project.commit()
    second = project.build()
    assert project.conveyor("host", "cleanup", "--allowed-size", "1kB").stdout == ""  # all was used just now
    age(project)
    shown = project.conveyor("host", "cleanup", "--allowed-size", "100%").stdout
    assert shown == ""
    planned = project.conveyor("host", "cleanup", "--dry-run", "--allowed-size", "6MB").stdout.splitlines()
    assert any(line.startswith("keep") and "busybox:1" in line and "imported" in line for line in planned)
    assert project.build().built == {}
    # The second build has used its stages; the setup of the first is on nobody's way.
    kept = project.conveyor("host", "cleanup", "--keep-for", "7d").stdout
    assert kept.count("remove  image") == 1
    assert "(not used for 9 days)" in kept
    assert project.build().built == {}
    age(project)
    gone = project.conveyor("host", "cleanup", "--allowed-size", "1kB")
    assert gone.stdout.count("remove  image") == len(second.names())
    assert gone.stdout.count("remove  log") == 0 or "least recently used" in gone.stdout
    assert list((home(project) / "sandbox/names/host").iterdir()) == []
    assert len(project.build().built["app"]) == 4
    assert project.conveyor("host", "fsck").status == 0


def test_a_build_with_nothing_to_do_uses_its_stages(project):
    project.build()
    project.build()
    age(project, "sandbox/images", "remembered")
    before = [path.stat().st_mtime_ns for path in (home(project) / "sandbox/images").iterdir()]
    assert project.conveyor("build", "--save-build-report").status == 0  # as `build` is asked
    assert [path.stat().st_mtime_ns for path in (home(project) / "sandbox/images").iterdir()] == before, "not confirmed"
    shown = project.conveyor("host", "cleanup", "--allowed-size", "1kB").stdout
    assert "remove  image" not in shown
    assert project.build().built == {}


def test_beside_a_build(project, tmp_path):
    project.build()
    project.configure(TEXT.replace("COMMAND", "echo waiting; until [ -e /src/none -o -e /sys/none ]; do sleep 0.1; done"))
    project.commit()
    started = subprocess.Popen(
        project.command("build"), cwd=project.directory, env=project.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        while b"| waiting" not in started.stdout.readline():
            assert started.poll() is None
        running = project.conveyor("logs", "app/setup")
        assert (running.status, running.stdout) == (0, "waiting\n")
        assert "is being built" in running.stderr
        age(project)
        shown = project.conveyor("host", "cleanup", "--dry-run", "--allowed-size", "1kB").stdout
        assert "(a build uses it)" in shown
        assert project.conveyor("host", "cleanup", "--allowed-size", "1kB").status == 0
        refused = project.conveyor("host", "purge")
        assert refused.status == 2
        assert "--force" in refused.stderr
        assert project.conveyor("host", "fsck").status == 0
    finally:
        started.kill()
        started.wait()
    assert project.conveyor("host", "fsck").status == 0
    project.configure(TEXT.replace("COMMAND", "echo one"))
    project.commit()
    assert "install" not in project.build().built.get("app", [])  # what the build used has stayed


def test_a_purge(project):
    project.build()
    listed = project.conveyor("host", "purge", "--dry-run").stdout.splitlines()
    assert str(home(project) / "sandbox") in listed
    assert (home(project) / "sandbox").exists()
    purged = project.conveyor("host", "purge")
    assert purged.status == 0, purged.stderr
    assert [path.name for path in home(project).iterdir()] == ["runs"]
    assert project.conveyor("host", "purge").status == 0
    assert project.conveyor("host", "fsck").status == 0


def test_a_check_and_a_repair(project):
    project.build()
    path = next((home(project) / "sandbox/snapshots").glob("*/fs/big"))
    os.truncate(path, 5)
    found = project.conveyor("host", "fsck")
    assert found.status == 1
    assert found.stdout.startswith("broken: snapshot ")
    assert project.conveyor("host", "fsck", "--repair").status == 0
    assert project.conveyor("host", "fsck").stdout == ""
    assert project.build().built["app"] == ["install", "setup"]


@pytest.mark.parametrize("arguments", [("--allowed-size", "much"), ("--keep-for", "7"), ("--min-free", "-1%")])
def test_wrong_limits(project, arguments):
    wrong = project.conveyor("host", "cleanup", *arguments)
    assert wrong.status == 2
    assert arguments[0] in wrong.stderr
