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
from functools import partial
from itertools import count
from pathlib import Path
from sys import audit as trace
from typing import TYPE_CHECKING, Any, BinaryIO

from stapel.api import Cancel, Log, Mount
from stapel.docker.client import Clients, EngineGone, engine_errors
from stapel.docker.ledger import Ledger
from stapel.errors import NotFound, StapelError
from stapel.runs import home_label
from stapel.script import ENTRYPOINT

if TYPE_CHECKING:
    from docker import APIClient

RUN_LABEL = "dev.conveyor.run"
HOME_LABEL = "dev.conveyor.home"
COMMIT_LABEL = "dev.conveyor.commit"


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
        has_stdin: bool = False,
        tty: bool = False,
        in_memory: str = "",
    ) -> str:
        """A build container with the parameters of the contract; `tools` names the container that has the toolchain.

        Of `env` a None takes away the image's own. `in_memory` is a place for files that are nowhere else.
        """
        mounted: list[dict[str, Any]] = [
            {"Type": "bind", "Source": str(mount.source), "Target": mount.target, "ReadOnly": mount.read_only}
            for mount in mounts
        ]
        if in_memory:
            mounted.append({"Type": "tmpfs", "Target": in_memory, "TmpfsOptions": {"Mode": 0o755}})
        config = {
            "Image": image_id,
            "User": "0:0",
            "WorkingDir": "/",
            "Entrypoint": [ENTRYPOINT],
            "Cmd": list(arguments),
            "Env": [name if value is None else f"{name}={value}" for name, value in env.items()],
            "Labels": self.labels(),
            "Healthcheck": {"Test": ["NONE"]},
            "AttachStdin": has_stdin,
            "OpenStdin": has_stdin,
            "StdinOnce": has_stdin,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
            "HostConfig": {
                "VolumesFrom": [f"{tools}:ro"],
                "Mounts": mounted,
                "NetworkMode": network,
                "LogConfig": {"Type": "none"},
            },
        }
        return self._create(config, "conveyor.build")

    def create_to_run(self, image_id: str, command: Sequence[str], *, tty: bool) -> str:
        """A container of an image as its configuration says, `command` (where there is one) in the place of its CMD."""
        config: dict[str, Any] = {
            "Image": image_id,
            "Labels": self.labels(),
            "AttachStdin": True,
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": tty,
            "HostConfig": {"LogConfig": {"Type": "none"}},
        }
        return self._create(config | ({"Cmd": list(command)} if command else {}), "conveyor.run")

    def put_archive(self, container: str, archive: BinaryIO) -> None:
        """Unpack a tar at the root of a container that is not started; owners are kept."""

        def put(client: Any) -> None:  # noqa: ANN401 -- the SDK's
            archive.seek(0)
            client.put_archive(container, "/", archive)

        trace("container.before-archive")
        self._clients.ask("laying files into a build container", put)
        trace("container.after-archive")

    def run(self, container: str, log: Log, cancel: Cancel, stdin: bytes = b"") -> int:
        """Start it, give it its stdin, pass its output on until it ends; the exit status. `Cancelled`.

        A connection that breaks is made anew, and the container followed on. `EngineGone` where it does not run any more
        then: nobody knows whether it has ended by itself.
        """
        from stapel.docker.following import Following

        following = Following(self._clients, container, log, stdin)
        forget = cancel.on_cancel(lambda: self._kill(container))
        try:
            following.start(cancel)
            status = following.end(cancel)
        except EngineGone:
            cancel.check()
            raise
        finally:
            forget()
        cancel.check()
        return status

    def commit(self, container: str) -> str:
        """The id of an image with what the container left. Its configuration is of no use."""
        mark = f"{COMMIT_LABEL}={secrets.token_hex(8)}"
        tries = count(1)

        def commit(client: Any) -> str:  # noqa: ANN401 -- the SDK's
            # Where an answer was lost, the image is there.
            made = client.images(filters={"label": [mark]}, quiet=True) if next(tries) > 1 else []
            return str(made[0] if made else client.commit(container, pause=False, changes=[f"LABEL {mark}"])["Id"])

        trace("container.before-commit")
        image_id = self._clients.ask("committing a build container", commit)
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

        def create(client: Any) -> str:  # noqa: ANN401 -- the SDK's
            from docker.errors import APIError

            try:
                return str(client.create_container_from_config(dict(config), name)["Id"])
            except APIError as error:
                if error.status_code != 409:
                    raise
                return str(client.inspect_container(name)["Id"])  # nobody else has this name: an answer was lost

        trace("container.before-create")
        container = self._clients.ask("creating a container", create)
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
                    with suppress(NotFound):
                        trace("image.before-remove")
                        self._clients.ask(f"removing image {image_id}", partial(_remove_image, image_id))
                except StapelError:
                    continue  # it is in use yet
                self.ledger.settle("image", image_id)
                with self._lock:
                    self._images.remove(image_id)


def _remove_image(image_id: str, client: APIClient) -> None:
    client.remove_image(image_id, noprune=True)
