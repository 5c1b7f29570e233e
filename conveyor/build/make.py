"""Building a stage: its work, then an image in the primary by digest, without a name."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conveyor.build.line import Ahead
from conveyor.build.logs import begin_log
from conveyor.build.rooms import Rooms
from conveyor.build.task import Looked, Made, Ran, Task
from conveyor.build.use import check_stored, hold_stage, writing_refused
from conveyor.config.models import USER_STAGES, Image
from conveyor.config.naming import display_name
from conveyor.errors import ConfigError, ConveyorError, Problem, StageFailed
from conveyor.events.api import StageLog, Warned
from conveyor.events.tail import Tail
from conveyor.images.graph import effective_mounts
from conveyor.keys.key import content_digest
from conveyor.stages.api import Workshop
from conveyor.storage.facts import LABEL, Facts, format_facts
from conveyor.storage.selection import StoredStage
from stapel.api import Cancel, Held, Lay, Log, Mount, Run
from stapel.errors import Cancelled, CommandFailed, FileChanged, Refused, StapelError, Unreachable
from stapel.oci.api import ImageConfig
from stapel.oci.reference import parse_reference

if TYPE_CHECKING:
    from stapel.dockerfile import DockerfileBuild

_CANNOT_EXECUTE = 126


def run(rooms: Rooms, task: Task, looked: Looked, cancel: Cancel, ahead_of: Ran | None = None) -> Ran:
    """Do the work of a stage; a failure leaves nothing. `ahead_of`: the stage below, which is not stored yet.

    `StageFailed` with the last lines of its log, `StageGone` where what it is built on is not there, `Cancelled`,
    `Unreachable`.
    """
    started = time.monotonic()
    tail = Tail()
    kept = begin_log(rooms.home_dir, looked.digest)

    def tell(stream: Literal["stdout", "stderr"], data: bytes) -> None:
        kept.write(data)
        tail.feed(data)
        rooms.reporter(StageLog(task.image.name, task.kind.name, stream, data))

    try:
        with _masked(rooms, tell) as log, ExitStack() as resources:
            if looked.decision.dockerfile is not None:
                kept.open()
                asked = looked.decision.dockerfile(_workshop(rooms, task.image, resources, log))
                made = _build_dockerfile(rooms, task, asked, log, cancel, is_anew=_is_wanted_anew(looked))
                return Ran(made, "", made.config, time.monotonic() - started, kept)
            on = ahead_of.held if ahead_of is not None else _hold_base(rooms, task, log)
            if ahead_of is None:
                resources.callback(on.close)
            steps = looked.decision.steps(_workshop(rooms, task.image, resources, log))
            if any(isinstance(step, Run) for step in steps):
                kept.open()
            made = _build(rooms, task, looked, on, steps, log, cancel)
            try:
                looked.decision.check()
            except BaseException:
                made.close()
                raise
            return Ran(made, on.id, on.config, time.monotonic() - started, kept)
    except BaseException as error:
        # What was cancelled, or could not begin, has nothing to say.
        if not isinstance(error, StapelError) or isinstance(error, Cancelled | Unreachable):
            kept.discard()
            raise
        kept.keep_failed()
        raise _failure(rooms, error, task, tail) from error


def make_ready(rooms: Rooms, below: Ahead, ahead: Ahead) -> None:
    """Let the engine prepare for commands while those of the stage below run. It may be in vain; raises nothing."""
    if below.task.kind.name in USER_STAGES and ahead.task.kind.name in USER_STAGES:
        with suppress(ConveyorError, StapelError, OSError), ExitStack() as resources:

            def steps() -> Sequence[Lay | Run]:
                return ahead.looked.decision.steps(_workshop(rooms, ahead.task.image, resources, lambda stream, data: None))

            rooms.engine.make_ready(steps, _content_digest(below.looked))


def _is_wanted_anew(looked: Looked) -> bool:
    """Whether the engine's own cache would give again what somebody wants to be rid of."""
    return looked.why is not None and (looked.why.kind == "rejected" or "cacheVersion" in looked.why.parts)


