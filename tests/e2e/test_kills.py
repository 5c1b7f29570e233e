"""Builds that are killed at every trace point, and what the next one makes of what they left."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from stapel.runs import home_label
from stapel.toolchain import make_toolchain
from tests.e2e.images import Images
from tests.e2e.projects import Project
from tests.servers import Registry
from tests.trace_points import Plan, children, points_of, trace_points

APP = """\
artifact: tools
from: BUSYBOX
git: [{add: /src, to: /src, stageDependencies: {install: "*"}}]
shell: {install: cp /src/a /made}
---
image: app
from: BUSYBOX
import: [{artifact: tools, add: /made, to: /taken, before: setup}]
docker: {ENV: {A: b}}
"""
DOCKERFILE = "image: app\ndockerfile: Dockerfile\nplatform: [linux/amd64, linux/386]\n"
# What a home, or a repository, has once.
FIRST_TIME = ("toolchain.", "blob.", "manifest.before-put", "manifest.after-put")
# With a registry only what is not the same without one.
REGISTRY = (
    *("save.before-name", "save.after-name", "push.", "blob.", "manifest.", "custom-tag.", "cache.", "final."),
    *("memory.before-name", "memory.after-name"),
)
# Points that a build of APP in the engine does not come to, and the test that stops there.
ELSEWHERE = {
    "push.": "test_a_build_over_a_registry_killed_anywhere_is_made_good_by_the_next",
    "blob.": "test_a_build_over_a_registry_killed_anywhere_is_made_good_by_the_next",
    "manifest.": "test_a_build_over_a_registry_killed_anywhere_is_made_good_by_the_next",
    "cache.": "test_a_build_over_a_registry_killed_anywhere_is_made_good_by_the_next",
    "final.": "test_a_build_over_a_registry_killed_anywhere_is_made_good_by_the_next",
    "copy.": "test_copying_that_is_killed_is_begun_again",
    "mark.": "a name of the record image like any other: `record.`",
    "service-container.": "test_a_service_container_is_complete_or_has_no_name",
    "dev-commit.": "test_a_build_of_a_work_tree_is_killed",
    "clone.": "tests/e2e/test_includes.py",
    "repack.": "tests/unit/gitrepo/test_repacking.py",
    "dockerfile.": "test_a_build_of_a_dockerfile_for_two_platforms_is_killed",
    "index.": "test_a_build_of_a_dockerfile_for_two_platforms_is_killed",
    "memory.before-name": "test_a_build_over_a_registry_killed_anywhere_is_made_good_by_the_next",
    "memory.after-name": "test_a_build_over_a_registry_killed_anywhere_is_made_good_by_the_next",
    "memory.before-rename": "tests/unit/storage/test_memory.py",
}
# Points that are no engine's own and yet about what is left in it. At the others builds are killed in the sandbox, where a
# build takes a tenth of the time: `test_sandbox_kills.py`.
OF_ALL_ENGINES = ("save.",)
TIMEOUT_S = 300
ALL = os.environ.get("CONVEYOR_TEST_KILLS") == "all"


class Killed:
    """A project whose builds are killed, and what of theirs can be found on this machine."""

    def __init__(self, project: Project, images: Images, directory: Path, registry: Registry | None) -> None:
        self.project = project
        self.images = images
        self.directory = directory
        self.registry = registry
        self.repositories = f"kills-{secrets.token_hex(4)}"
        self.repository = f"{self.repositories}/app"
        self.changes = 0
        self.kills = 0
        self.home = Path(project.env["CONVEYOR_HOME_DIR"])
        self.tmp = directory / "tmp"
        self.tmp.mkdir()
        self.key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self.dangling = self.unnamed()

    @property
    def arguments(self) -> list[str]:
        options = [
            "--save-build-report",
            "--add-custom-tag",
            "v-%image%",
            "--tmp-dir",
            str(self.tmp),
            "--ssh-key",
            str(self.key),
        ]
        if self.registry is None:
            return options
        others = f"{self.registry.host}/{self.repositories}"
        return [*options, "--repo", self.address, "--cache-repo", f"{others}/cache", "--final-repo", f"{others}/final"]

    @property
    def address(self) -> str:
        """The primary, in the registry."""
        assert self.registry is not None
        return f"{self.registry.host}/{self.repository}"

    def start(self, plan: Plan, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            plan.command("build", *self.arguments, *options),
            cwd=self.project.directory,
            env={**self.project.env, **plan.env()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def plan(self, *at: tuple[str, int, str], log: bool = False) -> Plan:
        directory = self.directory / f"plan-{secrets.token_hex(4)}"
        directory.mkdir()
        return Plan(directory, at, log=log)

    def change(self) -> None:
        """Have stages to build that nobody has."""
        self.changes += 1
        self.project.change("src/a", str(self.changes))

    def points(self) -> list[str]:
        """The points that builds reach, the first one and one after a change, in the order in which they do."""
        found: list[str] = []
        for _ in range(2):
            plan = self.plan(log=True)
            process = self.start(plan)
            output, _ = process.communicate(timeout=TIMEOUT_S)
            assert process.returncode == 0, output
            found += plan.points()
            self.change()
        return list(dict.fromkeys(found))

    def stop_at(self, point: str, action: str) -> str:
        """Build something new, and have that happen at a point: the output."""
        if point.startswith(FIRST_TIME):
            shutil.rmtree(self.home / "toolchain", ignore_errors=True)
            self.repository = f"{self.repositories}/{secrets.token_hex(4)}"
        self.change()
        return self.stop_build_at(point, action)

    def stop_build_at(self, point: str, action: str, *options: str) -> str:
        """Build, and have that happen at a point: the output."""
        process = self.start(self.plan((point, 1, action)), *options)
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == (-signal.SIGKILL if action == "kill" else 130), f"{point}: {output}"
        return output

    # -- what is left

    def unnamed(self) -> set[str]:
        """Images of the engine without a name and without a place in a registry that are of a build of ours."""
        found = self.images.client.images(filters={"dangling": ["true"]})
        return {
            image["Id"]
            for image in found
            if any(label.startswith("dev.conveyor.") for label in image.get("Labels") or ())
            and not any("@sha256" in name and "<none>" not in name for name in image.get("RepoDigests") or ())
            and self.is_own(image.get("Labels") or {})
        }

    def is_own(self, labels: dict[str, str]) -> bool:
        """Whether an image is of this home or of this project: other tests run at the same time."""
        facts = json.loads(labels.get("dev.conveyor.stage") or "{}")
        return labels.get("dev.conveyor.home") == home_label(self.home) or facts.get("project") == self.project.name

    def left(self) -> dict[str, object]:
        """What of `leftovers` is there."""
        return {what: found for what, found in self.leftovers().items() if found}

    def leftovers(self) -> dict[str, object]:
        """Everything that a build may leave and that should be gone."""
        label = f"dev.conveyor.home={home_label(self.home)}"
        everything = self.images.client.images()
        tags = [tag for image in everything for tag in image.get("RepoTags") or () if tag.partition(":upload-")[1]]
        containers = self.images.client.containers(all=True, filters={"label": [label]})
        return {
            "containers": [container["Names"] for container in containers],
            "unfinished service containers": self.unfinished_service_containers(),
            "unnamed images": self.unnamed(),
            "upload tags": [
                tag for tag in tags if self.registry and tag.startswith(f"{self.registry.host}/{self.repositories}/")
            ],
            "run files": sorted(path.name for path in (self.home / "runs").iterdir()),
            "temporary files": [str(path) for path in self.tmp.iterdir()],
            "sockets": [str(path) for path in Path("/tmp").glob(f"conveyor-{home_label(self.home)}-*")],
            "files aside": [str(path) for path in self.home.rglob("*") if re.match(r"\.(?!conveyor$)|.*\.new$", path.name)],
            "reports aside": [str(path) for path in self.project.directory.glob(".*.tmp")],
            "processes": self.processes(),
        }

    def unfinished_service_containers(self) -> list[str]:
        found = self.images.client.containers(all=True, filters={"label": ["dev.conveyor.toolchain"]})
        notes = "".join(path.read_text() for path in (self.home / "runs").glob("*.docker-*"))
        names = [name.lstrip("/") for container in found for name in container["Names"]]
        return [name for name in names if name.count(".") > 2 and name in notes]

    def processes(self) -> list[str]:
        """Commands that name our temporary directory or home: agents, shells."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.tmp) in command or home_label(self.home) in command:
                    found.append(command)
        return found

    def check_storage(self) -> None:
        """No name without a complete image, whatever has been killed. (In the engine a name is one of an image's.)"""
        if self.registry is not None:
            for path in self.registry.storage.glob(f"docker/registry/v2/repositories/{self.repositories}/*"):
                repository = f"{self.repositories}/{path.name}"
                for name, digest in registry_names(self.registry.storage, repository).items():
                    for blob in registry_blobs(self.registry.storage, repository, digest):
                        assert blob.is_file(), f"{name} names an image without {blob}"

    def stages(self) -> list[str]:
        """The names of all stored stages."""
        names = (
            [name.rpartition(":")[2] for name in self.images.names(self.project.name)]
            if self.registry is None
            else list(registry_names(self.registry.storage, self.repository))
        )
        return [name for name in names if re.fullmatch(r"[0-9a-f]{56}-\d{13}-[0-9a-f]{8}", name)]

    def kill_and_build(self, point: str) -> None:
        """A build of something new that is killed there, and the same command again; one stage may be of no use.

        Every fourth time, and with `CONVEYOR_TEST_KILLS=all` every time, the command is run three times: what the second
        and the third have to do does not depend on the point, and is dear.
        """
        again = 3 if self.kills % 4 == 0 or ALL else 1
        self.kills += 1
        before = set(self.stages())
        self.stop_at(point, "kill")
        self.check_storage()
        stored = set(self.stages())
        used = self.build_again(again)
        after = set(self.stages())
        assert stored <= after, point
        assert len(after - before - used) <= 1, point

    def kill_at_each(self, points: Sequence[str]) -> None:
        """A build that is killed at each point. What two of three have left is found by the next one that is killed, and
        at last made good by that of the third; with `CONVEYOR_TEST_KILLS=all` each is made good by itself.
        """
        for number, point in enumerate(points):
            if number % 3 == 2 or ALL:
                self.kill_and_build(point)
            else:
                self.stop_at(point, "kill")
                self.check_storage()
        self.build_again()

    def build_again(self, times: int = 3) -> set[str]:
        """The same command, so often; then nothing is left. The names of its stages.

        What the engine could not remove just now is left for the next run, and is gone after the third at the latest.
        """
        first, *others = (self.project.build(*self.arguments) for _ in range(times))
        while len(others) < 2 and self.left():
            others.append(self.project.build(*self.arguments))
        for other in others:
            assert other.built == {}
            assert other.names() == first.names()
        assert self.left() == {}
        self.check_storage()
        return {name.rpartition(":")[2] for name in first.names()}


