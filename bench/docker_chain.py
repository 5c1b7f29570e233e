"""A chain of ten trivial stages on the Docker Engine: `conveyor build`, whole process, against the engine's own calls.

Direct means, for each stage: create, attach, start, wait, commit, and a load of a configuration over the layers, through the
SDK, in a process that has been started already. Both build on the same base, in turns, and always from nothing.

    python bench/docker_chain.py [ROUNDS]
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import docker

STAGES = ("beforeInstall", "install", "beforeSetup", "setup")
BASE = "conveyor-bench/busybox:1"
REPOSITORY = "conveyor-bench-chain"


def measure(rounds: int) -> dict[str, float]:
    """Seconds, medians: `direct`, `conveyor`."""
    client = docker.APIClient(version="auto", timeout=600)
    make_base = Path(__file__).parents[1] / "samples/make_base.py"
    subprocess.run([sys.executable, make_base, "busybox", BASE], check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as scratch:
        project = Project(Path(scratch))
        project.build()  # the toolchain is made once a machine
        variants: dict[str, Callable[[], None]] = {"direct": lambda: build_directly(client), "conveyor": project.build}
        taken: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(rounds):
            for name, run in variants.items():
                project.change()
                start = time.perf_counter()
                run()
                taken[name].append(time.perf_counter() - start)
        remove(client)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


class Project:
    """Three images, one upon the other, with ten commands in all; each change makes all of them new."""

    def __init__(self, scratch: Path) -> None:
        self.directory = scratch / "project"
        self.directory.mkdir()
        self.env = {**os.environ, "CONVEYOR_HOME_DIR": str(scratch / "home")}
        self.git("init", "--quiet")
        self.change()

    def change(self) -> None:
        """Commit a configuration of which nothing is stored."""
        images = []
        for name, base, stages in (("a", BASE, STAGES), ("b", "a", STAGES), ("c", "b", STAGES[:2])):
            commands = "".join(f"  {stage}: echo {name} > /{name}-{stage}\n" for stage in stages)
            version = f"fromCacheVersion: {secrets.token_hex(8)}\n"
            images.append(f"image: {name}\nfrom: {base}\n{version}shell:\n{commands}")
        (self.directory / "werf.yaml").write_text(f"project: {REPOSITORY}\nconfigVersion: 1\n---\n" + "---\n".join(images))
        self.git("add", "--all")
        self.git("-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "--quiet", "-m", "A change")

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.directory, check=True, capture_output=True)

    def build(self) -> None:
        command = shutil.which("conveyor", path=str(Path(sys.executable).parent)) or "conveyor"
        subprocess.run([command, "build"], cwd=self.directory, env=self.env, check=True, capture_output=True)


def build_directly(client: docker.APIClient) -> None:
    """Ten stages by hand, as the engine would have them."""
    image = BASE
    document = client.inspect_image(image)
    layers = list(document["RootFS"]["Layers"])
    for number in range(10):
        config = {"Image": image, "Entrypoint": ["/bin/sh"], "Cmd": ["-ec", f"echo {number} > /{number}"]}
        container = client.create_container_from_config({**config, "AttachStdout": True, "AttachStderr": True})["Id"]
        output = client.attach(container, stdout=True, stderr=True, stream=True, demux=True)
        client.start(container)
        for _ in output:
            pass
        client.wait(container)
        committed = client.commit(container)["Id"]
        layers.append(client.inspect_image(committed)["RootFS"]["Layers"][-1])
        image = load(client, document, layers)
        client.tag(image, REPOSITORY, f"direct-{number}", force=True)
        client.remove_container(container, v=True, force=True)


def load(client: docker.APIClient, document: dict, layers: list[str]) -> str:
    """A configuration over layers that the engine has."""
    config = {
        "architecture": document["Architecture"],
        "os": document["Os"],
        "config": {**document["Config"], "Labels": {"bench": secrets.token_hex(8)}},
        "rootfs": {"type": "layers", "diff_ids": layers},
    }
    raw = json.dumps(config).encode()
    name = sha256(raw).hexdigest()
    paths = [f"{layer.removeprefix('sha256:')}/layer.tar" for layer in layers]
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        manifest = json.dumps([{"Config": f"{name}.json", "RepoTags": None, "Layers": paths}]).encode()
        for path, data in (("manifest.json", manifest), (f"{name}.json", raw)):
            member = tarfile.TarInfo(path)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    list(client.load_image(archive.getvalue(), quiet=True))
    return f"sha256:{name}"


def remove(client: docker.APIClient) -> None:
    """Names go, newest first, and what only they kept goes with them."""
    for image in sorted(client.images(name=REPOSITORY), key=lambda image: -image["Created"]):
        for tag in image["RepoTags"]:
            client.remove_image(tag)


if __name__ == "__main__":
    medians = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
    print(f"direct   {medians['direct'] * 1000:7.0f} ms")
    print(f"conveyor {medians['conveyor'] * 1000:7.0f} ms")
    print(f"ratio    {medians['conveyor'] / medians['direct']:7.2f}  (bound: 1.25)")