def store(rooms: Rooms, task: Task, looked: Looked, ran: Ran) -> Made:
    """Put what a stage has made into the primary by digest, with its configuration and its facts; no name yet.

    `StageFailed`, `Cancelled`, `Unreachable`; `ServiceError` (`write_refused`, `storage_damaged`) where it is not taken.
    """
    started = time.monotonic()
    try:
        config = _configure(rooms, task, looked, ran)
        descriptor = rooms.engine.put(ran.held, config, rooms.primary.store, rooms.cancel)
        check_stored(rooms, descriptor)
        ran.log.keep(descriptor.digest)
    except Refused as error:
        raise writing_refused(rooms.primary, error) from error
    except (ConveyorError, Cancelled, Unreachable):
        raise
    except StapelError as error:
        raise _failure(rooms, error, task, Tail()) from error
    return Made(descriptor, config, ran.seconds + time.monotonic() - started)


def is_run_ahead_on(task: Task) -> bool:
    """Whether the next stage may run on this one before it is stored."""
    return task.kind.name == "from" or task.kind.name in USER_STAGES


def can_be_built_on(looked: Looked, ran: Ran) -> bool:
    """Whether commands see no difference between what a stage has left and how it is stored."""
    before, after = ran.base_config.run, looked.decision.configure(ran.base_config).run
    return before.get("Env") == after.get("Env")


def introspect(rooms: Rooms, task: Task, stage: StoredStage) -> None:
    """Open a shell in a resolved stage where the user asked for one."""
    if rooms.introspection.wants(task.image.name, task.kind.name):
        with ExitStack() as resources:
            held = hold_stage(rooms, stage)
            resources.callback(held.close)
            workshop = _workshop(rooms, task.image, resources, lambda stream, data: None)
            rooms.engine.shell(held, _run_nothing(rooms, task, workshop))


@contextmanager
def _masked(rooms: Rooms, log: Log) -> Iterator[Log]:
    """The log without the secrets of any image: they are masked before anything is stored or shown."""
    if rooms.secrets is None:
        yield log
        return
    from stapel.mask import masking

    with masking(log, rooms.secrets.mask()) as masked:
        yield masked


def _hold_base(rooms: Rooms, task: Task, log: Log) -> Held:
    parent = task.parent
    if parent is not None:
        return hold_stage(rooms, parent)
    if task.image.base.kind == "scratch":
        return rooms.engine.hold(None)
    reference = task.image.base.reference
    if task.image.from_latest:
        # What the key was made of: the tag may mean another image to the engine, or by now.
        reference = f"{parse_reference(reference).repository_text}@{rooms.resolve_digest(reference)}"
    return rooms.engine.base(reference, rooms.platform, log)


def _build(rooms: Rooms, task: Task, looked: Looked, on: Held, steps: Sequence[Lay | Run], log: Log, cancel: Cancel) -> Held:
    try:
        return rooms.engine.build(on, steps, log, cancel, _content_digest(looked), rooms.primary.store)
    except CommandFailed as error:
        if rooms.introspection.when == "error":
            rooms.reporter(Warned(f"{_label(task)}: {error}; here is a shell in what they left, `exit` ends it"))
            rooms.engine.shell_failed(on, steps)
        elif rooms.introspection.when == "before_error":
            rooms.reporter(Warned(f"{_label(task)}: {error}; here is a shell in what they started from, `exit` ends it"))
            rooms.engine.shell(on, next(step for step in steps if isinstance(step, Run)))
        raise


def _content_digest(looked: Looked) -> str:
    return content_digest(looked.digest, {mapping: facts.commits for mapping, facts in looked.decision.git.items()})


def _build_dockerfile(rooms: Rooms, task: Task, asked: DockerfileBuild, log: Log, cancel: Cancel, *, is_anew: bool) -> Held:
    from dataclasses import replace

    try:
        return rooms.engine.build_dockerfile(replace(asked, is_anew=is_anew), log, cancel)
    except CommandFailed:
        if rooms.introspection.when is not None:
            rooms.reporter(Warned(f"{_label(task)}: no shell is opened, for BuildKit keeps nothing of what has failed"))
        raise


def _label(task: Task) -> str:
    return f"{display_name(task.image.name)}/{task.kind.name}"


