"""Making what a build works with: the engine, the storages, the locks, the places of a run. The one place that chooses."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from conveyor.build.rooms import Introspection, Rooms
from conveyor.cli.option_values import BuildOptions, ProjectOptions, StorageOptions
from conveyor.cli.projects import OpenProject
from conveyor.config.models import Project
from conveyor.config.naming import display_name
from conveyor.errors import ServiceError, UsageError
from conveyor.events.api import Reporter, Warned
from conveyor.storage.caches import Caches
from conveyor.storage.storage import Role, Storage
from locking.api import Locks
from stapel.api import Cancel, Engine, Upkeep
from stapel.oci.api import ImageStore, ImageView
from stapel.runs import Run, find_temporary, open_run, open_run_directory

if TYPE_CHECKING:
    from conveyor.build.secret_values import SecretValues
    from conveyor.storage.exporting import Target
    from stapel.docker.engine import DockerEngine
    from stapel.oci.registry import RegistryStore
    from stapel.sandbox.engine import SandboxEngine


class Places(Struct, frozen=True):
    """Where a run keeps things."""

    home_dir: Path
    tmp_dir: Path
    run: Run


@contextmanager
def open_places(options: ProjectOptions) -> Iterator[Places]:
    """The home directory, and a directory of this run that goes with it."""
    home_dir = options.home_dir.resolve()
    try:
        _make_home(home_dir)
        if options.tmp_dir is not None:
            options.tmp_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {error.filename}: {error.strerror}", hint="--home-dir and --tmp-dir") from error
    parent = options.tmp_dir or find_temporary()
    with open_run(home_dir) as run, open_run_directory(home_dir, run, parent) as tmp_dir:
        yield Places(home_dir, tmp_dir, run)


def _make_home(home_dir: Path) -> None:
    if not home_dir.is_dir():
        from stapel.scattering import scatter

        home_dir.mkdir(parents=True, exist_ok=True)
        scatter(str(home_dir))


def import_engine(storage: StorageOptions) -> None:
    """Import what `make_engine` will, for who is waiting for something else soon."""
    if storage.engine == "docker":
        import stapel.docker.engine
    else:
        import stapel.sandbox.engine  # noqa: F401


def make_engine(
    project: str, places: Places, storage: StorageOptions, warn: Callable[[str], None], *, dockerfile_of: str | None = None
) -> Engine:
    """The engine that builds, as `--engine` says. It is not asked anything yet, but by `auto`, whether it can run.

    `dockerfile_of`: an image of the project that only a Docker Engine can build, None where there is none.
    """
    if storage.engine == "docker":
        return _make_docker(project, places, storage, warn)
    if storage.engine == "auto" and dockerfile_of is not None:
        warn(f"the Docker Engine builds: image {display_name(dockerfile_of)} has a Dockerfile, which takes its BuildKit")
        return _make_docker(project, places, storage, warn)
    sandbox = _make_sandbox(project, places, storage, warn)
    if storage.engine == "auto":
        why = sandbox.obstacle()
        if why:
            sandbox.close()
            warn(f"the sandbox cannot run here, so the Docker Engine builds: {why}")
            return _make_docker(project, places, storage, warn)
    return sandbox


def find_dockerfile(project: Project) -> str | None:
    """The first image that has a Dockerfile."""
    return next((image.name for image in project.images if image.dockerfile is not None), None)


def _make_docker(project: str, places: Places, storage: StorageOptions, warn: Callable[[str], None]) -> DockerEngine:
    from stapel.docker.engine import DockerEngine

    if storage.layer_compression != "gzip":
        warn(f"--layer-compression {storage.layer_compression} is for the sandbox: the Docker Engine compresses by gzip")
    return DockerEngine(
        project,
        run_id=places.run.id,
        home_dir=places.home_dir,
        tmp_dir=places.tmp_dir,
        docker_config=_docker_config(storage),
        on_warning=warn,
    )


def _docker_config(storage: StorageOptions) -> str | None:
    return str(storage.docker_config) if storage.docker_config is not None else None


def _make_sandbox(project: str, places: Places, storage: StorageOptions, warn: Callable[[str], None]) -> SandboxEngine:
    from stapel.sandbox.engine import SandboxEngine

    def find_in_docker(reference: str) -> AbstractContextManager[ImageView | None]:
        from stapel.docker.engine import open_base

        return open_base(reference, _docker_config(storage))

    return SandboxEngine(
        project,
        run_id=places.run.id,
        home_dir=places.home_dir,
        tmp_dir=places.tmp_dir,
        runner=storage.sandbox_runner,
        min_free_bytes=_min_free_bytes(storage.min_free, places.home_dir),
        driver=storage.sandbox_store,
        compression=storage.layer_compression,
        open_registry=lambda repository: make_registry(repository, storage, (), warn),
        find_elsewhere=find_in_docker,
        on_warning=warn,
    )


def _min_free_bytes(text: str, home_dir: Path) -> int:
    from conveyor.cleanup.limits import parse_size

    try:
        size = parse_size(text)
    except ValueError as error:
        raise UsageError(f"--min-free: {error}") from None
    if size.share is None:
        return size.bytes
    import shutil

    return int(size.share * shutil.disk_usage(home_dir).total)


@contextmanager
def open_sandbox(project: ProjectOptions, storage: StorageOptions, warn: Callable[[str], None]) -> Iterator[SandboxEngine]:
    """The sandbox, for its images."""
    with open_places(project) as places:
        engine = _make_sandbox("conveyor", places, storage, warn)
        try:
            yield engine
        finally:
            engine.close()


@contextmanager
def open_store(target: Target, storage: StorageOptions, warn: Callable[[str], None]) -> Iterator[ImageStore | None]:
    """The store that an image is to be exported to; None: a file."""
    if target.place == "docker":
        yield make_registry(target.repository, storage, (storage.repo,) if storage.repo else (), warn)
    elif target.place == "docker-daemon":
        from stapel.docker.engine import open_images

        with open_images(target.repository, _docker_config(storage)) as images:
            yield images
    else:
        yield None


class OpenUpkeep(Struct, frozen=True):
    """The upkeep of a home's store, and the other runs that use the home."""

    upkeep: Upkeep
    others: tuple[str, ...]


