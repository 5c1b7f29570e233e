"""The Docker engine behind a proxy that cuts its connections, and that stands still for a while: an engine that restarts."""

import contextlib
import functools
import re
import secrets
import threading
import time

import docker.errors
import pytest

from stapel.api import Cancel, Run
from stapel.docker.endpoint import find_endpoint, socket_path
from stapel.docker.engine import DockerEngine
from stapel.errors import Cancelled, CommandFailed, Unreachable
from stapel.oci.registry import RegistryStore
from stapel.oci.retries import Retries
from stapel.runs import open_run
from tests.conformance.engines import Said, docker_subject, file, lay
from tests.conftest import absent
from tests.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.docker


class Cutting:
    """Cuts the connection of the first request that matches each pattern.

    Before it is passed on, when its answer begins, or in the head of that.
    """

    def __init__(self, proxy, when, *patterns):
        self.proxy = proxy
        self.when = when
        self.waiting = [re.compile(rb"^(?:" + pattern.encode() + rb") HTTP/1\.[01]\r\n") for pattern in patterns]
        self.marked = []

    def __call__(self, pair, data, to_server):
        met = [pattern for pattern in self.waiting if to_server and pattern.match(data)]
        for pattern in met:
            self.waiting.remove(pattern)
        if met and self.when == "before":
            self.proxy.cut_pair(pair)
            return b""
        if met:
            self.marked.append(pair)
        elif not to_server and pair in self.marked:
            self.marked.remove(pair)
            if self.when == "in its head":
                pair.client.sendall(data[:30])
            self.proxy.cut_pair(pair)
            return b""
        return data


@pytest.fixture
def proxy(docker_engine, tmp_path, monkeypatch):
    path = socket_path(find_endpoint())
    if path is None:
        absent("the Docker Engine of this machine has no socket")
    monkeypatch.setattr("stapel.docker.client.Retries", functools.partial(Retries, first_s=0.05, longest_s=0.4))
    with tcp_proxy(path, str(tmp_path / "engine.sock")) as proxy:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/engine.sock")
        yield proxy


@pytest.fixture
def engine(proxy, home, tmp_path, docker_engine):
    """An engine behind the proxy, that has answered already. `engine.said` is what it warned of."""
    said = []
    with open_run(home) as run:
        project = f"conveyor-faults-{secrets.token_hex(4)}"
        engine = DockerEngine(project, run_id=run.id, home_dir=home, tmp_dir=tmp_path, on_warning=said.append)
        engine.said, engine.is_lost = said, False
        engine.label = f"dev.conveyor.run={run.id}"
        engine.platform()
        try:
            yield engine
        finally:
            engine.close()
            for name in list(engine.images.names(fresh=True)):
                docker_engine.remove_image(f"{project}:{name}", force=True)
        left = docker_engine.containers(all=True, filters={"label": engine.label})
        for container in left if engine.is_lost else ():
            with contextlib.suppress(docker.errors.APIError):
                docker_engine.remove_container(container["Id"], force=True)
        assert engine.is_lost or [item["Names"] for item in left] == []


def down_for(proxy, seconds):
    """As an engine that is started again; what is asked is refused for so long."""
    proxy.refuse = True
    proxy.cut()
    threading.Timer(seconds, lambda: setattr(proxy, "refuse", False)).start()


INSPECT = "GET (?:/v[0-9.]+)?/images/[^ ]*/json"
START = "POST /v[0-9.]+/containers/[^ ]*/start"
COMMIT = "POST /v[0-9.]+/commit[^ ]*"
REPEATED = [
    INSPECT,
    "POST /v[0-9.]+/containers/create[^ ]*",
    "HEAD /v[0-9.]+/containers/[^ ]*/archive[^ ]*",
    "PUT /v[0-9.]+/containers/[^ ]*/archive[^ ]*",
    COMMIT,
    "POST /v[0-9.]+/images/load[^ ]*",
    "POST /v[0-9.]+/images/[^ ]*/tag[^ ]*",
    "GET (?:/v[0-9.]+)?/images/json[^ ]*",
    "DELETE /v[0-9.]+/containers/[^ ]*",
]
CUT = {
    "what is asked again": REPEATED,
    "reading": ["GET /v[0-9.]+/containers/[^ ]*/archive[^ ]*"],
    "attaching": ["POST /v[0-9.]+/containers/[^ ]*/attach[^ ]*"],
    "starting": [START],
    "waiting": ["POST /v[0-9.]+/containers/[^ ]*/wait"],
}


@pytest.mark.parametrize("when", ["before", "after", "in its head"])
@pytest.mark.parametrize("patterns", CUT.values(), ids=list(CUT))
def test_every_request_may_be_cut_once(engine, proxy, busybox_base, patterns, when):
    cutting = proxy.watch = Cutting(proxy, when, *patterns)
    said = Said()
    with contextlib.ExitStack() as resources:
        base = resources.enter_context(contextlib.closing(engine.base(busybox_base, engine.platform(), Said())))
        steps = [lay(file(b"etc/given", b"given\n", owner="root")), Run("cat /etc/given; echo made >/made")]
        held = resources.enter_context(contextlib.closing(engine.build(base, steps, said, Cancel())))
        descriptor = engine.put(held, held.config.with_(author="faults"), engine.images, Cancel())
        engine.images.name("v1", descriptor)
        assert list(engine.images.names(fresh=True)) == ["v1"]
        with engine.tree(engine.hold(engine.images.get("v1"))) as tree, tree.open(b"made") as content:
            assert content.read() == b"made\n"
    engine._containers.close()
    assert cutting.waiting == [], "these requests were not made"
    assert set(said.text("stdout").splitlines()) <= {"given"}


