"""The sandbox as an engine of stages: no daemon, a store of snapshots, build containers by bubblewrap.

A stage of files starts no process. A stage of commands costs a few milliseconds beside them: a mount, a process, a rename.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from stapel.api import Cancel, Held, Lay, Log, Run, Tree
from stapel.errors import Broken, NotFound, StapelError, Unreachable
from stapel.image_config import child, empty_config, fits_platform
from stapel.oci.api import Descriptor, ImageConfig, ImageStore, ImageView
from stapel.sandbox.cell import Cells
from stapel.sandbox.choice import DriverName, note_choice, recall_choice
from stapel.sandbox.held import SandboxHeld
from stapel.sandbox.identity import find_identity
from stapel.sandbox.image import IMAGE_MEDIA_TYPE, SandboxImage, parse_config
from stapel.sandbox.images import SandboxImages
from stapel.sandbox.records import Layer, PushCompression, StoredImage
from stapel.sandbox.sending import Sendings
from stapel.sandbox.store import Store

if TYPE_CHECKING:
    from stapel.dockerfile import DockerfileBuild
    from stapel.oci.registry import RegistryStore
    from stapel.sandbox.builds import Builds
    from stapel.sandbox.runners import RunnerName
    from stapel.sandbox.upkeep import SandboxUpkeep


class SandboxEngine:
    """The engine over the store of one home. It starts nothing before the first question.

    `project` names the repository of the engine's own store; `run_id` marks what is made until it is published;
    commands are stopped where less than `min_free_bytes` are free on the volume; `compression` is that of layers that
    are pushed; `find_elsewhere` gives a base that another place of this machine has; `open_registry` opens a repository
    of a registry, for bases.
    """

    def __init__(
        self,
        project: str,
        *,
        run_id: str,
        home_dir: Path,
        tmp_dir: Path,
        runner: RunnerName = "bubblewrap",
        min_free_bytes: int = 0,
        driver: DriverName = "auto",
        compression: PushCompression = "gzip",
        open_registry: Callable[[str], RegistryStore] | None = None,
        find_elsewhere: Callable[[str], AbstractContextManager[ImageView | None]] = lambda _: nullcontext(),
        on_warning: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._store = Store(home_dir, run_id)
        self._home_dir, self._tmp_dir, self._run_id = home_dir, tmp_dir, run_id
        self._open_registry = open_registry or _open_registry
        self._find_elsewhere = find_elsewhere
        self._on_warning = on_warning
        self._runner = runner
        self._min_free_bytes = min_free_bytes
        self._driver = driver
        self._lock = threading.Lock()
        self._converting = threading.Lock()
        self._cells_made: Cells | None = None
        self._builds_made: Builds | None = None
        self._sendings = Sendings(self._store, compression)
        bring, collect = self._bring, self._collect
        self._images = SandboxImages(project, self._store, self._read_layer, bring, collect, self._sendings, compression)

    @property
    def name(self) -> str:
        """`sandbox`."""
        return "sandbox"

    @property
    def images(self) -> SandboxImages:
        """The repository of the project in the store."""
        return self._images

    def probe(self) -> str:
        """See `Engine`."""
        from stapel.sandbox.probe import find_obstacle

        return find_obstacle(self._store, self._cells, self._runner, self._driver)

    def describe(self) -> str:
        """See `Engine`."""
        return f"{self._runner}, snapshots in {self._store.dir} by {self._cells.driver}"

    def obstacle(self) -> str:
        """`probe`, where nobody has found out for this home and machine that it can run: that is kept."""
        from stapel.sandbox.probe import can_run, note_can_run

        self._store.open()
        if can_run(self._store, self._runner, self._driver):
            return ""
        why = self.probe()
        if not why:
            note_can_run(self._store, self._runner, self._driver)
        return why

    def platform(self) -> str:
        """See `Engine`."""
        from stapel.oci.manifest import own_platform

        return own_platform()

    def expect_builds(self) -> None:
        """See `Engine`: the first worker."""
        self._check()
        self._cells.start_early()

    def rest(self) -> None:
        """See `Engine`: the workers, whose mounts take a moment to go."""
        if self._cells_made is not None:
            self._cells_made.rest()

    def base(self, reference: str, platform: str, log: Log) -> SandboxHeld:
        """See `Engine`."""
        from stapel.oci.reference import DEFAULT_TAG, parse_reference

        self._store.open()
        parsed = parse_reference(reference)
        name = parsed.digest or parsed.tag or DEFAULT_TAG
        image = self._named(parsed.repository_text, name)
        if image is not None and fits_platform(_config(image).platform, platform):
            return self._held(image)
        image = self._take_from_elsewhere(reference, platform, log)
        if image is None:
            log("stderr", f"pulling {reference}\n".encode())
            image = self._pull(reference, parsed.repository_text, name, platform)
        return self._held(image)

    def import_base(self, reference: str, archive: BinaryIO, run: Mapping[str, Any], platform: str = "") -> str:
        """Make a base of one layer out of a tar of a root filesystem, compressed or not, and name it; its image id.

        `run` is the part `config` of its configuration. A name that is there means the new image from then on.
        """
        from stapel.oci.reference import DEFAULT_TAG, parse_reference
        from stapel.sandbox.bringing import import_layer

        self._check()
        parsed = parse_reference(reference)
        layer = import_layer(self._store, self._cells, archive)
        config = empty_config(platform or self.platform()).with_(run=run)
        final = child(config, diff_ids=(layer.diff_id,), created_ms=time.time_ns() // 1_000_000)
        image_id = self._store.images.put(final.to_bytes(), (layer,))
        self._store.names.set(parsed.repository_text, parsed.tag or DEFAULT_TAG, image_id)
        return image_id

    def hold(self, image: ImageView | None) -> SandboxHeld:
        """See `Engine`."""
        self._store.open()
        if image is None:
            return SandboxHeld(empty_config(self.platform()), ())
        if isinstance(image, SandboxImage):
            return self._held(image.image)
        return self._held(self._store.images.get(self._bring(image)))

    def build(
        self,
        on: Held,
        steps: Sequence[Lay | Run],
        log: Log,
        cancel: Cancel,
        key: str = "",
        into: ImageStore | None = None,
    ) -> SandboxHeld:
        """See `Engine`. Another process that runs commands of this key on the same layers is followed."""
        held = _own(on)
        if not steps:
            return held.again()
        cancel.check()
        lays = [step for step in steps if isinstance(step, Lay)]
        runs = [step for step in steps if isinstance(step, Run)]
        if len(runs) > 1:
            raise ValueError("a layer is made by one Run at most")
        return self._builds.build(held, lays, runs[0] if runs else None, log, cancel, key, into)

    def make_ready(self, steps: Callable[[], Sequence[Lay | Run]], after: str) -> None:
        """See `Engine`: where commands follow commands, the runner and its mounts."""
        with suppress(StapelError, OSError):  # who builds is told
            self._builds.make_ready(steps, after)

    def build_dockerfile(self, build: DockerfileBuild, log: Log, cancel: Cancel) -> SandboxHeld:
        """See `Engine`. It has no BuildKit."""
        del build, log, cancel
        raise StapelError("the sandbox builds no Dockerfiles", hint="build on a Docker Engine: --engine docker")

    def tree(self, image: Held) -> AbstractContextManager[Tree]:
        """See `Engine`."""
        return self._builds.tree(_own(image))

    def put(self, image: Held, config: ImageConfig, into: ImageStore, cancel: Cancel) -> Descriptor:
        """See `Engine`. An image with its own configuration is stored as it is; a changed one is a new image."""
        held = _own(image)
        cancel.check()
        if held.image_id and config == held.config:
            image_id = held.image_id
        else:
            final = child(config, diff_ids=held.config.diff_ids, created_ms=time.time_ns() // 1_000_000)
            raw = final.to_bytes()
            image_id = self._store.images.put(raw, held.layers)
            if into is self._images:
                return Descriptor(IMAGE_MEDIA_TYPE, image_id, len(raw))
        stored = self._images.get(image_id)
        return stored.descriptor if into is self._images else into.put(stored)

    def run(self, image: Held, command: Sequence[str]) -> int:
        """See `Engine`."""
        return self._builds.run(_own(image), command)

    def note_used(self, image_ids: Iterable[str]) -> None:
        """See `Engine`."""
        for image_id in image_ids:
            self._store.images.touch(image_id)

    @property
    def upkeep(self) -> SandboxUpkeep:
        """Of the store."""
        from stapel.sandbox.upkeep import SandboxUpkeep

        return SandboxUpkeep(self._store, lambda: self._cells, self._home_dir, self._run_id)

    def shell(self, image: Held, run: Run) -> int:
        """See `Engine`."""
        return self._builds.shell(_own(image), run)

    def shell_failed(self, on: Held, steps: Sequence[Lay | Run]) -> int:
        """See `Engine`."""
        lays = [step for step in steps if isinstance(step, Lay)]
        run = next(step for step in steps if isinstance(step, Run))
        return self._builds.shell_failed(_own(on), lays, run)

    def close(self) -> None:
        """See `Engine`."""
        from stapel.sandbox.taking_out import has_leftovers

        if self._builds_made is None and has_leftovers(self._store):
            with suppress(StapelError, OSError):  # what is left now is left for the next run
                self._make_builds()
        if self._builds_made is not None:
            self._builds_made.close()
        if self._cells_made is not None:
            self._cells_made.close()
            self._store.pins.end()

    def _check(self) -> None:
        why = self.obstacle()
        if why:
            raise Unreachable(f"the sandbox cannot run here: {why}", hint="`conveyor doctor` looks at what builds need")

    @property
    def _cells(self) -> Cells:
        with self._lock:
            if self._cells_made is None:
                self._store.open()
                identity = find_identity()
                if not identity.has_ranges:
                    who = "this user has no range of ids in /etc/subuid and /etc/subgid"
                    who = who if identity.uid else "root is the only user that this container can have"
                    self._on_warning(
                        f"{who}: all files of images belong to root, and commands that give files to others or become "
                        "others (apt-get, chown, su) fail"
                    )
                asked = (recall_choice(self._store) if self._driver == "auto" else "") or self._driver
                self._cells_made = Cells(self._store.dir, identity, self._store.run_id, asked, self._chosen)
            return self._cells_made

    @property
    def _builds(self) -> Builds:
        return self._builds_made if self._builds_made is not None else self._make_builds()

    def _make_builds(self) -> Builds:
        cells = self._cells
        with self._lock:
            if self._builds_made is None:
                from stapel.sandbox.builds import Builds
                from stapel.sandbox.probe import hides_proc
                from stapel.sandbox.runners import find_runner
                from stapel.sandbox.runs import Runs

                outer_proc = hides_proc()
                if outer_proc:
                    self._on_warning(
                        "this container hides parts of /proc, so build containers get no /proc of their own and see ours "
                        "(Docker: --security-opt systempaths=unconfined)"
                    )
                runner = find_runner(self._runner)
                runs = Runs(
                    self._store,
                    self._home_dir,
                    self._tmp_dir,
                    runner,
                    outer_proc=outer_proc,
                    min_free_bytes=self._min_free_bytes,
                )
                self._builds_made = Builds(self._store, cells, runs, self._sendings)
            return self._builds_made

    def _chosen(self, driver: str) -> None:
        note_choice(self._store, driver)
        if driver == "copy":
            self._on_warning(
                "overlays cannot be mounted here, so the sandbox copies all files of an image for each stage on it "
                f"(neither is {self._store.dir} on btrfs)"
            )

    def _held(self, image: StoredImage) -> SandboxHeld:
        if not self._store.pin(image.layers):
            # `NotFound` where it was removed as a whole; or it was converted meanwhile
            image = self._store.images.get(image.id)
            if not self._store.pin(image.layers):
                raise Broken(f"image {image.id} is not complete: a snapshot of it is gone from {self._store.dir}")
        self._store.images.touch(image.id)
        driver = self._cells.driver
        if any(layer.driver != driver for layer in image.layers):
            image = self._convert(image)
        return SandboxHeld(_config(image), image.layers, image.id)

    def _convert(self, image: StoredImage) -> StoredImage:
        from stapel.sandbox.converting import convert

        with self._converting:  # of several threads that hold it the first does it
            before = self._store.images.get(image.id)
            if not self._store.pin(before.layers):
                raise Broken(f"image {image.id} is not complete: a snapshot of it is gone from {self._store.dir}")
            after = convert(self._store, self._cells, before, self._read_layer)
            self._collect([layer for layer in before.layers if layer not in after.layers])
            return after

    def _named(self, repository: str, name: str) -> StoredImage | None:
        image_id = self._store.names.get(repository, name)
        if image_id is None:
            return None
        try:
            return self._store.images.get(image_id)
        except NotFound:
            return None

    def _take_from_elsewhere(self, reference: str, platform: str, log: Log) -> StoredImage | None:
        """It gets no name here: what has it there may give the name to another image."""
        with self._find_elsewhere(reference) as view:
            if view is None or not fits_platform(view.config.platform, platform):
                return None
            log("stderr", f"taking {reference} from the Docker Engine\n".encode())
            return self._store.images.get(self._bring(view))

    def _pull(self, reference: str, repository: str, name: str, platform: str) -> StoredImage:
        try:
            view = self._open_registry(repository).get(name, platform)
        except NotFound as error:
            hint = f"check the name; `conveyor image import {reference} ROOTFS.tar` makes a base of your own files"
            raise NotFound(f"the base image {reference} is not there: {error}", hint=hint) from error
        there = view.config.platform
        if not fits_platform(there, platform):
            raise StapelError(
                f"the base image {reference} is of {there}, and images of {platform} are built",
                hint="name an image, or a digest, of this platform",
            )
        image_id = self._bring(view)
        self._store.names.set(repository, name, image_id)
        return self._store.images.get(image_id)

    def _bring(self, image: ImageView) -> str:
        from stapel.sandbox.bringing import bring

        self._store.open()
        return bring(self._store, self._cells, image)

    def _read_layer(self, layer: Layer, below: Layer | None) -> AbstractContextManager[BinaryIO]:
        return self._builds.reading(layer, below)

    def _collect(self, layers: Sequence[Layer]) -> None:
        self._builds.collect([layer.snapshot for layer in layers])


def _own(held: Held) -> SandboxHeld:
    assert isinstance(held, SandboxHeld), "an image that another engine holds"
    return held


def _config(image: StoredImage) -> ImageConfig:
    return parse_config(image.config, image.id)


def _open_registry(repository: str) -> RegistryStore:
    from stapel.oci.registry import RegistryStore

    return RegistryStore(repository)