def registry_names(storage: Path, repository: str) -> dict[str, str]:
    """What a registry has on disk: name -> digest of its manifest."""
    tags = storage / f"docker/registry/v2/repositories/{repository}/_manifests/tags"
    return {path.parent.parent.name: path.read_text() for path in tags.glob("*/current/link")}


def registry_blobs(storage: Path, repository: str, digest: str) -> Iterator[Path]:
    """The files that an image needs: its manifest, configuration and layers, and their links in the repository.

    Of an index: those of all its images.
    """
    root = storage / "docker/registry/v2"

    def data(blob: str) -> Path:
        return root / f"blobs/sha256/{blob[7:9]}/{blob[7:]}/data"

    yield root / f"repositories/{repository}/_manifests/revisions/sha256/{digest[7:]}/link"
    yield data(digest)
    manifest = json.loads(data(digest).read_bytes())
    for one in manifest.get("manifests", ()):
        yield from registry_blobs(storage, repository, one["digest"])
    if "manifests" in manifest:
        return
    for blob in (manifest["config"], *manifest["layers"]):
        yield data(blob["digest"])
        yield root / f"repositories/{repository}/_layers/sha256/{blob['digest'][7:]}/link"


@pytest.fixture
def make_killed(make_project, images, tmp_path):
    def make(registry: Registry | None = None) -> Killed:
        return Killed(make_project(APP, {"src/a": "0"}), images, tmp_path, registry)

    return make


