"""Whole builds with locks in a Redis that goes away in the middle: they end well, and say so once."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import socket
import subprocess
import threading
import time
from urllib.parse import quote, urlsplit

import pytest

from locking.redis import RedisLocks
from tests.conftest import absent
from tests.e2e.projects import Run
from tests.servers import certificate, redis_server
from tests.tcp_proxy import tcp_proxy

# Five stages are saved after the one that takes its time, two images at once.
CONFIGURATION = """\
image: app
from: BUSYBOX
git: [{add: /src, to: /app}]
shell:
  beforeInstall: echo 1 > /one
  install: sleep 4; echo 2 > /two
  setup: echo 3 > /three
docker: {CMD: [cat, /app/main.txt]}
---
image: other
from: BUSYBOX
shell:
  install: sleep 4; echo 4 > /four
  setup: echo 5 > /five
"""
FILES = {"src/main.txt": "one\n"}


@pytest.fixture
def server(tmp_path):
    if shutil.which("redis-server") is None:
        absent("redis-server is not on this machine")
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def proxy(server):
    with tcp_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def project(make_project):
    return make_project(CONFIGURATION, FILES)


@contextlib.contextmanager
def conveyor(project, *arguments):
    """A conveyor that runs; its end is awaited by `ended`."""
    command = project.command("build", *arguments)
    with subprocess.Popen(
        command,
        cwd=project.directory,
        env=project.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ended(process):
    stdout, stderr = process.communicate(timeout=300)
    return Run(process.returncode, stdout, stderr)


def wait_for_locks(server, count):
    """Wait until so many requests were made of the server: every stage that is saved makes two."""
    deadline_s = time.monotonic() + 120
    while True:
        lines = server.cli("info", "commandstats").split()
        asked = next(
            (line.partition("calls=")[2].partition(",")[0] for line in lines if line.startswith("cmdstat_eval:")), 0
        )
        if int(asked) >= count:
            return
        assert time.monotonic() < deadline_s, "no lock was asked for"
        time.sleep(0.05)


def warnings(run):
    return [line for line in run.stderr.splitlines() if "Warning" in line]


def killed(server, proxy):
    server.kill()


def paused(server, proxy):
    """It goes on after the lease and the pause that the issue of its locks would take."""
    pause = server.paused()
    pause.__enter__()
    threading.Timer(15, pause.__exit__, (None, None, None)).start()


def full(server, proxy):
    server.cli("config", "set", "maxmemory", "1")


def cut_off(server, proxy):
    proxy.refuse = True
    proxy.cut()


def cut_off_in_silence(server, proxy):
    proxy.silent = True
    proxy.silence()


def locked_out(server, proxy):
    server.cli("config", "set", "requirepass", "another")
    proxy.cut()


@pytest.mark.parametrize(
    "trouble", [killed, paused, full, cut_off, cut_off_in_silence, locked_out], ids=lambda f: f.__name__
)
def test_a_build_whose_redis_goes_away_ends_well_with_one_warning(trouble, project, server, proxy):
    with conveyor(project, "--synchronization", f"redis://127.0.0.1:{proxy.port}/0") as process:
        wait_for_locks(server, 2)
        trouble(server, proxy)
        run = ended(process)
    assert run.status == 0, run.output
    (warning,) = warnings(run)
    assert f"redis://127.0.0.1:{proxy.port}/0" in warning

    again = project.build("--require-built-images")
    assert again.built == {}
    assert project.docker("run", "--rm", again.reference("app")) == "one\n"


def test_a_build_that_meets_a_replica_ends_well_with_one_warning(project, server, proxy):
    """It fails over, and what stands behind the address has not become the primary yet."""
    replica_of = ("--replicaof", "127.0.0.1", str(server.port))
    with (
        conveyor(project, "--synchronization", f"redis://127.0.0.1:{proxy.port}/0") as process,
        redis_server(server.directory / "replica", *replica_of) as replica,
    ):
        wait_for_locks(server, 2)
        proxy.behind = replica.port
        proxy.cut()
        run = ended(process)
    assert run.status == 0, run.output
    (warning,) = warnings(run)
    assert "replica" in warning
    assert project.build("--require-built-images").built == {}


def test_locks_over_tls(project, tmp_path):
    files = certificate(tmp_path / "tls")
    with redis_server(tmp_path / "redis over tls", tls=files, user="ci", password="s3cret") as server:
        trusting = project.build("--synchronization", f"{server.url}?ssl_ca_certs={quote(str(files[0]))}")
        project.change("src/main.txt", "two\n")
        doubting = project.build("--synchronization", server.url)  # no authority of the system has signed
    assert warnings(trusting.run) == []
    assert doubting.built == {"app": ["gitLatestPatch", "dockerInstructions"]}
    (warning,) = warnings(doubting.run)
    assert "certificate" in warning
    assert "s3cret" not in trusting.run.output + doubting.run.output


def test_a_build_does_not_notice_that_its_redis_is_started_again(project, server):
    with conveyor(project, "--synchronization", server.url) as process:
        wait_for_locks(server, 2)
        server.kill()
        server.start()
        run = ended(process)
    assert run.status == 0, run.output
    assert warnings(run) == []


def test_connections_that_are_cut_all_the_time_are_no_reason_to_warn(project, server, proxy):
    with conveyor(project, "--synchronization", f"redis://127.0.0.1:{proxy.port}/0") as process:
        while process.poll() is None:
            time.sleep(0.1)
            proxy.cut()
        run = ended(process)
    assert run.status == 0, run.output
    assert warnings(run) == []
    assert server.cli("keys", "*") == ""


@pytest.mark.parametrize("address", ["redis://127.0.0.1:9/0", "redis://user:s3cret@no-such-host.invalid/0", "a silent port"])
def test_a_redis_that_is_not_there_costs_a_warning_and_some_seconds(address, project):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        if address == "a silent port":
            address = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        started_s = time.monotonic()
        without = project.conveyor("build", "--synchronization", address, env={"CONVEYOR_LOCK_TIMEOUT": "300"})
        assert time.monotonic() - started_s < 60
    assert without.status == 0, without.output
    (warning,) = warnings(without)
    assert urlsplit(address).hostname in warning
    assert "s3cret" not in without.output


def test_nothing_to_save_is_nothing_to_ask(project):
    """A build that finds every stage does not notice that there is no Redis."""
    project.build()
    again = project.build("--synchronization", "redis://127.0.0.1:9/0")
    assert again.built == {}
    assert warnings(again.run) == []


def test_who_holds_the_lock_is_told_to_who_waits(make_project, registry, server, monkeypatch):
    monkeypatch.setenv("CI_JOB_URL", "https://ci.example.org/jobs/7")
    project = make_project("image: app\nfrom: BUSYBOX\nshell: {setup: echo 1 > /one}\n")
    address = f"{registry.host}/{secrets.token_hex(4)}/app"
    stage = project.build("--repo", address).stage("app", "setup")
    digest = stage["DockerImageName"].rpartition(":")[2].partition("-")[0]
    locks = RedisLocks(server.url)
    lease = locks.acquire(f"{address}-2.{digest}", timeout_s=0)
    with conveyor(project, "--repo", f"{address}-2", "--synchronization", server.url) as process:
        deadline_s = time.monotonic() + 120
        while server.cli("zcard", f"conveyor:queue:{address}-2.{digest}") != "1":
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        assert process.poll() is None
        lease.release()
        released_s = time.monotonic()
        run = ended(process)
        assert time.monotonic() - released_s < 20
    locks.close()
    assert run.status == 0, run.output
    assert "https://ci.example.org/jobs/7" in run.stderr
    assert warnings(run) == []
