"""The service container that has the toolchain: created once for each toolchain, never started, mounted read-only.

It gets its name last, after the tools were tried in a container, so that whoever finds the name finds tools that work.
"""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from sys import audit as trace
from typing import Any, BinaryIO, Literal, cast

from stapel.api import Cancel
from stapel.docker.client import Clients, engine_errors
from stapel.docker.containers import Containers
from stapel.docker.loading import load_image
from stapel.errors import NotFound, StapelError
from stapel.oci.api import ImageConfig
from stapel.oci.layer import Entry, write_layer
from stapel.script import ROOT, entrypoint_arguments
from stapel.toolchain import Toolchain, make_toolchain, proof_script

_LABEL = "dev.conveyor.toolchain"


class Toolbox:
    """Finds or makes the service container. Thread-safe."""

    def __init__(self, clients: Clients, containers: Containers, home_dir: Path) -> None:
        self._clients = clients
        self._containers = containers
        self._home_dir = home_dir
        self._lock = threading.Lock()
        self._names: dict[bool, str] = {}  # without Ansible and with it

    def name(self, platform: str, *, ansible: bool = False) -> str:
        """The name of the service container, which is there when this returns. `StapelError`."""
        with self._lock:
            if ansible not in self._names:
                toolchain = make_toolchain(self._home_dir, ansible=ansible)
                name = f"conveyor.stapel.{toolchain.digest[:12]}"
                if not self._exists(name):
                    self._make(toolchain, name, platform)
                self._names[ansible] = name
            return self._names[ansible]

    def forget(self) -> None:
        """Look again at the next question: somebody has removed it."""
        with self._lock:
            self._names.clear()

    def _exists(self, name: str) -> bool:
        try:
            self._clients.ask("looking for the service container", lambda client: client.inspect_container(name))
        except NotFound:
            return False
        return True

    def _make(self, toolchain: Toolchain, name: str, platform: str) -> None:
        image_id = self._load(toolchain, platform)
        client: Any = self._clients.get()
        with engine_errors("making the service container"):
            trace("service-container.before-create")
            filling = f"{name}.{os.urandom(4).hex()}"
            self._containers.ledger.note("container", filling)
            created = client.create_container_from_config(
                {"Image": image_id, "Cmd": ["-"], "Labels": {_LABEL: toolchain.digest}}, filling
            )["Id"]
        trace("service-container.after-create")
        try:
            self._prove(image_id, filling)
            try:
                with engine_errors("naming the service container"):
                    trace("service-container.before-name")
                    client.rename(created, name)
                    trace("service-container.after-name")
            except StapelError:
                if not self._exists(name):
                    raise
                self._containers.remove_later(created)
        except BaseException:
            self._containers.remove_later(created)
            raise

    def _load(self, toolchain: Toolchain, platform: str) -> str:
        system, _, architecture = platform.partition("/")
        directory = ROOT.strip("/").encode()
        entries = [Entry(directory.partition(b"/")[0], "directory"), Entry(directory, "directory")]
        for file in toolchain.files():
            kind: Literal["directory", "file"] = "directory" if file.kind == "directory" else "file"
            entries.append(Entry(directory + b"/" + file.path, kind, file.mode, size=file.size, open=file.open))
        with tempfile.TemporaryFile() as spool:
            layer = cast(BinaryIO, spool)
            written = write_layer(sorted(entries, key=lambda entry: entry.path.split(b"/")), layer)
            config = ImageConfig(
                {
                    "os": system,
                    "architecture": architecture.partition("/")[0],
                    "config": {"Volumes": {ROOT: {}}, "Labels": {_LABEL: toolchain.digest}},
                    "rootfs": {"type": "layers", "diff_ids": [written.diff_id]},
                    "history": [{"created": "1970-01-01T00:00:00Z"}],
                }
            )
            return load_image(self._clients, config, {written.diff_id: layer})

    def _prove(self, image_id: str, tools: str) -> None:
        """Try every tool in a container without anything else."""
        said: list[bytes] = []
        arguments = entrypoint_arguments(proof_script()).arguments
        container = self._containers.create_to_build(image_id, arguments, tools=tools, env={}, mounts=(), network="none")
        try:
            status = self._containers.run(container, lambda _, data: said.append(data), Cancel())
        finally:
            with suppress(StapelError):
                self._containers.remove_later(container)
        if status:
            output = b"".join(said).decode("utf-8", "replace").strip()
            raise StapelError(
                f"the toolchain of build containers does not work: {output or f'exit status {status}'}",
                hint="`conveyor doctor` tries each tool; bash and coreutils of this host are what it is made of",
            )
