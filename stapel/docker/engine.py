"""The Docker Engine as an engine of stages.

A stage of files becomes a layer that is written here and loaded over the base; a stage of commands runs in a container that
is committed. Either way the configuration is ours: `docker load` of a configuration over the layers (what a commit says of
the container is thrown away).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stapel.api import Cancel, Held, Lay, Log, Run, Tree
from stapel.docker.client import Clients, EngineGone
from stapel.docker.containers import Containers
from stapel.docker.held import DockerHeld
from stapel.docker.images import DockerImage, DockerImages, config_of
from stapel.docker.ledger import find_left
from stapel.docker.listing import ask_version, inspect_image
from stapel.errors import NotFound, StapelError, Unreachable
from stapel.image_config import empty_config, fits_platform
from stapel.oci.api import Descriptor, ImageConfig, ImageStore, ImageView

if TYPE_CHECKING:
    from stapel.docker.builds import Builds
    from stapel.docker.pushing import Pushes
    from stapel.dockerfile import DockerfileBuild

_API = (1, 40)


class DockerEngine:
    """The engine over one Docker Engine. It asks nothing before the first question.

    But where a killed run has left something, that is removed beside what comes next.
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
        self._clients = Clients(docker_config, on_retry=on_warning)
        self._containers = Containers(self._clients, run_id, home_dir)
        ledger = self._containers.ledger
        self._images = DockerImages(project, self._clients, lambda image_id: ledger.settle("image", image_id))
        self._home_dir, self._tmp_dir = home_dir, tmp_dir
        self._docker_config = docker_config
        self._on_warning = on_warning
        self._lock = threading.Lock()
        self._platform = ""
        self._scratch: str | None = None
        self._pulls: dict[str, threading.Lock] = {}
        self._builds_made: Builds | None = None
        self._pushes_made: Pushes | None = None
        if any(find_left(home_dir, self._clients.endpoint)):
            self._remove_leftovers()

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

    def describe(self) -> str:
        """See `Engine`."""
        return f"Docker Engine {ask_version(self._clients).get('Version')} at {self._clients.endpoint}"

    def platform(self) -> str:
        """See `Engine`."""
        with self._lock:
            if not self._platform:
                version = ask_version(self._clients)
                self._platform = f"{version.get('Os')}/{version.get('Arch')}"
            return self._platform

    def expect_builds(self) -> None:
        """See `Engine`. The Docker Engine runs already."""

    def rest(self) -> None:
        """See `Engine`. Others may use it."""

    def base(self, reference: str, platform: str, log: Log) -> DockerHeld:
        """See `Engine`."""
        with self._lock:
            one_at_a_time = self._pulls.setdefault(reference, threading.Lock())
        with one_at_a_time:  # the engine has one image by a name, and for another platform it is another one
            found = self._find_base(reference, platform, log)
        return DockerHeld(found["Id"], DockerImage(self._clients, found).config)

    def _find_base(self, reference: str, platform: str, log: Log) -> Mapping[str, Any]:
        found = inspect_image(self._clients, reference)
        if found is not None and fits_platform(config_of(found).platform, platform):
            return found
        from stapel.docker.transfer import pull_base

        pull_base(self._clients, reference, platform, self._docker_config, log)
        found = inspect_image(self._clients, reference)
        if found is None:
            raise NotFound(f"the base image {reference} was pulled and is not there")
        there = config_of(found).platform
        if not fits_platform(there, platform):
            raise StapelError(
                f"the base image {reference} is of {there}, and images of {platform} are built",
                hint="name an image, or a digest, of this platform",
            )
        return found

    def hold(self, image: ImageView | None) -> DockerHeld:
        """See `Engine`. What a registry has is pulled by the engine, and where that cannot reach it, brought by us."""
        if image is None:
            return self._hold_scratch()
        if isinstance(image, DockerImage):
            return DockerHeld(image.descriptor.digest, image.config)
        from stapel.docker.transfer import bring

        return DockerHeld(bring(self._clients, image, self._docker_config), image.config)

    def build(
        self,
        on: Held,
        steps: Sequence[Lay | Run],
        log: Log,
        cancel: Cancel,
        key: str = "",
        into: ImageStore | None = None,
    ) -> DockerHeld:
        """See `Engine`. What an engine that goes away has left half done is done once more when it is back."""
        del key, into
        held = _own(on)
        if not steps:
            return held.again()
        cancel.check()
        try:
            return self._build(held, steps, log, cancel)
        except EngineGone as error:
            self._await_engine(error, cancel)
            log("stderr", b"conveyor: the Docker Engine went away and is back; this stage is run again\n")
        return self._build(held, steps, log, cancel)

    def make_ready(self, steps: Callable[[], Sequence[Lay | Run]], after: str) -> None:
        """See `Engine`: a container is made of what the one before it has left."""
        del steps, after

    def build_dockerfile(self, build: DockerfileBuild, log: Log, cancel: Cancel) -> DockerHeld:
        """See `Engine`. A base that the engine has is not asked for in a registry, as with `base`."""
        self._remove_leftovers()
        cancel.check()
        configs = {}
        for reference, platform in build.bases:
            configs[reference] = self.base(reference, platform or build.platform, log).config
        build.check_bases(configs)
        try:
            return self._build_dockerfile(build, log, cancel)
        except EngineGone as error:
            self._await_engine(error, cancel)
            log("stderr", b"conveyor: the Docker Engine went away and is back; the Dockerfile is built again\n")
        return self._build_dockerfile(build, log, cancel)

    def _build_dockerfile(self, build: DockerfileBuild, log: Log, cancel: Cancel) -> DockerHeld:
        from stapel.docker.dockerfile_builds import build_dockerfile

        return build_dockerfile(
            self._clients,
            self._containers,
            build,
            log,
            cancel,
            docker_config=self._docker_config,
            tmp_dir=self._tmp_dir,
        )

    def _await_engine(self, gone: EngineGone, cancel: Cancel) -> None:
        cancel.check()
        try:
            ask_version(self._clients)
        except Unreachable as error:
            raise Unreachable(f"{gone}, and does not come back", hint=gone.hint, temporary=True) from error
        cancel.check()
        self._on_warning(f"{gone}; it answers again, and the stage is run again")

    def _build(self, held: DockerHeld, steps: Sequence[Lay | Run], log: Log, cancel: Cancel) -> DockerHeld:
        lays = [step for step in steps if isinstance(step, Lay)]
        runs = [step for step in steps if isinstance(step, Run)]
        if not runs:
            return self._builds.lay(held, lays, cancel)
        if len(runs) > 1:
            raise ValueError("a layer is made by one Run at most")
        return self._builds.run(held, lays, runs[0], log, cancel)

    def tree(self, image: Held) -> AbstractContextManager[Tree]:
        """See `Engine`."""
        return self._builds.tree(_own(image))

    def put(self, image: Held, config: ImageConfig, into: ImageStore, cancel: Cancel) -> Descriptor:
        """See `Engine`. An image with its own configuration is stored as it is; a changed one is a new image."""
        held = _own(image)
        cancel.check()
        if held.layer is None and held.committed_env is None and config == held.config:
            image_id = held.id
        else:
            from stapel.image_config import child

            final = child(config, diff_ids=held.config.diff_ids, created_ms=time.time_ns() // 1_000_000)
            image_id = self._builds.load(held, final)
        if into is self._images:
            return self._images.get(image_id).descriptor
        return self._pushes.put(image_id, into, cancel)

    def run(self, image: Held, command: Sequence[str]) -> int:
        """See `Engine`."""
        from stapel.docker.terminal import attach_terminal
        from stapel.terminal import has_terminal

        self._remove_leftovers()
        container = self._containers.create_to_run(_own(image).id, command, tty=has_terminal())
        try:
            return attach_terminal(self._clients.make(), container)
        finally:
            self._containers.remove_later(container)

    def note_used(self, image_ids: Iterable[str]) -> None:
        """See `Engine`: the images of the Docker Engine are its own to keep."""

    def shell(self, image: Held, run: Run) -> int:
        """See `Engine`."""
        from stapel.docker.secret_files import stdin_of
        from stapel.docker.terminal import attach_terminal, open_shell
        from stapel.terminal import has_terminal

        held = _own(image)
        with ExitStack() as resources:
            container = self._builds.create(held, run, (), resources, interactive=True, tty=has_terminal())
            if run.secrets:
                return open_shell(self._clients.make(), container, stdin_of(run.secrets))
            return attach_terminal(self._clients.make(), container)

    def shell_failed(self, on: Held, steps: Sequence[Lay | Run]) -> int:
        """See `Engine`."""
        lays = [step for step in steps if isinstance(step, Lay)]
        run = next(step for step in steps if isinstance(step, Run))
        left = self._builds.run(_own(on), lays, run, lambda stream, data: None, Cancel(), keep_failed=True)
        try:
            return self.shell(left, run)
        finally:
            left.close()

    def close(self) -> None:
        """See `Engine`."""
        if self._builds_made is not None:
            self._builds_made.close()
        if self._pushes_made is not None:
            self._pushes_made.close()
        self._containers.close()
        self._clients.close()

    def _remove_leftovers(self) -> None:
        def remove() -> None:
            from stapel.docker.leftovers import remove_leftovers

            remove_leftovers(self._clients, self._containers, self._home_dir)

        self._containers.later(remove)

    @property
    def _builds(self) -> Builds:
        platform = self.platform()
        with self._lock:
            if self._builds_made is None:
                from stapel.docker.builds import Builds

                # Before the first container: what killed runs left goes, those included that nobody has notes of.
                self._remove_leftovers()
                self._builds_made = Builds(self._clients, self._containers, platform, self._home_dir, self._tmp_dir)
            return self._builds_made

    @property
    def _pushes(self) -> Pushes:
        with self._lock:
            if self._pushes_made is None:
                from stapel.docker.pushing import Pushes

                self._pushes_made = Pushes(self._clients, self._containers.ledger, self._docker_config, self._on_warning)
            return self._pushes_made

    def _hold_scratch(self) -> DockerHeld:
        config = empty_config(self.platform())
        with self._lock:
            if self._scratch is None:
                from stapel.docker.loading import load_image

                self._scratch = load_image(self._clients, config)
            return DockerHeld(self._scratch, config)


@contextmanager
def open_images(repository: str, docker_config: str | None = None) -> Iterator[DockerImages]:
    """A repository of the engine, for who builds nothing there."""
    clients = Clients(docker_config)
    try:
        yield DockerImages(repository, clients)
    finally:
        clients.close()


@contextmanager
def open_base(reference: str, docker_config: str | None = None) -> Iterator[ImageView | None]:
    """The image that the engine has by this name; None where it has none, or where no engine answers."""
    clients = Clients(docker_config)
    try:
        try:
            found = inspect_image(clients, reference)
        except StapelError:
            found = None
        yield DockerImage(clients, found) if found is not None else None
    finally:
        clients.close()


def _own(held: Held) -> DockerHeld:
    assert isinstance(held, DockerHeld), "an image that another engine holds"
    return held
