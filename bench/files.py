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
from statistics import median

from bench.harness import BASE, Harness, Project, show

FILES = 20_000
ENDED = "THE COMMAND HAS ENDED"
SAVED, COMMITTED = f"conveyor: {FILES} files, end of command to saved", f"docker commit: {FILES} files"
PUSHED, DOCKER_PUSHED = "conveyor: 200 MB, end of command to registry", "docker push: 200 MB"
MANY = f"mkdir /many; i=0; while [ $i -lt {FILES} ]; do echo $i > /many/$i; i=$((i+1)); done"
MUCH = "dd if=/dev/urandom of=/much bs=1M count=200 2>/dev/null"


def measure(harness: Harness) -> None:
    """20,000 small files, and 200 MB to a registry: from the end of the command to what is saved, against docker."""
    registry = _start_registry(harness)
    if registry is None:
        print("   docker-registry: not here, so nothing is pushed")
    containers: list[str] = []
    images: list[str] = []
    try:
        seconds = _conveyors(harness, registry) | _dockers(harness, registry, containers, images)
        taken: dict[str, list[float]] = {name: [] for name in seconds}
        for _ in range(harness.rounds):
            for name, measure_one in seconds.items():
                taken[name].append(measure_one())
    finally:
        if containers:
            harness.works("docker", "rm", "--force", *containers)
            harness.works("docker", "rmi", "--force", *images)
        if registry is not None:
            registry.process.terminate()
            registry.process.wait()
    figures = {name: median(each) for name, each in taken.items()}
    show(figures, {(SAVED, COMMITTED): 0.2, (PUSHED, DOCKER_PUSHED): 0.2})


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry of this bench."""

    process: subprocess.Popen[bytes]
    address: str


def _conveyors(harness: Harness, registry: Registry | None) -> dict[str, Callable[[], float]]:
    many = Project(harness, "small-files", _image("true"))
    much = Project(harness, "much", _image("true"))
    many.build()  # what is made once a machine
    seconds: dict[str, Callable[[], float]] = {SAVED: lambda: _after_command(many, MANY)}
    if registry is not None:
        repo = f"--repo={registry.address}/much"
        seconds[PUSHED] = lambda: _after_command(much, MUCH, repo)
    return seconds


def _dockers(
    harness: Harness, registry: Registry | None, containers: list[str], images: list[str]
) -> dict[str, Callable[[], float]]:
    """What is made there is put into the lists."""
    if not harness.works("docker", "version"):
        print("   docker: not here")
        return {}
    harness.have_base_in_docker()
    target = f"conveyor-bench-small-files-{harness.run_id}:1"
    images.append(target)

    def commit() -> float:
        containers.append(_run(harness, MANY))
        return _seconds_of(lambda: harness.call("docker", "commit", containers[-1], target))

    seconds: dict[str, Callable[[], float]] = {COMMITTED: commit}
    if registry is not None:
        pushed = f"{registry.address}/docker-much:{harness.run_id}"
        images.append(pushed)

        def push() -> float:
            containers.append(_run(harness, MUCH))
            harness.call("docker", "commit", containers[-1], pushed)
            return _seconds_of(lambda: harness.call("docker", "push", pushed))

        seconds[DOCKER_PUSHED] = push
    return seconds


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


def _seconds_of(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


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
