"""What a command leaves: many small files, and much."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.harness import BASE, Harness, Project, Variant, show

FILES = 20_000
ENDED = "THE COMMAND HAS ENDED"
SAVED, COMMITTED = f"conveyor: {FILES} files, end of command to saved", f"docker commit: {FILES} files"
PUSHED, DOCKER_PUSHED = "conveyor: 200 MB, end of command to registry", "docker push: 200 MB"
MANY = f"mkdir /many; i=0; while [ $i -lt {FILES} ]; do echo $i > /many/$i; i=$((i+1)); done"
MUCH = "dd if=/dev/urandom of=/much bs=1M count=200 2>/dev/null"


def measure(harness: Harness) -> None:
    """20,000 small files, and 200 MB to a registry: from the end of the command to what is saved, against docker."""
    registry = _start_registry(harness)
    try:
        figures = _measure_conveyor(harness, registry) | _measure_docker(harness, registry)
    finally:
        if registry is not None:
            registry.process.terminate()
            registry.process.wait()
    show(figures, {(SAVED, COMMITTED): 0.2, (PUSHED, DOCKER_PUSHED): 0.2})


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry of this bench."""

    process: subprocess.Popen[bytes]
    address: str


def _measure_conveyor(harness: Harness, registry: Registry | None) -> dict[str, float]:
    many = Project(harness, "small-files", _image("true"))
    much = Project(harness, "much", _image("true"))
    many.build()  # what is made once a machine
    figures = {SAVED: _median_of(lambda: _after_command(many, MANY), harness.rounds)}
    if registry is None:
        print("   docker-registry: not here, so nothing is pushed")
    else:
        repo = f"--repo={registry.address}/much"
        figures[PUSHED] = _median_of(lambda: _after_command(much, MUCH, repo), harness.rounds)
    return figures


def _measure_docker(harness: Harness, registry: Registry | None) -> dict[str, float]:
    if not harness.works("docker", "version"):
        print("   docker: not here")
        return {}
    harness.have_base_in_docker()
    target = f"conveyor-bench-small-files-{harness.run_id}:1"
    containers: list[str] = []

    def commit() -> None:
        harness.call("docker", "commit", containers[-1], target)

    variants = {COMMITTED: Variant(commit, lambda: containers.append(_run(harness, MANY)))}
    if registry is not None:
        pushed = f"{registry.address}/docker-much:{harness.run_id}"

        def make() -> None:
            containers.append(_run(harness, MUCH))
            harness.call("docker", "commit", containers[-1], pushed)

        variants[DOCKER_PUSHED] = Variant(lambda: harness.call("docker", "push", pushed), make)
    try:
        return harness.interleave(variants)
    finally:
        harness.works("docker", "rm", "--force", *containers)
        harness.works("docker", "rmi", "--force", target, *([pushed] if registry is not None else []))


def _image(command: str) -> str:
    version = secrets.token_hex(8)
    return f"image: app\nfrom: {BASE}\nfromCacheVersion: {version}\nshell: {{setup: '{command}; echo {ENDED}'}}\n"


def _after_command(project: Project, command: str, *arguments: str) -> float:
    """Seconds from the last line that the command prints to the event that says that its stage is saved."""
    project.configure(_image(command))
    project.commit()
    command_line = ["conveyor", "build", "--log-format=json", *arguments]
    process = subprocess.Popen(command_line, cwd=project.directory, env=project.harness.env, stdout=subprocess.PIPE)
    assert process.stdout is not None
    ended = saved = 0.0
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "stage_log" and ENDED in event["text"]:
            ended = time.perf_counter()
        if event["event"] == "stage_built" and event["result"]["stage"] == "setup":
            saved = time.perf_counter()
    assert process.wait() == 0
    return saved - ended


def _median_of(run: Callable[[], float], rounds: int) -> float:
    return sorted(run() for _ in range(rounds))[rounds // 2]


def _run(harness: Harness, command: str) -> str:
    container = harness.call("docker", "create", "--network=host", BASE, "/bin/sh", "-c", command).strip()
    harness.call("docker", "start", "--attach", container)
    return container


def _start_registry(harness: Harness) -> Registry | None:
    program = shutil.which("docker-registry")
    if program is None:
        return None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    config = harness.scratch / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '{address}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {harness.scratch / 'registry'}}}}}\n"
    )
    process = subprocess.Popen([program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    host, port = address.split(":")
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((host, int(port))) == 0:
                return Registry(process, address)
        time.sleep(0.05)
    return None
