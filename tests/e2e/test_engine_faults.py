"""Whole builds on a Docker Engine that is started again in the middle, or goes away."""

from __future__ import annotations

import base64
import contextlib
import subprocess
import threading
import time

import pytest
from docker.errors import NotFound

from stapel.docker.containers import HOME_LABEL
from stapel.docker.endpoint import find_endpoint, socket_path
from stapel.runs import home_label
from tests.conftest import absent
from tests.e2e.projects import Run
from tests.tcp_proxy import tcp_proxy

APP = """\
image: app
from: BUSYBOX
git: [{add: /src, to: /app}]
shell:
  install: echo started; sleep 5; echo once >> /count
  setup: cat /count > /second
docker: {CMD: [cat, /second]}
---
image: other
from: BUSYBOX
shell: {install: sleep 1; echo 1 > /one, setup: cat /one > /two}
"""


@pytest.fixture
def proxy(tmp_path):
    path = socket_path(find_endpoint())
    if path is None:
        absent("the Docker Engine of this machine has no socket")
    with tcp_proxy(path, str(tmp_path / "engine.sock")) as proxy:
        yield proxy


def build(project, tmp_path, *arguments):
    return subprocess.Popen(
        project.command("build", *arguments),
        cwd=project.directory,
        env={**project.env, "DOCKER_HOST": f"unix://{tmp_path}/engine.sock"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_container(images, project):
    """The build container of the stage that takes its time, once it runs."""
    deadline_s = time.monotonic() + 120
    while True:
        filters = {"status": "running", "label": f"{HOME_LABEL}={home_label(project.home / 'conveyor')}"}
        for found in images.client.containers(filters=filters):
            with contextlib.suppress(NotFound):  # the other image's are short
                if project.marker in project.scripts(images.client.inspect_container(found["Id"])):
                    return found["Id"]
        assert time.monotonic() < deadline_s, "no container was started"
        time.sleep(0.05)


@pytest.fixture
def project(make_project):
    project = make_project(APP, {"src/main.txt": "one\n"})
    project.marker = f"echo {project.name}"
    project.configure(APP.replace("echo started", f"echo {project.name}").replace("BUSYBOX", project.base))
    project.commit()

    def scripts(inspected):
        words = " ".join(inspected["Config"]["Cmd"] or ()).replace('"', " ").split()
        found = []
        for word in words:
            try:
                found.append(base64.b64decode(word, validate=True).decode("utf-8", "replace"))
            except ValueError:
                continue
        return "\n".join(found)

    project.scripts = scripts
    return project


def ended(process):
    stdout, stderr = process.communicate(timeout=300)
    return Run(process.returncode, stdout, stderr)


@pytest.mark.parametrize("live", [False, True], ids=["containers killed", "containers live on"])
def test_an_engine_that_is_started_again_in_the_middle(project, images, proxy, tmp_path, live):
    process = build(project, tmp_path)
    container = wait_for_container(images, project)
    proxy.refuse = True
    proxy.cut()
    if not live:
        images.client.kill(container)
    threading.Timer(1.5, lambda: setattr(proxy, "refuse", False)).start()
    run = ended(process)
    assert run.status == 0, run.output
    assert "the Docker Engine" in run.stderr and "trying again" in run.stderr
    # What a container has said before we were told that it runs is lost with the connection, and never told twice.
    runs = 1 if live else 2
    assert runs - 1 <= run.stderr.count(f"app/install | {project.name}\n") <= runs, run.output
    again = project.build("--require-built-images")
    assert images.run(again.reference("app")) == "once\n"


def test_an_engine_that_goes_away_for_good_ends_with_status_4(project, images, proxy, tmp_path):
    process = build(project, tmp_path)
    container = wait_for_container(images, project)
    proxy.refuse = True
    proxy.cut()
    run = ended(process)
    assert run.status == 4, run.output
    assert "Traceback" not in run.stderr
    assert "went away while running a build container" in run.stderr
    assert "DOCKER_HOST" in run.stderr
    # The next build of the home removes what was left, and ends well.
    proxy.refuse = False
    later = build(project, tmp_path)
    assert ended(later).status == 0
    assert container not in [found["Id"] for found in images.client.containers(all=True)]
