"""Containers of one run: their parameters, their output, their end.

Each carries the id of its run and the label of its home, so that the next run of that home removes what a killed one left.
Removal costs as much as a small stage, so it happens beside the build and is waited for at its end.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from sys import audit as trace
from typing import Any, BinaryIO

from stapel.api import Cancel, Log, Mount
from stapel.docker.client import Clients, engine_errors
from stapel.docker.ledger import Ledger
from stapel.errors import NotFound, StapelError
from stapel.runs import home_label
from stapel.script import ENTRYPOINT

RUN_LABEL = "dev.conveyor.run"
HOME_LABEL = "dev.conveyor.home"


class Containers:
    """Creates, runs and removes. Thread-safe."""

    def __init__(self, clients: Clients, run_id: str, home_dir: Path) -> None:
        self._clients = clients
        self._run_id = run_id
        self._home_dir = home_dir
        self.ledger = Ledger(home_dir, run_id, clients.endpoint)
        self._lock = threading.Lock()
        self._failed = False
        self._cleaners: ThreadPoolExecutor | None = None
        self._images: list[str] = []  # to be removed
        self._removing = threading.Lock()

    def create_to_read(self, image_id: str) -> str:
        """A container that is never started, for its files."""
        config = {"Image": image_id, "Entrypoint": [ENTRYPOINT], "Labels": self.labels()}
        return self._create(config | {"HostConfig": {"NetworkMode": "none"}}, "conveyor.read")

    def create_to_build(
        self,
        image_id: str,
        arguments: Sequence[str],
        *,
        tools: str,
        env: Mapping[str, str | None],
        mounts: Sequence[Mount],
        network: str,
        interactive: bool = False,
        tty: bool = False,
    ) -> str:
        """A build container with the parameters of the contract; `tools` names the container that has the toolchain.

        Of `env` a None takes away the image's own.
        """
        config = {
            "Image": image_id,
            "User": "0:0",
            "WorkingDir": "/",
            "Entrypoint": [ENTRYPOINT],
            "Cmd": list(arguments),
            "Env": [name if value is None else f"{name}={value}" for name, value in env.items()],
            "Labels": self.labels(),
            "Healthcheck": {"Test": ["NONE"]},
            "AttachStdin": interactive,
            "OpenStdin": interactive,
            "StdinOnce": interactive,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
            "HostConfig": {
                "VolumesFrom": [f"{tools}:ro"],
                "Mounts": [
                    {"Type": "bind", "Source": str(item.source), "Target": item.target, "ReadOnly": item.read_only}
                    for item in mounts
                ],
                "NetworkMode": network,
                "LogConfig": {"Type": "none"},
            },
        }
        return self._create(config, "conveyor.build")

    def put_archive(self, container: str, archive: BinaryIO) -> None:
        """Unpack a tar at the root of a container that is not started; owners are kept."""
        with engine_errors("laying files into a build container"):
            trace("container.before-archive")
            self._clients.get().put_archive(container, "/", archive)
            trace("container.after-archive")

    def run(self, container: str, log: Log, cancel: Cancel) -> int:
        """Start it, pass its output on until it ends; the exit status. `Cancelled`."""
        client = self._clients.get()
        with engine_errors("running a build container"):
            output = client.attach(container, stdout=True, stderr=True, stream=True, demux=True)
            cancel.check()
            trace("container.before-start")
            client.start(container)
            trace("container.after-start")
            forget = cancel.on_cancel(lambda: self._kill(container))
            try:
                for stdout, stderr in output:
                    if stdout:
                        log("stdout", stdout)
                    if stderr:
                        log("stderr", stderr)
                status = int(client.wait(container)["StatusCode"])
            finally:
                forget()
        cancel.check()
        return status

    def commit(self, container: str) -> str:
        """The id of an image with what the container left. Its configuration is of no use."""
        with engine_errors("committing a build container"):
            trace("container.before-commit")
            image_id = str(self._clients.get().commit(container, pause=False)["Id"])
        trace("container.after-commit")
        return image_id

    def remove_later(self, container: str) -> None:
        """Remove a container and its anonymous volumes, beside what comes next."""
        from stapel.docker.leftovers import remove_container

        self.later(lambda: remove_container(self._clients, container))

    def remove_image_later(self, image_id: str) -> None:
        """Let the engine forget an image that has no name. One that others were committed from goes after them."""
        with self._lock:
            self._images.append(image_id)
        self.later(self._remove_images)

    def later(self, work: Any) -> None:  # noqa: ANN401 -- any callable
        """Do something beside the build; what goes wrong in it is left for the next run."""

        def quietly() -> None:
            try:
                work()
            except StapelError:
                self._failed = True

        with self._lock:
            if self._cleaners is None:
                self._cleaners = ThreadPoolExecutor(2, thread_name_prefix="docker-cleaner")
            self._cleaners.submit(quietly)

    def close(self) -> None:
        """Wait for all removals. What could not be removed is left for the next run."""
        while True:
            with self._lock:
                cleaners, self._cleaners = self._cleaners, None
            if cleaners is None:
                break
            cleaners.shutdown(wait=True)
        # An image that was in use when its turn came is not by now.
        self._remove_images()
        with suppress(StapelError):
            if self.ledger.open_notes():
                from stapel.docker.leftovers import settle

                settle(self._clients, self.ledger)
            if not self._failed and not self._images:
                self.ledger.end()

    def _create(self, config: Mapping[str, Any], kind: str) -> str:
        self.ledger.begin()
        name = f"{kind}.{self._run_id}.{secrets.token_hex(4)}"
        with engine_errors("creating a container"):
            client: Any = self._clients.get()
            trace("container.before-create")
            container = str(client.create_container_from_config(dict(config), name)["Id"])
        trace("container.after-create")
        return container

    def labels(self) -> dict[str, str]:
        """What tells that something is of this run."""
        return {RUN_LABEL: self._run_id, HOME_LABEL: home_label(self._home_dir)}

    def _kill(self, container: str) -> None:
        with suppress(StapelError), engine_errors("stopping a build container"):
            self._clients.get().kill(container)

    def _remove_images(self) -> None:
        with self._removing:
            with self._lock:
                waiting = list(reversed(self._images))
            for image_id in waiting:
                try:
                    with suppress(NotFound), engine_errors(f"removing image {image_id}"):
                        trace("image.before-remove")
                        self._clients.get().remove_image(image_id, noprune=True)
                except StapelError:
                    continue  # it is in use yet
                self.ledger.settle("image", image_id)
                with self._lock:
                    self._images.remove(image_id)
