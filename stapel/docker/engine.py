"""The Docker Engine as an engine of stages.

A stage of files becomes a layer that is written here and loaded over the base; a stage of commands runs in a container that
is committed. Either way the configuration is ours: `docker load` of a configuration over the layers (what a commit says of
the container is thrown away).
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from stapel.api import Cancel, Held, Lay, Log, Run, Tree
from stapel.docker.client import Clients
from stapel.docker.containers import AGENT_SOCKET, Containers
from stapel.docker.held import DockerHeld
from stapel.docker.images import IMAGE_MEDIA_TYPE, DockerImage, DockerImages, config_of
from stapel.docker.listing import ask_version, inspect_image
from stapel.docker.toolbox import Toolbox
from stapel.docker.tree import DockerTree
from stapel.errors import CommandFailed, NotFound, StapelError, Unreachable
from stapel.image_config import child
from stapel.lay import plan_lays
from stapel.oci.api import Descriptor, ImageConfig, ImageStore, ImageView
from stapel.oci.layer import write_layer
from stapel.script import SCRIPT_PATH, entrypoint_arguments, removal_prefix

_API = (1, 40)


class DockerEngine:
    """The engine over one Docker Engine. It asks nothing before the first question.

    `project` names the repository of the engine's own store; `run_id` and `home_dir` mark what is started.
    """

    def __init__(
        self,
        project: str,
        *,
        run_id: str,
        home_dir: Path,
        tmp_dir: Path,
        docker_config: str | None = None,
        on_warning: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._clients = Clients(docker_config)
        self._images = DockerImages(project, self._clients)
        self._containers = Containers(self._clients, run_id, home_dir)
        self._toolbox = Toolbox(self._clients, self._containers, home_dir)
        self._tmp_dir = tmp_dir
        self._docker_config = docker_config
        self._on_warning = on_warning
        self._lock = threading.Lock()
        self._platform = ""
        self._started = False
        self._scratch: str | None = None
        self._without_volumes: dict[str, str] = {}

    @property
    def name(self) -> str:
        """`docker`."""
        return "docker"

    @property
    def images(self) -> DockerImages:
        """The repository of the project in the engine."""
        return self._images

    def probe(self) -> str:
        """See `Engine`."""
        try:
            version = ask_version(self._clients)
        except (Unreachable, StapelError) as error:
            return f"{error}. {error.hint}" if error.hint else str(error)
        if version.get("Os") != "linux":
            return f"the Docker Engine runs containers of {version.get('Os')}, and stages are built on Linux"
        api = tuple(int(part) for part in str(version.get("ApiVersion") or "0").split(".") if part.isdigit())
        if api < _API:
            return f"the Docker Engine speaks API {version.get('ApiVersion')}; 1.40 (Docker 19.03) or newer is needed"
        return ""

    def platform(self) -> str:
        """See `Engine`."""
        with self._lock:
            if not self._platform:
                version = ask_version(self._clients)
                self._platform = f"{version.get('Os')}/{version.get('Arch')}"
            return self._platform

    def base(self, reference: str, platform: str, log: Log) -> DockerHeld:
        """See `Engine`."""
        found = inspect_image(self._clients, reference)
        if found is None or not _fits(config_of(found).platform, platform):
            from stapel.docker.transfer import pull_base

            pull_base(self._clients, reference, platform, self._docker_config, log)
            found = inspect_image(self._clients, reference)
            if found is None:
                raise NotFound(f"the base image {reference} was pulled and is not there")
        return DockerHeld(found["Id"], DockerImage(self._clients, found).config)

    def hold(self, image: ImageView | None) -> DockerHeld:
        """See `Engine`. What a registry has is pulled by the engine, and where that cannot reach it, brought by us."""
        if image is None:
            return self._hold_scratch()
        if isinstance(image, DockerImage):
            return DockerHeld(image.descriptor.digest, image.config)
        from stapel.docker.transfer import bring

        return DockerHeld(bring(self._clients, image, self._docker_config), image.config)

    def build(self, on: Held, steps: Sequence[Lay | Run], log: Log, cancel: Cancel) -> DockerHeld:
        """See `Engine`."""
        held = _own(on)
        if not steps:
            return held.again()
        cancel.check()
        lays = [step for step in steps if isinstance(step, Lay)]
        runs = [step for step in steps if isinstance(step, Run)]
        if not runs:
            return self._lay(held, lays)
        if len(runs) > 1:
            raise ValueError("a layer is made by one Run at most")
        made, status = self._run(held, lays, runs[0], log, cancel)
        if status:
            made.close()
            raise CommandFailed(status)
        return made

    @contextmanager
    def tree(self, image: Held) -> Iterator[Tree]:
        """See `Engine`."""
        image_id = self._plain(_own(image))
        opened: list[str] = []

        def open_container() -> str:
            self._start()
            opened.append(self._containers.create_to_read(image_id))
            return opened[-1]

        try:
            yield DockerTree(self._clients, open_container)
        finally:
            for container in opened:
                self._containers.remove_later(container)

    def put(self, image: Held, config: ImageConfig, into: ImageStore, cancel: Cancel) -> Descriptor:
        """See `Engine`. An image with its own configuration is stored as it is; a changed one is a new image."""
        held = _own(image)
        cancel.check()
        if held.layer is None and config == held.config:
            image_id = held.id
        else:
            final = child(config, diff_ids=held.config.diff_ids, created_ms=time.time_ns() // 1_000_000)
            image_id = self._load(held, final)
        if into is self._images:
            return Descriptor(IMAGE_MEDIA_TYPE, image_id, 0)
        from stapel.docker.transfer import push

        return push(self._clients, image_id, into, self._docker_config, self._on_warning, cancel)

    def shell(self, image: Held, run: Run) -> int:
        """See `Engine`."""
        from stapel.docker.terminal import attach_terminal, has_terminal

        held = _own(image)
        with ExitStack() as resources:
            container = self._create(held, run, (), resources, interactive=True, tty=has_terminal())
            return attach_terminal(self._clients.make(), container)

    def shell_failed(self, on: Held, steps: Sequence[Lay | Run]) -> int:
        """See `Engine`."""
        lays = [step for step in steps if isinstance(step, Lay)]
        run = next(step for step in steps if isinstance(step, Run))
        left, _ = self._run(_own(on), lays, run, lambda stream, data: None, Cancel())
        try:
            return self.shell(left, run)
        finally:
            left.close()

    def close(self) -> None:
        """See `Engine`."""
        for image_id in self._without_volumes.values():
            self._containers.remove_image_later(image_id)
        self._containers.close()
        self._clients.close()

    # -- layers

    def _lay(self, on: DockerHeld, lays: Sequence[Lay]) -> DockerHeld:
        """Files alone: one layer, written here, given to the engine together with its configuration."""
        layer = cast(BinaryIO, tempfile.TemporaryFile(dir=self._tmp_dir))  # noqa: SIM115 -- the result closes it
        try:
            with self.tree(on) as tree:
                written = write_layer(plan_lays(lays, tree, now_s=int(time.time())).entries(), layer)
        except BaseException:
            layer.close()
            raise
        config = _with_layers(on.config, (*on.config.diff_ids, written.diff_id))
        return DockerHeld(
            "",
            config,
            layer=layer,
            load=lambda held: self._load(held, held.config),
            on_close=self._containers.remove_image_later,
        )

    def _run(self, on: DockerHeld, lays: Sequence[Lay], run: Run, log: Log, cancel: Cancel) -> tuple[DockerHeld, int]:
        """Files and commands in a build container; what it left, and the status of its commands."""
        with ExitStack() as resources:
            plan, removals = None, tuple[bytes, ...]()
            if lays:
                tree = resources.enter_context(self.tree(on))
                plan = plan_lays(lays, tree, now_s=int(time.time()))
                removals = (*plan.removals, *plan.emptied_paths(tree))
            container = self._create(on, run, removals, resources)
            if plan is not None:
                with tempfile.TemporaryFile(dir=self._tmp_dir) as spool:
                    write_layer(plan.archive(), cast(BinaryIO, spool))
                    spool.seek(0)
                    self._containers.put_archive(container, cast(BinaryIO, spool))
            status = self._containers.run(container, log, cancel)
            image_id = self._containers.commit(container)
        inspected = inspect_image(self._clients, image_id)
        if inspected is None:
            raise StapelError(f"the Docker Engine committed {image_id} and does not have it")
        config = _with_layers(on.config, config_of(inspected).diff_ids)
        return DockerHeld(image_id, config, on_close=self._containers.remove_image_later), status

    # -- containers

    def _create(
        self,
        on: DockerHeld,
        run: Run,
        removals: Sequence[bytes],
        resources: ExitStack,
        *,
        interactive: bool = False,
        tty: bool = False,
    ) -> str:
        """A build container, removed with `resources`; without `interactive` it has the script of `run`."""
        self._start()
        env = dict(run.env)
        mounts = list(run.mounts)
        if run.ssh_socket is not None:
            from stapel.api import Mount
            from stapel.ssh_agent import serve_filtered

            socket = resources.enter_context(serve_filtered(run.ssh_socket, self._tmp_dir))
            mounts.append(Mount(socket, AGENT_SOCKET))
            env["SSH_AUTH_SOCK"] = AGENT_SOCKET
        call = None if interactive else entrypoint_arguments(removal_prefix(removals, ()) + run.script)
        image_id = self._plain(on)

        def create() -> str:
            return self._containers.create_to_build(
                image_id,
                call.arguments if call else (),
                tools=self._toolbox.name(self.platform()),
                env=env,
                mounts=mounts,
                network=run.network,
                interactive=interactive,
                tty=tty,
            )

        try:
            container = create()
        except NotFound as error:
            if "conveyor.stapel" not in str(error):
                raise
            # Somebody has pruned containers since the service container was looked for.
            self._toolbox.forget()
            container = create()
        resources.callback(self._containers.remove_later, container)
        if call is not None and call.archive is not None:
            self._put_script(container, call.archive)
        return container

    def _put_script(self, container: str, script: bytes) -> None:
        import io

        from stapel.oci.layer import Entry

        path = SCRIPT_PATH.strip("/").encode()
        with tempfile.TemporaryFile(dir=self._tmp_dir) as spool:
            content = Entry(path, "file", 0o600, size=len(script), open=lambda: cast(BinaryIO, io.BytesIO(script)))
            write_layer([content], cast(BinaryIO, spool))
            spool.seek(0)
            self._containers.put_archive(container, cast(BinaryIO, spool))

    def _start(self) -> None:
        """Before the first container: what killed runs left goes."""
        with self._lock:
            started, self._started = self._started, True
        if not started:
            self._containers.remove_leftovers()

    # -- images

    def _hold_scratch(self) -> DockerHeld:
        config = _empty_config(self.platform())
        with self._lock:
            if self._scratch is None:
                from stapel.docker.loading import load_image

                self._scratch = load_image(self._clients, config)
            return DockerHeld(self._scratch, config)

    def _load(self, held: DockerHeld, config: ImageConfig) -> str:
        from stapel.docker.loading import load_image

        layers = {config.diff_ids[-1]: held.layer} if held.layer is not None else {}
        return load_image(self._clients, config, layers)

    def _plain(self, held: DockerHeld) -> str:
        """The id of an image with these files and no volumes: what a stage writes to a volume would not be in its layer."""
        if not held.config.run.get("Volumes"):
            return held.id
        with self._lock:
            if held.id not in self._without_volumes:
                run = {key: value for key, value in held.config.run.items() if key != "Volumes"}
                self._without_volumes[held.id] = self._load(held, held.config.with_(run=run))
            return self._without_volumes[held.id]


def _own(held: Held) -> DockerHeld:
    assert isinstance(held, DockerHeld), "an image that another engine holds"
    return held


def _with_layers(config: ImageConfig, diff_ids: Sequence[str]) -> ImageConfig:
    return config.with_(rootfs={"type": "layers", "diff_ids": list(diff_ids)})


def _empty_config(platform: str) -> ImageConfig:
    system, _, rest = platform.partition("/")
    architecture, _, variant = rest.partition("/")
    document = {"os": system, "architecture": architecture, "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    return ImageConfig({**document, "variant": variant} if variant else document)


def _fits(image_platform: str, wanted: str) -> bool:
    """Whether an image is of a platform; without a variant any variant is."""
    there, asked = image_platform.split("/"), wanted.split("/")
    shorter = min(len(there), len(asked))
    return not wanted or there[:shorter] == asked[:shorter]