@contextmanager
def open_upkeep(home_dir: Path, warn: Callable[[str], None]) -> Iterator[OpenUpkeep]:
    """The store of a home, for who keeps it in bounds."""
    from stapel.runs import living_runs
    from stapel.sandbox.engine import SandboxEngine

    try:
        _make_home(home_dir)
    except OSError as error:
        raise UsageError(f"cannot make {error.filename}: {error.strerror}", hint="--home-dir") from error
    with open_run(home_dir) as run:
        others = tuple(living_runs(home_dir, run.id))
        tmp_dir = find_temporary()
        engine = SandboxEngine("conveyor", run_id=run.id, home_dir=home_dir, tmp_dir=tmp_dir, on_warning=warn)
        try:
            yield OpenUpkeep(engine.upkeep, others)
        finally:
            engine.close()


def make_registry(
    repository: str,
    storage: StorageOptions,
    mount_from: Sequence[str],
    warn: Callable[[str], None],
    *,
    is_patient: bool = True,
) -> RegistryStore:
    """A repository of a registry; without patience it is tried twice at most."""
    from stapel.errors import BadReference
    from stapel.oci.registry import RegistryStore
    from stapel.oci.retries import Retries

    try:
        return RegistryStore(
            repository,
            docker_config=str(storage.docker_config) if storage.docker_config is not None else None,
            insecure=storage.insecure_registry,
            skip_tls_verify=storage.skip_tls_verify_registry,
            on_retry=warn,
            mount_from=mount_from,
            retries=None if is_patient else Retries(attempts=2),
        )
    except BadReference as error:
        raise UsageError(str(error), hint=error.hint or "a repository is HOST[:PORT]/PATH") from error


def make_locks(options: StorageOptions, home_dir: Path) -> Locks:
    """The locks that `--synchronization` names: files of this machine by default. No server is asked yet."""
    address = options.synchronization
    if address in ("", ":local"):
        from locking.file import FileLocks

        return FileLocks(home_dir / "locks")
    if address == "none":
        from locking.null import NullLocks

        return NullLocks()
    from locking.redis import RedisLocks

    try:
        return RedisLocks(address)
    except ValueError as error:
        raise UsageError(f"--synchronization: {error}") from None
    except ImportError as error:
        raise UsageError(f"--synchronization redis://...: {error}", hint="pip install 'conveyor-build[redis]'") from None


def make_storages(
    engine: Engine, options: StorageOptions, home_dir: Path, warn: Callable[[str], None]
) -> tuple[Storage, tuple[Storage, ...]]:
    """The primary, and the secondaries in order: with `--repo` the engine's own store is the first of them."""
    memory = home_dir / "stages"

    def storage(store: ImageStore, role: Role, *, own: bool = False) -> Storage:
        return Storage(store, role, memory=memory, describes_at_once=own, warn=warn)

    secondaries = [storage(make_registry(address, options, (), warn), "secondary") for address in options.secondary_repos]
    if not options.repo:
        return storage(engine.images, "primary", own=True), tuple(secondaries)
    primary = storage(make_registry(options.repo, options, options.secondary_repos, warn), "primary")
    return primary, (storage(engine.images, "secondary", own=True), *secondaries)


def make_final(primary: Storage, options: StorageOptions, home_dir: Path, warn: Callable[[str], None]) -> Storage | None:
    """The repository that gets the final images, None where none is named."""
    if not options.final_repo:
        return None
    store = make_registry(options.final_repo, options, (options.repo,) if options.repo else (), warn)
    if store.address == primary.address:
        raise UsageError(f"--final-repo {options.final_repo} is --repo itself", hint="name another repository")
    return Storage(store, "final", memory=home_dir / "stages", describes_at_once=False, warn=warn)


