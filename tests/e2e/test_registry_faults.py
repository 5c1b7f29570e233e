"""Whole builds over a registry with faults: those that pass cost time, those that last end with status 4."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess

import pytest

from tests.e2e.projects import APP, FILES, REPORT
from tests.fault_proxy import Lists, changed, cut_head, failing, incomplete_names, lying, names_in, once_each
from tests.servers import Reply, Reset, front_server

RANDOM = """\
image: app
from: BUSYBOX
git: [{add: /src, to: /app}]
shell: {install: cat /proc/sys/kernel/random/uuid > /first, setup: cat /proc/sys/kernel/random/uuid > /second}
"""


@pytest.fixture
def path():
    return f"{secrets.token_hex(4)}/app"


def ours(rule):
    """A rule for what conveyor asks; the engine's own requests are let through."""
    return lambda request, forward: (
        rule(request, forward) if request.headers.get("User-Agent", "").startswith("conveyor/") else None
    )


PASSING = [
    Reply(503, {"Retry-After": "0"}),
    cut_head(25),
    Reset,
    Reply(429, {"Retry-After": "0"}),
    lying("Docker-Content-Digest", "sha256:" + "0" * 64),
    changed(status=500),
]


def test_faults_that_pass_cost_time_alone(make_project, registry, front, path):
    """Every request of a build fails once, each in another way than the one before."""
    project = make_project(APP, FILES)
    front.rules.append(ours(once_each(*PASSING)))
    first = project.build("--repo", f"{front.host}/{path}")
    assert set(first.built) == {"tools", "app"}
    for word in ("status 503", "status 429", "status 500", "the connection to"):
        assert word in first.run.stderr
    assert incomplete_names(registry.storage, path) == []
    again = project.build("--repo", f"{registry.host}/{path}", "--require-built-images")
    assert [tag(name) for name in again.names()] == [tag(name) for name in first.names()]
    assert project.docker("run", "--rm", again.reference("app")) == "one\n"


LASTING = {
    "the list": (failing(10**6, Reply(500), path="/tags/"), "listing the names", "status 500"),
    "a reset": (failing(10**6, Reset, method="PUT", path="/manifests/[0-9a-f]{56}-"), "writing the manifest", "broke"),
    "reading": (failing(10**6, Reply(503), method="GET", path="/manifests/"), "reading the manifest", "status 503"),
    "the login": (failing(10**6, Reply(401)), "listing the names", "docker login"),
}


def test_faults_that_last_end_with_status_4(make_project, registry):
    """All at once: most of it is waiting."""
    with contextlib.ExitStack() as resources:
        builds = {}
        for name, (fault, _, _) in LASTING.items():
            front = resources.enter_context(front_server(registry.host))
            front.rules.append(ours(fault))
            project, path = make_project(APP, FILES), f"{secrets.token_hex(4)}/app"
            process = subprocess.Popen(
                project.command("build", "--repo", f"{front.host}/{path}"),
                cwd=project.directory,
                env={**project.env, "CONVEYOR_HOME_DIR": str(project.directory) + "-home"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            resources.callback(process.kill)
            builds[name] = process, front, path
        for name, (process, front, path) in builds.items():
            said, _ = process.communicate(timeout=300)
            _, doing, word = LASTING[name]
            assert process.returncode == 4, f"{name}: {said}"
            assert "Traceback" not in said
            told = " ".join(said.split())
            assert doing in told and word in told and front.host in told, f"{name}: {said}"
            assert incomplete_names(registry.storage, path) == []


def test_names_whose_answers_are_always_lost_are_found_in_the_list(make_project, registry, front, path):
    """Who is to send a name again lists first."""
    front.rules.append(failing(10**6, changed(status=504), method="PUT", path="/manifests/[0-9a-f]{56}-"))
    project = make_project(APP, FILES)
    first = project.build("--repo", f"{front.host}/{path}")
    assert set(first.built) == {"tools", "app"}
    assert "status 504" in first.run.stderr
    again = project.build("--repo", f"{registry.host}/{path}", "--require-built-images")
    assert [tag(name) for name in again.names()] == [tag(name) for name in first.names()]


def tag(name):
    return name.rpartition(":")[2]


def test_builders_over_a_list_that_lags_agree(make_project, registry, front, path, record_property):
    """Without a common lock, each names its own before it can see the other's: they agree afterwards.

    Who has ended before an older name came to light has told of another one: decision 9 says why. One of three at most.
    """
    lists = Lists(lag_s=2.0)
    front.rules.append(lists)
    project = make_project(RANDOM, {"src/a": "a"})
    started = []
    for number in range(3):
        clone = project.directory.parent / f"clone-{number}"
        project.git("clone", "--quiet", str(project.directory), str(clone))
        env = {**project.env, "CONVEYOR_HOME_DIR": str(project.home / f"conveyor-{number}")}
        command = project.command("build", "--save-build-report", "--repo", f"{front.host}/{path}")
        process = subprocess.Popen(
            command, cwd=clone, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        started.append((clone, process))
    reported, said = [], []
    for clone, process in started:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output.decode(errors="replace")
        said.append(output.decode(errors="replace"))
        (image,) = json.loads((clone / REPORT).read_text())["Images"].values()
        reported.append([tag(stage["DockerImageName"]) for stage in image["Stages"]])
    again = project.build("--repo", f"{registry.host}/{path}", "--require-built-images")
    selected = [tag(name) for name in again.names()]
    stale = sum(names != selected for names in reported)
    record_property("counted", f"3 builds over a list that lags, {stale} reports that name another stage than is selected")
    # Where they differ: when each name had arrived, and what each builder said.
    assert stale <= 1, "\n".join([str(sorted(lists.written_s.items())), *said])
    assert any("lags behind" in text for text in said)
    digests = [name.partition("-")[0] for name in names_in(registry.storage, path) if name.count("-") == 2]
    assert max(digests.count(digest) for digest in digests) > 1, "nobody was shown a list that lagged"