def test_a_container_that_runs_on_is_followed(engine, proxy, busybox_base):
    base = engine.base(busybox_base, engine.platform(), Said())
    said = Said()

    def log(stream, data):
        said(stream, data)
        if b"first" in data:
            down_for(proxy, 0.5)

    held = engine.build(base, [Run("echo first; sleep 2; echo second; echo once >>/count")], log, Cancel())
    with engine.tree(held) as tree:
        assert tree.open(b"count").read() == b"once\n"
    assert "first" in said.text("stdout") and "second" in said.text("stdout")
    assert said.text("stdout").count("first") == 1
    assert "what was said meanwhile is lost" in said.text("stderr")
    held.close()
    base.close()


@pytest.mark.parametrize("status", ["killed", "gone", "ended well"])
def test_a_container_whose_end_nobody_saw_is_run_again_once(engine, proxy, docker_engine, busybox_base, tmp_path, status):
    """A stage whose commands were told to end must not pass for one that is done."""
    base = engine.base(busybox_base, engine.platform(), Said())
    said = Said()

    def log(stream, data):
        said(stream, data)
        if b"started" in data and said.text("stdout").count("started") == 1:
            down_for(proxy, 1.0)
            (found,) = docker_engine.containers(filters={"label": engine.label})
            if status == "gone":
                docker_engine.remove_container(found["Id"], force=True)
            elif status == "killed":
                docker_engine.kill(found["Id"])
            else:
                docker_engine.kill(found["Id"], "TERM")
                docker_engine.wait(found["Id"])

    script = "trap 'exit 0' TERM; echo started; for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.4; done; echo once >>/count"
    held = engine.build(base, [Run(script)], log, Cancel())
    with engine.tree(held) as tree:
        assert tree.open(b"count").read() == b"once\n"
    assert said.text("stdout").count("started") == 2
    assert "this stage is run again" in said.text("stderr")
    held.close()
    base.close()


def test_commands_that_fail_are_not_run_again(engine, busybox_base):
    base = engine.base(busybox_base, engine.platform(), Said())
    for script, status in (("exit 3", 3), ("exit 137", 137), ("exit 143", 143)):
        said = Said()
        with pytest.raises(CommandFailed) as caught:
            engine.build(base, [Run("echo started; " + script)], said, Cancel())
        assert caught.value.status == status
        assert said.text("stdout") == "started\n"
    assert engine.said == []
    base.close()


def test_an_engine_that_does_not_come_back_is_given_up(engine, proxy, busybox_base, request):
    base = engine.base(busybox_base, engine.platform(), Said())

    request.addfinalizer(lambda: setattr(proxy, "refuse", False))
    engine.is_lost = True  # the next run of this home removes what is left

    def log(stream, data):
        proxy.refuse = True
        proxy.cut()

    began_s = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        engine.build(base, [Run("echo started; sleep 1000")], log, Cancel())
    assert "running a build container" in str(caught.value) and "does not come back" in str(caught.value)
    assert "DOCKER_HOST" in caught.value.hint
    assert any("trying again" in told for told in engine.said)
    # The rest of the run asks once a question and waits no more.
    for _ in range(20):
        with pytest.raises(Unreachable):
            engine.images.get("x")
    assert time.monotonic() - began_s < 30
    proxy.refuse = False
    base.close()


def test_an_engine_that_never_answered_is_not_waited_for(proxy, home, tmp_path):
    proxy.refuse = True
    with open_run(home) as run:
        engine = DockerEngine("x", run_id=run.id, home_dir=home, tmp_dir=tmp_path, on_warning=pytest.fail)
        assert "does not answer" in engine.probe()
        with pytest.raises(Unreachable):
            engine.platform()
        engine.close()


def test_waiting_for_an_engine_can_be_cancelled(engine, proxy, busybox_base, docker_engine):
    base = engine.base(busybox_base, engine.platform(), Said())
    cancel = Cancel()

    def log(stream, data):
        if stream == "stdout":
            down_for(proxy, 0.3)
            cancel.set()

    with pytest.raises(Cancelled):
        engine.build(base, [Run("echo started; sleep 1000")], log, cancel)
    base.close()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_push_that_is_cut_is_made_again(engine, proxy, busybox_base, registry, when):
    base = engine.base(busybox_base, engine.platform(), Said())
    proxy.watch = Cutting(proxy, when, "POST /v[0-9.]+/images/[^ ]*/push[^ ]*")
    store = RegistryStore(f"{registry.host}/t/{secrets.token_hex(4)}")
    held = engine.build(base, [Run(f"echo {when} >/made")], Said(), Cancel())
    descriptor = engine.put(held, held.config, store, Cancel())
    assert len(store.get(descriptor.digest).layers()) == len(base.config.diff_ids) + 1
    assert proxy.watch.waiting == []
    held.close()
    base.close()


def test_it_is_the_same_over_tcp(proxy, home, tmp_path, busybox_base, monkeypatch, request):
    with tcp_proxy(socket_path(find_endpoint())) as outer:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{outer.port}")
        with docker_subject(home, request) as subject:
            base = subject.base()
            for when in ("before", "after"):
                outer.watch = Cutting(outer, when, INSPECT, START, COMMIT)
                held = subject.build(base, Run("echo made >/made"))
                assert subject.files(held, b"made")[1] == {b"": b"made\n"}
                assert outer.watch.waiting == []
