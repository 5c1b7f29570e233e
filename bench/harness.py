"""What all benches share: a scratch directory, an engine with a base image, projects, rounds in turns."""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from samples.make_base import busybox_archive, find_busybox, make_base

BASE = "conveyor-bench/busybox:1"


def nothing() -> None:
    """What needs no preparation."""


@dataclass(frozen=True, slots=True)
class Variant:
    """Something to be timed. `prepare` runs before it in each round and does not count."""

    run: Callable[[], object]
    prepare: Callable[[], object] = nothing


class Harness:
    """One bench's surroundings; all that it made goes at the end."""

    def __init__(self, engine: str, rounds: int, files: int, images: int) -> None:
        self.engine = engine
        self.rounds = rounds
        self.files = files
        self.images = images
        self.run_id = secrets.token_hex(4)
        self.scratch = Path()
        self.env: dict[str, str] = {}
        self._repositories: list[str] = []

    def __enter__(self) -> Harness:
        self.scratch = Path(tempfile.mkdtemp(prefix="conveyor-bench-"))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("CONVEYOR_", "GIT_"))}
        self.env = {
            **kept,
            "PATH": path,
            "CONVEYOR_HOME_DIR": str(self.scratch / "home"),
            "CONVEYOR_ENGINE": self.engine,
            "GIT_CONFIG_GLOBAL": os.devnull,
            **{f"GIT_{who}_{what}": "bench@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        self._make_base()
        return self

    def __exit__(self, *_: object) -> None:
        if self.engine == "sandbox":
            subprocess.run(["conveyor", "host", "purge", "--yes"], env=self.env, capture_output=True)
        for repository in self._repositories:
            listed = self._output("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", repository).split()
            if listed:
                subprocess.run(["docker", "rmi", "--force", *listed], capture_output=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _make_base(self) -> None:
        if self.engine == "sandbox":
            archive = self.scratch / "base.tar"
            archive.write_bytes(busybox_archive(find_busybox()))
            self.call("conveyor", "image", "import", BASE, str(archive))
        else:
            self.have_base_in_docker()

    def have_base_in_docker(self) -> None:
        """The base for Docker's own builders."""
        import docker

        client = docker.APIClient(version="auto", timeout=600)
        make_base(client, "busybox", BASE)
        client.close()

    def name(self, what: str) -> str:
        """A project's name, which nobody else has; its images go at the end."""
        name = f"conveyor-bench-{what}-{self.run_id}"
        self._repositories.append(name)
        return name

    def call(self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a command to its good end; its output."""
        ran = subprocess.run(command, cwd=cwd, env={**self.env, **(env or {})}, capture_output=True, text=True)
        if ran.returncode:
            sys.exit(f"{' '.join(command)} ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
        return ran.stdout

    def _output(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True).stdout

    def works(self, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> bool:
        """Whether a peer is here and does what it is asked."""
        try:
            return not subprocess.run(command, cwd=cwd, env={**self.env, **(env or {})}, capture_output=True).returncode
        except OSError:
            return False

    def interleave(self, variants: Mapping[str, Variant]) -> dict[str, float]:
        """Seconds of each variant, medians over the rounds.

        Each round begins with another one: what removes many files makes those slow that come next.
        """
        taken: dict[str, list[float]] = {name: [] for name in variants}
        order = list(variants.items())
        for _ in range(self.rounds):
            order.append(order.pop(0))
            for name, variant in order:
                variant.prepare()
                start = time.perf_counter()
                variant.run()
                taken[name].append(time.perf_counter() - start)
        return {name: statistics.median(seconds) for name, seconds in taken.items()}


class Project:
    """A git repository with a project."""

    def __init__(self, harness: Harness, name: str, images: str, files: Mapping[str, str] = {}) -> None:
        self.harness = harness
        self.name = harness.name(name)
        self.directory = harness.scratch / name
        self.directory.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.write(files)
        self.configure(images)
        self.commit()

    def configure(self, images: str) -> None:
        """Have a configuration with these documents."""
        self.write({"werf.yaml": f"project: {self.name}\nconfigVersion: 1\n---\n{images}"})

    def write(self, files: Mapping[str, str]) -> None:
        """Have files in the work tree."""
        for path, text in files.items():
            target = self.directory / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def git(self, *arguments: str) -> str:
        """Run git here."""
        return self.harness.call("git", *arguments, cwd=self.directory)

    def commit(self) -> None:
        """Commit all as it is."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "A change")

    def build(self, *arguments: str) -> str:
        """`conveyor build`."""
        return self.harness.call("conveyor", "build", *arguments, cwd=self.directory)


def show(figures: Mapping[str, float], bounds: Mapping[tuple[str, str], float] = {}) -> None:
    """Print figures, and ratios of them with their bounds."""
    for name, seconds in figures.items():
        print(f"   {name:<44} {seconds * 1000:9.0f} ms")
    for (one, other), bound in bounds.items():
        if one in figures and other in figures:
            print(f"   {one} / {other}: {figures[one] / figures[other]:.2f}  (bound: {bound})", flush=True)


def show_absolute(figures: Mapping[str, float], bounds_s: Mapping[str, float]) -> None:
    """Print what has a bound in seconds: on a machine that has nothing else to do."""
    for name, bound in bounds_s.items():
        if name in figures:
            print(f"   {name}: {figures[name]:.2f} s  (bound: {bound} s)", flush=True)


def docker_builders(harness: Harness) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Peers that build Dockerfiles, by name: a command to be followed by a directory, and its variables."""
    found: dict[str, tuple[list[str], dict[str, str]]] = {}
    trial = harness.scratch / "trial"
    trial.mkdir(exist_ok=True)
    (trial / "Dockerfile").write_text(f"FROM {BASE}\nRUN true\n")
    if harness.works("docker", "version"):
        harness.have_base_in_docker()
    clients = [path for path in _on_path("docker") if harness.works(path, "version")]
    for name, kit in (("docker build (BuildKit)", "1"), ("docker build (legacy)", "0")):
        env = {"DOCKER_BUILDKIT": kit}
        for client in clients:
            command = [client, "build", "--network=host"]
            if harness.works(*command, str(trial), env=env):
                found[name] = (command, env)
                break
        else:
            print(f"   {name}: not here")
    buildah = ["buildah", "bud", "--network=host", "--layers", "--isolation=chroot"]
    archive = harness.scratch / "buildah.tar"
    archive.write_bytes(busybox_archive(find_busybox()))
    if _bring_to_buildah(harness, archive) and harness.works(*buildah, str(trial)):
        found["buildah bud"] = (buildah, {})
    else:
        print("   buildah bud: not here")
    return found


def _bring_to_buildah(harness: Harness, archive: Path) -> bool:
    if shutil.which("buildah") is None:
        return False
    container = subprocess.run(["buildah", "from", "scratch"], capture_output=True, text=True).stdout.strip()
    if not container:
        return False
    try:
        return harness.works("buildah", "add", container, str(archive), "/") and harness.works(
            "buildah", "commit", container, BASE
        )
    finally:
        subprocess.run(["buildah", "rm", container], capture_output=True)


def _on_path(program: str) -> Sequence[str]:
    directories = dict.fromkeys(os.environ["PATH"].split(":"))
    return [str(path) for path in (Path(directory) / program for directory in directories) if os.access(path, os.X_OK)]
