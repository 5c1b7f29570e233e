"""Commands beside `build`, and builds that are stopped."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time

import pytest

APP = """\
image: app
from: BUSYBOX
shell: {install: echo started, setup: echo done}
---
artifact: tools
from: BUSYBOX
shell: {setup: echo tools}
---
image: user
from: app
import: [{artifact: tools, add: /etc, to: /etc2, after: setup}]
"""


@pytest.fixture
def app(make_project):
    return make_project(APP)


def test_config_commands(app):
    assert app.conveyor("config", "list").stdout == "app\ntools\nuser\n"
    assert app.conveyor("config", "list", "--final-images-only").stdout == "app\nuser\n"
    assert app.conveyor("config", "render").stdout == (app.directory / "werf.yaml").read_text()
    graph = app.conveyor("config", "graph").stdout
    assert "- image: user\n  dependsOn:\n    from: app\n    import:\n    - tools\n" in graph


def test_stages_ls(app):
    built = app.build()
    listed = [json.loads(line) for line in app.conveyor("stages", "ls", "--format", "json").stdout.splitlines()]
    assert len(listed) == len(set(built.names()))
    assert app.conveyor("stages", "ls", "app").stdout.count("\n") < len(listed)


def test_doctor_and_version(app):
    doctor = app.conveyor("doctor", "--secondary-repo", "127.0.0.1:9/x/y")
    assert doctor.status == 0, doctor.output
    assert "warning  secondary 127.0.0.1:9/x/y: builds go on without" in doctor.stdout
    assert "ok       engine docker: runs here" in doctor.stdout
    assert app.conveyor("version").stdout.strip() == "0.1.0"


def test_events_as_json(app):
    run = app.conveyor("build", "--log-format", "json")
    events = [json.loads(line) for line in run.stdout.splitlines()]
    assert run.status == 0
    assert len(events) > 5


def test_an_engine_that_is_not_there_ends_with_status_4(app):
    run = app.conveyor("build", env={"DOCKER_HOST": "unix:///nowhere.sock"})
    assert run.status == 4, run.output
    assert "Docker Engine" in run.stderr
    assert app.conveyor("doctor", env={"DOCKER_HOST": "unix:///nowhere.sock"}).status == 1


def test_named_images_alone_are_built_with_what_they_need(app):
    assert set(app.build("app").built) == {"app"}
    assert set(app.build("us*").built) == {"tools", "user"}
    failed = app.conveyor("build", "usr")
    assert failed.status == 2
    assert "usr" in failed.stderr


def start(project, *arguments):
    return subprocess.Popen(
        project.command("build", *arguments),
        cwd=project.directory,
        env=project.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process, text):
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"{text!r} was never said")


def containers(project, images):
    """The build containers of this project's home."""
    from pathlib import Path

    from stapel.runs import home_label

    label = f"dev.conveyor.home={home_label(Path(project.env['CONVEYOR_HOME_DIR']))}"
    return images.client.containers(all=True, filters={"label": [label]})


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_standard_files_may_be_closed(app, closed):
    """A file that is opened next gets the number of one that is closed, and must not be taken for it."""
    for _ in range(2):
        run = app.shell(f"{shlex.join(app.command('build', '--save-build-report'))} {closed}")
        assert run.status == 0, run.output
        assert "Traceback" not in run.output
    assert app.build().built == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_a_signal_ends_a_build_and_what_it_started(app, images, number):
    app.configure(APP.replace("echo started", "echo started; sleep 120"))
    app.commit()
    process = start(app)
    wait_for(process, "install | started")
    began = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=60) == 130
    assert time.monotonic() - began < 60
    assert "Traceback" not in process.stdout.read()
    assert containers(app, images) == []


def test_what_a_killed_build_leaves_goes_with_the_next_one(app, images):
    app.configure(APP.replace("echo started", "echo started; sleep 120"))
    app.commit()
    process = start(app)
    wait_for(process, "install | started")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(containers(app, images)) > 0
    app.configure(APP)
    app.commit()
    app.build()
    assert containers(app, images) == []
    assert app.build().built == {}
