"""Builds that are killed at every trace point, and what the next one makes of what they left."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stapel.runs import home_label
from tests.e2e.images import Images
from tests.e2e.projects import Project
from tests.servers import Registry
from tests.trace_points import Plan

APP = """\
artifact: tools
from: BUSYBOX
shell: {install: echo NUMBER > /first}
---
image: app
from: BUSYBOX
git: [{add: /src, to: /app}]
import: [{artifact: tools, add: /first, to: /second, before: setup}]
docker: {ENV: {A: b}}
"""
FIRST_TIME = ("toolchain.", "blob.", "manifest.before-put", "manifest.after-put")  # what a home, a repository has once
TIMEOUT_S = 120


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
        self.home = Path(project.env["CONVEYOR_HOME_DIR"])
        self.tmp = directory / "tmp"
        self.tmp.mkdir()
        self.key = directory / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True)
        self.dangling = self.unnamed()

    @property
    def arguments(self) -> list[str]:
        repo = ["--repo", f"{self.registry.host}/{self.repository}"] if self.registry else []
        return [
            "--save-build-report",
            "--add-custom-tag",
            "v-%image%",
            "--tmp-dir",
            str(self.tmp),
            "--ssh-key",
            str(self.key),
            *repo,
        ]

    def start(self, plan: Plan) -> subprocess.Popen[str]:
        return subprocess.Popen(
            plan.command("build", *self.arguments),
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
        self.project.configure(APP.replace("NUMBER", str(self.changes)))
        self.project.commit()

    def points(self) -> list[str]:
        """The points that a whole build reaches, in the order in which it does."""
        plan = self.plan(log=True)
        process = self.start(plan)
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, output
        return list(dict.fromkeys(plan.points()))

    def kill_at(self, point: str, count: int = 1) -> None:
        """Build something new, and be killed there."""
        if point.startswith(FIRST_TIME):
            shutil.rmtree(self.home / "toolchain", ignore_errors=True)
            self.repository = f"{self.repositories}/{secrets.token_hex(4)}"
        self.change()
        process = self.start(self.plan((point, count, "kill")))
        output, _ = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == -signal.SIGKILL, f"{point} was not reached: {output}"

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
        facts = json.loads(labels.get("dev.conveyor.stage", "{}"))
        return labels.get("dev.conveyor.home") == home_label(self.home) or facts.get("project") == self.project.name

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
            "files aside": [str(path) for path in self.home.rglob("*") if re.match(r"\.|.*\.new$", path.name)],
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
            for name, digest in registry_names(self.registry.storage, self.repository).items():
                for blob in registry_blobs(self.registry.storage, self.repository, digest):
                    assert blob.is_file(), f"{name} names an image without {blob}"

    def stages(self) -> list[str]:
        """The names of all stored stages."""
        names = (
            [name.rpartition(":")[2] for name in self.images.names(self.project.name)]
            if self.registry is None
            else list(registry_names(self.registry.storage, self.repository))
        )
        return [name for name in names if re.fullmatch(r"[0-9a-f]{56}-\d{13}-[0-9a-f]{8}", name)]

    def build_three_times(self) -> None:
        """The same command, three times; then nothing is left."""
        first, second, third = (self.project.build(*self.arguments) for _ in range(3))
        assert second.built == third.built == {}
        assert first.names() == second.names() == third.names()
        left = {what: found for what, found in self.leftovers().items() if found}
        assert left == {}
        self.check_storage()


def registry_names(storage: Path, repository: str) -> dict[str, str]:
    """What a registry has on disk: name -> digest of its manifest."""
    tags = storage / f"docker/registry/v2/repositories/{repository}/_manifests/tags"
    return {path.parent.parent.name: path.read_text() for path in tags.glob("*/current/link")}


def registry_blobs(storage: Path, repository: str, digest: str) -> Iterator[Path]:
    """The files that an image needs: its manifest, configuration and layers, and their links in the repository."""
    root = storage / "docker/registry/v2"

    def data(blob: str) -> Path:
        return root / f"blobs/sha256/{blob[7:9]}/{blob[7:]}/data"

    yield root / f"repositories/{repository}/_manifests/revisions/sha256/{digest[7:]}/link"
    yield data(digest)
    manifest = json.loads(data(digest).read_bytes())
    for blob in (manifest["config"], *manifest["layers"]):
        yield data(blob["digest"])
        yield root / f"repositories/{repository}/_layers/sha256/{blob['digest'][7:]}/link"


@pytest.fixture
def make_killed(make_project, images, tmp_path, request):
    def make(*, with_registry: bool) -> Killed:
        project = make_project(APP.replace("NUMBER", "0"), {"src/a": "a"})
        return Killed(project, images, tmp_path, request.getfixturevalue("registry") if with_registry else None)

    return make


@pytest.mark.parametrize("with_registry", [False, True], ids=["engine", "registry"])
def test_a_build_killed_anywhere_is_made_good_by_the_next(make_killed, with_registry):
    killed = make_killed(with_registry=with_registry)
    for point in killed.points():
        killed.kill_at(point)
        killed.check_storage()
    stored = killed.stages()
    killed.build_three_times()
    assert set(stored) <= set(killed.stages())