@pytest.mark.parametrize("part", range(2))
def test_a_build_killed_anywhere_is_made_good_by_the_next(make_killed, part):
    """Every point is one of some build: those of other builds have tests of their own."""
    killed = make_killed()
    points = killed.points()
    missed = set(trace_points()) - set(points) - set(points_of("sandbox"))
    assert {point for point in missed if not point.startswith(tuple(ELSEWHERE))} == set()
    own = set(points_of("docker"))
    chosen = [point for point in points if ALL or point in own or point.startswith(OF_ALL_ENGINES)]
    # The first build of a machine comes to those, too.
    killed.kill_at_each([point for point in chosen if not point.startswith("service-container.")][part::2])


@pytest.mark.parametrize("engine", ["docker", "sandbox"])
def test_a_build_over_a_registry_killed_anywhere_is_made_good_by_the_next(make_killed, registry, engine):
    """With the Docker Engine only at what is its own, unless all is asked for."""
    killed = make_killed(registry)
    killed.project.env["CONVEYOR_ENGINE"] = engine
    points = [point for point in killed.points() if point.startswith(REGISTRY)]
    if engine == "docker" and not ALL:
        points = [point for point in points if point in points_of("docker")]
    assert points
    killed.kill_at_each(points)


def test_copying_that_is_killed_is_begun_again(make_killed, registry):
    killed = make_killed(registry)
    project = killed.project
    project.build(*killed.arguments)
    copied = f"{killed.repositories}/copied"
    options = ["stages", "copy", "--from", killed.address, "--to", f"{registry.host}/{copied}"]
    for point in ("copy.before-name", "copy.after-name"):
        plan = killed.plan((point, 1, "kill"))
        ran = subprocess.run(plan.command(*options), cwd=project.directory, env={**project.env, **plan.env()})
        assert ran.returncode == -signal.SIGKILL
        killed.check_storage()
    run = project.conveyor(*options)
    assert run.status == 0, run.output
    killed.check_storage()
    stages = set(killed.stages())
    assert stages
    assert stages <= set(registry_names(registry.storage, copied))


