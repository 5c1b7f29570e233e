"""The work of the Docker engine: layers of files, build containers, what they leave.

Apart from the engine's door because a run that has nothing to build never comes here.
"""

from __future__ import annotations

import posixpath
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from msgspec.structs import replace

from stapel.api import Cancel, Lay, Log, Mount, Run, Tree
from stapel.containers import AGENT_SOCKET, proxies
from stapel.docker.client import Clients
from stapel.docker.containers import Containers
from stapel.docker.held import DockerHeld, Reading
from stapel.docker.images import config_of
from stapel.docker.listing import inspect_image
from stapel.docker.loading import image_id_of, load_image
from stapel.docker.secret_files import find_place, stdin_of
from stapel.docker.toolbox import Toolbox
from stapel.docker.tree import MOUNTED_OVER, DockerTree
from stapel.errors import CommandFailed, StapelError
from stapel.lay import LayPlan, plan_lays
from stapel.oci.api import ImageConfig
from stapel.oci.layer import Entry, write_layer
from stapel.places import Places
from stapel.script import SCRIPT_PATH, entrypoint_arguments, removal_prefix


class Builds:
    """Builds layers on images of one engine. Thread-safe."""

    def __init__(self, clients: Clients, containers: Containers, platform: str, home_dir: Path, tmp_dir: Path) -> None:
        self._clients = clients
        self._containers = containers
        self._platform = platform
        self._tmp_dir = tmp_dir
        self._toolbox = Toolbox(clients, containers, home_dir)
        self._lock = threading.Lock()
        self._without_volumes: dict[str, str] = {}

    def lay(self, on: DockerHeld, lays: Sequence[Lay], cancel: Cancel) -> DockerHeld:
        """Files alone: one layer, written here, given to the engine together with its configuration."""
        layer = cast(BinaryIO, tempfile.TemporaryFile(dir=self._tmp_dir))  # noqa: SIM115 -- the result closes it
        try:
            with self.tree(on) as tree:
                written = write_layer(_until(cancel, _plan(lays, tree).entries()), layer)
            layer.flush()
        except BaseException:
            layer.close()
            raise
        config = _with_layers(on.config, (*on.config.diff_ids, written.diff_id))
        return DockerHeld(
            "",
            config,
            layer=layer,
            load=lambda held: self.load(held, self._temporary(held.config)),
            on_close=self._containers.remove_image_later,
        )

    def run(
        self, on: DockerHeld, lays: Sequence[Lay], run: Run, log: Log, cancel: Cancel, *, keep_failed: bool = False
    ) -> DockerHeld:
        """Files and commands in a build container; what it left. `CommandFailed` unless `keep_failed`."""
        with ExitStack() as resources:
            plan, removals = None, tuple[bytes, ...]()
            if lays:
                tree = resources.enter_context(self.tree(on))
                plan = _plan(lays, tree)
                removals = (*plan.removals, *plan.emptied_paths(tree))
                if _reaches_mounts([*plan.laid, *removals], run, tree):
                    # In the container it would happen to the directories of the host: here it takes a layer more.
                    with closing(self.lay(on, lays, cancel)) as laid:
                        return self.run(laid, (), run, log, cancel, keep_failed=keep_failed)
            container = self.create(on, run, removals, resources)
            if plan is not None:
                self._lay_into(container, _until(cancel, plan.archive()))
            stdin = stdin_of(run.secrets) if run.secrets else b""
            status = self._containers.run(container, log, cancel, stdin)
            if status and not keep_failed:
                raise CommandFailed(status)
            image_id = self._containers.commit(container)
        inspected = inspect_image(self._clients, image_id)
        if inspected is None:
            raise StapelError(f"the Docker Engine committed {image_id} and does not have it")
        return DockerHeld(
            image_id,
            _with_layers(on.config, config_of(inspected).diff_ids),
            committed_env=frozenset({*_environment(on, run)}),
            on_close=self._containers.remove_image_later,
        )

    @contextmanager
    def tree(self, image: DockerHeld) -> Iterator[Tree]:
        """The merged files of an image, read through containers that are never started."""
        image_id = self._plain(image)
        opened: list[str] = []

        def open_container() -> str:
            opened.append(self._containers.create_to_read(image_id))
            return opened[-1]

        try:
            yield DockerTree(self._clients, open_container)
        finally:
            for container in opened:
                self._containers.remove_later(container)

    def create(
        self,
        on: DockerHeld,
        run: Run,
        removals: Sequence[bytes],
        resources: ExitStack,
        *,
        interactive: bool = False,
        tty: bool = False,
    ) -> str:
        """A build container, removed with `resources`; without `interactive` it has the script of `run`.

        With it, it is a shell, or with secrets one that holds them for a shell beside it (`terminal.open_shell`).
        """
        if run.collections:
            from stapel.ansible_toolchain import check_collections

            check_collections(run.collections)
        env = _environment(on, run)
        mounts = list(run.mounts)
        if run.ssh_socket is not None:
            from stapel.ssh_agent import serve_filtered

            socket = resources.enter_context(serve_filtered(run.ssh_socket, self._tmp_dir))
            mounts.append(Mount(socket, AGENT_SOCKET))
        script, files = removal_prefix(removals, ()) + run.script, None
        if run.secrets:
            with self.tree(on) as tree:
                files = find_place(tree)
            names = tuple(run.secrets)
            script = files.hold(names) if interactive else files.wrap(script, names)
        is_shell = interactive and files is None
        call = None if is_shell else entrypoint_arguments(script)
        image_id = self._plain(on)

        def create() -> str:
            return self._containers.create_to_build(
                image_id,
                call.arguments if call else (),
                tools=self._toolbox.name(self._platform, ansible=run.needs_ansible),
                env=env,
                mounts=mounts,
                network=run.network,
                has_stdin=is_shell or files is not None,
                tty=tty and is_shell,
                in_memory=files.place if files is not None else "",
            )

        try:
            container = create()
        except StapelError as error:  # not found, or a bad request: that changes from version to version
            if "No such container: conveyor.stapel" not in str(error):
                raise
            # Somebody has pruned containers since the service container was looked for.
            self._toolbox.forget()
            container = create()
        resources.callback(self._containers.remove_later, container)
        if call is not None and call.archive is not None:
            self._put_script(container, call.archive)
        if files is not None and files.link:
            self._lay_into(container, files.entries())
        return container

    def load(self, held: DockerHeld, config: ImageConfig) -> str:
        """The id of an image with these files and this configuration, which the engine has from now on."""
        self._containers.ledger.note("image", image_id_of(config))
        layers = {config.diff_ids[-1]: cast(BinaryIO, Reading(held.layer))} if held.layer is not None else {}
        return load_image(self._clients, config, layers)

    def close(self) -> None:
        """Let the engine forget what was made for the run alone."""
        for image_id in self._without_volumes.values():
            self._containers.remove_image_later(image_id)

    def _temporary(self, config: ImageConfig) -> ImageConfig:
        """For an image of this run alone: no other run has one of the same id, and removes it while we use it."""
        return config.with_(run={**config.run, "Labels": {**config.labels, **self._containers.labels()}})

    def _put_script(self, container: str, script: bytes) -> None:
        import io

        path = SCRIPT_PATH.strip("/").encode()
        content = Entry(path, "file", 0o600, size=len(script), open=lambda: cast(BinaryIO, io.BytesIO(script)))
        self._lay_into(container, [content])

    def _lay_into(self, container: str, entries: Iterable[Entry]) -> None:
        with tempfile.TemporaryFile(dir=self._tmp_dir) as spool:
            write_layer(entries, cast(BinaryIO, spool))
            spool.seek(0)
            self._containers.put_archive(container, cast(BinaryIO, spool))

    def _plain(self, held: DockerHeld) -> str:
        """The id of an image with these files and no volumes: what a stage writes to a volume would not be in its layer."""
        if not held.config.run.get("Volumes") or held.committed_env is not None:
            return held.id
        with self._lock:
            if held.id not in self._without_volumes:
                run = {key: value for key, value in held.config.run.items() if key != "Volumes"}
                self._without_volumes[held.id] = self.load(held, self._temporary(held.config.with_(run=run)))
            return self._without_volumes[held.id]


