"""What only the Docker engine has: containers and their labels, the service container, what killed runs leave."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from stapel.api import Cancel, Mount, Run
from stapel.docker.containers import HOME_LABEL, RUN_LABEL
from stapel.docker.engine import DockerEngine
from stapel.errors import CommandFailed, Unreachable
from stapel.runs import home_label, open_run
from stapel.toolchain import make_toolchain
from tests.conformance.engines import Said, docker_subject, file, lay

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from pathlib import Path
from stapel.api import Cancel, Run
from stapel.docker.engine import DockerEngine
from stapel.runs import open_run

home, base = Path(sys.argv[1]), sys.argv[2]
with open_run(home) as run:
    engine = DockerEngine("conveyor-killed", run_id=run.id, home_dir=home, tmp_dir=home)
    held = engine.base(base, engine.platform(), print)
    made = engine.build(held, [Run("echo >/committed")], print, Cancel())
    log = lambda stream, data: print(run.id, made.id, flush=True)
    engine.build(made, [Run("echo started; sleep 1000")], log, Cancel())
"""


@pytest.fixture
def with_label(docker_engine):
    """The containers and images with a label."""

    def ask(name, value):
        filters = {"label": f"{name}={value}"}
        found = docker_engine.containers(all=True, filters=filters) + docker_engine.images(filters=filters)
        return {item["Id"] for item in found}

    return ask


def until(condition, timeout_s=30):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def test_what_a_killed_run_left_is_removed_by_the_next_one_of_its_home_alone(
    request, home, tmp_path, busybox_base, with_label
):
    killed = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, home, busybox_base], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    try:
        run_id, image_id = killed.stdout.readline().split()
        assert len(with_label(RUN_LABEL, run_id)) == 2
        # It lives yet: nobody touches what it has.
        with docker_subject(home, request) as subject:
            subject.run(subject.base(), "true")
        assert len(with_label(RUN_LABEL, run_id)) == 2
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        killed.stdout.close()
    with docker_subject(tmp_path, request) as other:
        other.run(other.base(), "true")
    assert image_id in with_label(RUN_LABEL, run_id)
    assert len(with_label(RUN_LABEL, run_id)) == 2
    with docker_subject(home, request) as subject:
        subject.run(subject.base(), "true")
    assert with_label(RUN_LABEL, run_id) == set()


def test_a_container_is_what_the_contract_says(subject, home, docker_engine, tmp_path):
    run = Run(
        "echo started; until [[ -e /mnt/go ]]; do sleep 0.05; done",
        env={"GIVEN": "1"},
        mounts=[Mount(tmp_path, "/mnt", read_only=True)],
        network="none",
    )
    base = subject.with_config(subject.base(), User="33", Healthcheck={"Test": ["CMD", "false"]}, Volumes={"/v": {}})
    said = Said()
    thread = threading.Thread(target=lambda: subject.build(base, run, log=said))
    thread.start()
    until(said.bytes)
    (found,) = docker_engine.containers(filters={"label": f"{HOME_LABEL}={home_label(home)}"})
    inspected = docker_engine.inspect_container(found["Id"])
    (tmp_path / "go").write_text("")
    thread.join()
    config, host = inspected["Config"], inspected["HostConfig"]
    assert (config["User"], config["WorkingDir"]) == ("0:0", "/")
    assert config["Entrypoint"] == ["/.conveyor/stapel/bin/bash"]
    assert config["Cmd"][0] == "-ec"
    assert config["Healthcheck"]["Test"] == ["NONE"]
    assert not config["Volumes"]
    assert (config["Tty"], config["OpenStdin"]) == (False, False)
    assert set(config["Labels"]) >= {RUN_LABEL, HOME_LABEL}
    assert host["VolumesFrom"][0].startswith("conveyor.stapel.") and host["VolumesFrom"][0].endswith(":ro")
    assert host["NetworkMode"] == "none"
    assert not host["Privileged"]
    assert not host["AutoRemove"]
    mounts = {item["Destination"]: (item["Type"], item["RW"]) for item in inspected["Mounts"]}
    assert mounts == {"/mnt": ("bind", False), "/.conveyor/stapel": ("volume", False)}


def test_a_network_is_named(subject, docker_engine):
    name = f"conveyor-test-{secrets.token_hex(4)}"
    network = docker_engine.create_network(name)["Id"]
    try:
        said = subject.run(subject.base(), "ip -4 -o addr show eth0", network=name)
        subnet = docker_engine.inspect_network(network)["IPAM"]["Config"][0]["Subnet"]
        assert ip_interface(said.split()[3]).network == ip_network(subnet)
    finally:
        subject.resources.close()
        subject.engine.close()
        docker_engine.remove_network(network)