def make_caches(primary: Storage, options: StorageOptions, warn: Callable[[str], None]) -> Caches | None:
    """The cache storages, None where none is named."""
    if not options.cache_repos:
        return None
    if not options.repo:
        raise UsageError("--cache-repo needs --repo", hint="the engine's own store is on this machine already")
    stores = [make_registry(each, options, (options.repo,), warn, is_patient=False) for each in options.cache_repos]
    if any(store.address == primary.address for store in stores):
        raise UsageError(f"--cache-repo {options.repo} is --repo itself", hint="name another repository")
    return Caches(stores, primary.store, warn)


@contextmanager
def open_rooms(
    opened: OpenProject,
    places: Places,
    storage: StorageOptions,
    build: BuildOptions,
    reporter: Reporter,
    ssh_socket: Path | None = None,
) -> Iterator[Rooms]:
    """All that a build works with, closed at the end. `ServiceError` where the engine does not answer."""

    def warn(message: str) -> None:
        reporter(Warned(message))

    cancel = Cancel()
    with ExitStack() as resources:
        resources.callback(cancel.on_cancel(opened.clones.stop))
        engine = make_engine(opened.project.name, places, storage, warn, dockerfile_of=find_dockerfile(opened.project))
        resources.callback(engine.close)
        if not build.require_built_images:
            engine.expect_builds()
        primary, secondaries = make_storages(engine, storage, places.home_dir, warn)
        final = make_final(primary, storage, places.home_dir, warn)
        caches = make_caches(primary, storage, warn)
        if caches is not None:
            resources.callback(caches.close)
        locks = make_locks(storage, places.home_dir)
        resources.callback(locks.close)
        platforms = tuple(filter(None, build.platform.split(","))) or (engine.platform(),)
        yield Rooms(
            project=opened.project,
            repo=opened.repo,
            prefix=opened.prefix,
            platform=platforms[0],
            platforms=platforms,
            engine=engine,
            primary=primary,
            secondaries=secondaries,
            locks=locks,
            lock_timeout_s=storage.lock_timeout_s,
            reporter=reporter,
            cancel=cancel,
            directory=opened.directory,
            home_dir=places.home_dir,
            tmp_dir=places.tmp_dir,
            ssh_socket=ssh_socket,
            same_tree=build.ancestry == "same-tree",
            resolve_digest=functools.cache(functools.partial(_resolve_digest, storage)),
            introspection=_introspection(build),
            secrets=_secret_values(opened),
            caches=caches,
            final=final,
            remotes=opened.remotes,
            files=opened.files,
            keeps_records=bool(storage.repo) and not opened.is_dev,
        )


def find_agent(opened: OpenProject, project: ProjectOptions) -> Path | None:
    """The socket of the SSH agent that commands may ask: of `--ssh-key`, which ends with the project, or the user's."""
    import os

    if project.ssh_keys:
        return opened.clones.agent()
    if "SSH_AUTH_SOCK" not in os.environ:
        return None
    from stapel.ssh_agent import find_agent as find_agent_of

    return find_agent_of(os.environ)


@contextmanager
def open_agent(project: ProjectOptions) -> Iterator[Path]:
    """An SSH agent with the keys of `--ssh-key`, for the time of the context. `StapelError` where one cannot be used."""
    from stapel.ssh_agent import start_agent

    with (
        open_places(project) as places,
        start_agent([Path(key).expanduser() for key in project.ssh_keys], places.tmp_dir) as socket,
    ):
        yield socket


def _resolve_digest(storage: StorageOptions, reference: str) -> str:
    from stapel.oci.resolving import resolve_digest

    return resolve_digest(
        reference,
        docker_config=str(storage.docker_config) if storage.docker_config is not None else None,
        insecure=storage.insecure_registry,
        skip_tls_verify=storage.skip_tls_verify_registry,
    )


def _secret_values(opened: OpenProject) -> SecretValues | None:
    if not any(image.secrets for image in opened.project.images):
        return None
    import os

    from conveyor.build.secret_values import SecretValues

    return SecretValues(opened.project.images, opened.directory, os.environ)


def _introspection(build: BuildOptions) -> Introspection:
    stages = tuple((item.image, item.stage) for item in build.introspect_stages)
    if build.introspect_before_error:
        return Introspection("before_error", stages)
    return Introspection("error" if build.introspect_error else None, stages)


def check_engine(engine: Engine) -> None:
    """Refuse an engine that cannot run here. `ServiceError` says why and what to do."""
    why = engine.probe()
    if why:
        raise ServiceError(f"the engine {engine.name} cannot run: {why}", reason="engine_unavailable")