def _plan(lays: Sequence[Lay], tree: Tree) -> LayPlan:
    # What the engine mounts over cannot be read, and nobody in a container can change it.
    checked = [
        replace(lay, expected={path: oid for path, oid in lay.expected.items() if path not in MOUNTED_OVER}) for lay in lays
    ]
    return plan_lays(checked, tree, now_s=int(time.time()))


def _reaches_mounts(paths: Sequence[bytes], run: Run, tree: Tree) -> bool:
    places = Places(tree)
    targets = [places.directory(posixpath.normpath(mount.target).strip("/").encode()) for mount in run.mounts]
    return any(
        path == target or path.startswith(target + b"/") or target.startswith(path + b"/")
        for target in targets
        for path in paths
    )


def _until(cancel: Cancel, entries: Iterator[Entry]) -> Iterator[Entry]:
    for entry in entries:
        cancel.check()
        yield entry


def _environment(on: DockerHeld, run: Run) -> dict[str, str | None]:
    """The variables of a container beside those of the image; None takes away what only an earlier container had."""
    env: dict[str, str | None] = {}
    if on.committed_env:
        own = dict(text.partition("=")[::2] for text in on.config.run.get("Env") or ())
        env = {name: own.get(name) for name in on.committed_env}
    env |= {**proxies(), **run.env}
    return env | {"SSH_AUTH_SOCK": AGENT_SOCKET} if run.ssh_socket is not None else env


def _with_layers(config: ImageConfig, diff_ids: Sequence[str]) -> ImageConfig:
    return config.with_(rootfs={"type": "layers", "diff_ids": list(diff_ids)})