def test_a_container_that_somebody_kills_is_a_failed_command(subject, home, docker_engine):
    def kill(stream, data):
        for found in docker_engine.containers(filters={"label": f"{HOME_LABEL}={home_label(home)}"}):
            docker_engine.kill(found["Id"])

    with pytest.raises(CommandFailed) as caught:
        subject.engine.build(subject.base(), [Run("echo; sleep 1000")], kill, Cancel())
    assert caught.value.status == 137


def test_a_container_that_somebody_removes_is_an_error(subject, home, docker_engine):
    from stapel.errors import StapelError

    def remove(stream, data):
        for found in docker_engine.containers(filters={"label": f"{HOME_LABEL}={home_label(home)}"}):
            docker_engine.remove_container(found["Id"], force=True)

    with pytest.raises(StapelError):
        subject.engine.build(subject.base(), [Run("echo; sleep 1000")], remove, Cancel())


@pytest.fixture
def own_tools(tmp_path, monkeypatch, docker_engine):
    """A home with a toolchain that no other one has, and the name of its service container."""
    tools = tmp_path / "bin"
    tools.mkdir()
    shutil.copy(Path(shutil.which("true")).resolve(), tools / "true")
    with (tools / "true").open("ab") as program:
        program.write(secrets.token_bytes(16))
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")

    def service():
        found = docker_engine.containers(
            all=True, filters={"name": f"conveyor.stapel.{make_toolchain(tmp_path).digest[:12]}"}
        )
        return {name: item for item in found for name in item["Names"]}

    yield tmp_path, service
    for item in service().values():
        docker_engine.remove_container(item["Id"], force=True, v=True)
    for item in docker_engine.images(filters={"label": f"dev.conveyor.toolchain={make_toolchain(tmp_path).digest}"}):
        docker_engine.remove_image(item["Id"], force=True)


def test_the_service_container_is_made_once_by_all_who_start_at_once(own_tools, request):
    home, service = own_tools
    with docker_subject(home, request) as one, docker_subject(home, request) as other:
        failures = []

        def work(subject):
            try:
                assert subject.run(subject.base(), "echo ok") == "ok\n"
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(subject,)) for subject in (one, other, one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert [len(name) for name in service()] == [len("/conveyor.stapel.") + 12]


def test_a_service_container_that_is_pruned_comes_again(own_tools, request, docker_engine):
    home, service = own_tools
    with docker_subject(home, request) as subject:
        base = subject.base()
        assert subject.run(base, "echo 1") == "1\n"
        (item,) = service().values()
        docker_engine.remove_container(item["Id"], v=True)
        assert subject.run(base, "echo 2") == "2\n"
        assert len(service()) == 1


def test_a_toolchain_that_does_not_work_is_told_and_leaves_nothing(own_tools, request, tmp_path):
    from stapel.errors import StapelError

    home, service = own_tools
    (tmp_path / "bin/true").write_bytes(b"#!/absent\n" + secrets.token_bytes(8))
    with docker_subject(home, request) as subject:
        with pytest.raises(StapelError, match="toolchain") as caught:
            subject.run(subject.base(), "true")
        assert caught.value.hint
    assert service() == {}


def test_an_engine_that_is_not_there(home, tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with open_run(home) as run:
        engine = DockerEngine("conveyor-test", run_id=run.id, home_dir=home, tmp_dir=tmp_path)
        told = engine.probe()
        assert f"{tmp_path}/absent.sock" in told
        assert "DOCKER_HOST" in told
        for call in (
            engine.platform,
            lambda: engine.base("x", "linux/amd64", Said()),
            lambda: engine.hold(None),
            lambda: list(engine.images.names()),
            lambda: engine.images.describe("x"),
            lambda: engine.images.get("x"),
        ):
            with pytest.raises(Unreachable):
                call()
        engine.close()


def test_files_are_laid_although_nothing_ever_runs(request, tmp_path, monkeypatch):
    """Stages of files alone need no toolchain: a host without patchelf builds them."""
    monkeypatch.setattr("stapel.toolchain._find", lambda name: pytest.fail(f"{name} was looked for"))
    with docker_subject(tmp_path, request) as subject:
        made = subject.build(subject.base(), lay(file(b"f", b"x")))
        assert subject.files(made, b"f")[1] == {b"": b"x"}
    assert not (tmp_path / "toolchain").exists()