def _workshop(rooms: Rooms, image: Image, resources: ExitStack, log: Log) -> Workshop:
    return Workshop(
        engine=rooms.engine,
        resources=resources,
        mounts=_mounts(rooms, image),
        ssh_socket=rooms.ssh_socket,
        commit_time_s=rooms.repo.commit_time_s(rooms.repo.head),
        base=lambda reference: rooms.engine.base(reference, rooms.platform, log),
        secrets=partial(rooms.secrets.of, image) if rooms.secrets is not None else dict,
    )


def _mounts(rooms: Rooms, image: Image) -> tuple[Mount, ...]:
    mounts = []
    for point in effective_mounts(rooms.project, image):
        if point.kind == "tmp_dir":
            platform = _file_name(rooms.platform)  # the same image is built for others at the same time
            source = rooms.tmp_dir / "mounts" / platform / (_file_name(image.name) or "~") / _file_name(point.to)
        elif point.kind == "build_dir":
            source = rooms.home_dir / "mounts" / rooms.project.name / _file_name(point.to)
        else:
            source = rooms.directory / Path(point.source).expanduser()
        try:
            source.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = "it is no directory" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
            raise ConfigError([Problem(point.place, f"{source} cannot be mounted at {point.to}: {why}")]) from error
        mounts.append(Mount(source, point.to))
    return tuple(mounts)


def _file_name(path: str) -> str:
    return path.strip("/").replace("%", "%25").replace("/", "%2F")


def _run_nothing(rooms: Rooms, task: Task, workshop: Workshop) -> Run:
    """What commands of the stage have beside the files; without a secret that is nowhere, for nothing fails by that."""
    secrets: Mapping[str, bytes] = {}
    if task.kind.name in USER_STAGES:
        try:
            secrets = workshop.secrets()
        except ConfigError as error:
            rooms.reporter(Warned(f"{_label(task)}: the shell has no secrets: {error}"))
    network = task.image.network or "default"
    return Run("", mounts=workshop.mounts, ssh_socket=workshop.ssh_socket, network=network, secrets=secrets)


def _configure(rooms: Rooms, task: Task, looked: Looked, ran: Ran) -> ImageConfig:
    base = ran.base_config
    if task.ground is None and task.image.base.kind == "scratch":
        of_platform: dict[str, Any] = dict(zip(("os", "architecture", "variant"), rooms.platform.split("/"), strict=False))
        base = base.with_(**of_platform)
    config = looked.decision.configure(base)
    parent = task.parent
    facts = Facts(
        project=rooms.project.name,
        image=task.image.name,
        stage=task.kind.name,
        digest=looked.digest,
        content_digest=_content_digest(looked),
        commit=rooms.repo.head,
        git=looked.decision.git,
        parent=parent.description.descriptor.digest if parent is not None else ran.base_id,
        parents=(*parent.facts.parents, str(parent.name)) if parent is not None else (),
        sources=tuple(str(stage.name) for stage in looked.decision.sources),
        parts=looked.parts,
    )
    return config.with_(run={**config.run, "Labels": {**config.labels, LABEL: format_facts(facts)}})


def _failure(rooms: Rooms, error: StapelError, task: Task, tail: Tail) -> StageFailed:
    hint = error.hint
    if isinstance(error, FileChanged):
        hint = (
            "do not change files of git in commands; or name them in stageDependencies of the stage that changes them; "
            "or leave them out by excludePaths; or say `onChanged: overwrite` in the mapping"
        )
    elif isinstance(error, CommandFailed):
        hint = hint or "run again with --introspect-error to look around in the container where it failed"
        if error.status == _CANNOT_EXECUTE and task.image.platform and task.image.platform != rooms.engine.platform():
            hint = (
                f"programs of {task.image.platform} run here where the kernel knows how: "
                "`docker run --privileged --rm tonistiigi/binfmt --install all` teaches it"
            )
    return StageFailed(
        str(error),
        image=task.image.name,
        stage=task.kind.name,
        tail=tail.lines(),
        status=error.status if isinstance(error, CommandFailed) else 0,
        hint=hint,
        reason=error.reason,
    )