SIGNALS = {
    "run.after-lock": "interrupt",
    "agent.after-start": "terminate",
    "container.after-create": "interrupt",
    "container.after-start": "terminate",
    "container.after-commit": "interrupt",
    "image.after-load": "terminate",
    "save.after-name": "interrupt",
    "build.before-confirm": "terminate",
}


def test_a_signal_anywhere_leaves_nothing(make_killed):
    killed = make_killed()
    for point, action in SIGNALS.items():
        output = killed.stop_at(point, action)
        assert "Traceback" not in output, output
        assert killed.left() == {}, point
    killed.build_again()


def test_a_second_signal_leaves_at_once_and_the_next_build_cleans(make_killed):
    killed = make_killed()
    for point in ("agent.after-start", "container.after-start", "save.before-name"):
        killed.stop_at(point, "interrupt twice")
    killed.build_again()


def test_a_power_cut(make_killed):
    """Everything that a build has started dies with it, in the middle of a command."""
    killed = make_killed()
    killed.change()
    plan = killed.plan(("container.after-start", 1, "wait"))
    process = killed.start(plan)
    plan.await_stop("container.after-start")
    started = children(process.pid)
    assert started, "an agent, and git"
    for pid in (process.pid, *started):
        with suppress(ProcessLookupError):  # ended by itself since it was listed
            os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=TIMEOUT_S)
    killed.build_again()


def test_a_service_container_is_complete_or_has_no_name(make_killed, images, monkeypatch):
    from docker.errors import NotFound

    killed = make_killed()
    tools = killed.directory / "bin"
    tools.mkdir()
    shutil.copy("/bin/echo", tools / "true")  # another toolchain, whose container nobody has
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    killed.project.env["PATH"] = os.environ["PATH"]
    name = f"conveyor.stapel.{make_toolchain(killed.directory / 'toolchain').digest[:12]}"
    with suppress(NotFound):
        images.client.remove_container(name, v=True, force=True)  # of a test that failed
    for when in ("before-create", "after-create", "before-name", "after-name"):
        killed.stop_at(f"service-container.{when}", "kill")
    killed.build_again()
    (container,) = images.client.containers(all=True, filters={"name": [name]})
    assert container["Names"] == [f"/{name}"]
    images.client.remove_container(name, v=True, force=True)
    images.client.remove_image(container["ImageID"])


def test_a_build_of_a_dockerfile_for_two_platforms_is_killed(make_project, images, tmp_path, registry):
    project = make_project(DOCKERFILE, {"src/a": "0", "Dockerfile": "FROM scratch\nCOPY src /src\n"})
    killed = Killed(project, images, tmp_path, registry)
    for point in ("dockerfile.before-build", "dockerfile.after-build", "index.before-name", "index.after-name"):
        killed.kill_and_build(point)


def test_a_build_of_a_work_tree_is_killed(make_killed):
    killed = make_killed()
    killed.project.write("src/b", "not committed")
    killed.stop_build_at("dev-commit.before-rename", "kill", "--dev")
    killed.project.write("src/b", "not committed now")
    killed.project.build(*killed.arguments, "--dev")
    assert killed.left() == {}
