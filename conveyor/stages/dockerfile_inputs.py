"""What an image is made of that has a Dockerfile: read from the commit, asked of the images that it takes from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from conveyor.config.dockerfile_model import Dockerfile
from conveyor.config.models import Image
from conveyor.dockerfile.context import select_files
from conveyor.dockerfile.ignore import BadPattern, Ignore
from conveyor.dockerfile.parser import DockerfileError, ParsedFile, parse
from conveyor.dockerfile.resolve import Question, Resolved, resolve
from conveyor.errors import ConfigError, Place, Problem, StageFailed
from conveyor.gitrepo.api import Blob, Repository, Selector
from conveyor.keys.encoding import Value
from conveyor.keys.key import hash_value
from conveyor.stages.api import Context, Need, Taken, Workshop
from conveyor.stages.dependencies import injected_value
from stapel.api import File
from stapel.dockerfile import DockerfileBuild
from stapel.oci.api import ImageConfig


@dataclass(frozen=True, slots=True)
class DockerfileSource:
    """A Dockerfile at a commit. Paths are those of the repository."""

    path: bytes
    context: bytes
    content: bytes
    parsed: ParsedFile

    @property
    def ignore_files(self) -> tuple[bytes, bytes]:
        """Where the rules may stand by which files of the context are left out; the first that is there counts."""
        return self.path + b".dockerignore", _join(self.context, b".dockerignore")

    def resolve(self, question: Question) -> Resolved:
        """What a target needs. `ConfigError` with the place in the Dockerfile."""
        try:
            return resolve(self.parsed, question)
        except DockerfileError as error:
            raise ConfigError([Problem(Place(_show(self.path), error.line, 1), str(error), error.hint)]) from error


@dataclass(frozen=True, slots=True)
class Inputs:
    """The Dockerfile, what its target needs, and the files that are taken of the context, sorted by path."""

    context: Context
    source: DockerfileSource
    question: Question
    resolved: Resolved
    files: tuple[Blob, ...]

    def build(self, workshop: Workshop) -> DockerfileBuild:
        """What the engine is asked."""
        image = self.context.image
        settings = _settings(image)
        contents: list[Value] = [[blob.path, blob.mode, blob.oid] for blob in self.files]
        return DockerfileBuild(
            dockerfile=self.source.content,
            files=_open_files(self.context.repo, self.files, workshop.resources),
            context_key=hash_value(["context", contents, workshop.commit_time_s]),
            target=settings.target,
            args=self.question.args,
            platform=self.question.platform,
            bases=self.resolved.bases,
            check_bases=self._check_bases,
            network=image.network,
            add_hosts=settings.add_hosts,
            mtime_s=workshop.commit_time_s,
        )

    def _check_bases(self, configs: Mapping[str, ImageConfig]) -> None:
        """Refuse bases that make the Dockerfile take other files than were found: what they say is not in the key."""
        patterns = resolve(self.source.parsed, replace(self.question, config_of=configs.get)).patterns
        found = self.resolved.patterns
        if found is None or (patterns is not None and set(patterns) <= set(found)):
            return
        more = [f"`{path or '.'}`" for path in patterns or ("",) if path not in found]
        raise StageFailed(
            f"a base image takes files of the context that the Dockerfile does not name: {', '.join(more)}",
            image=self.context.image.name,
            stage="dockerfile",
            reason="base_takes_files",
            hint="it has ONBUILD instructions, or sets a variable that COPY uses: write the COPY into the Dockerfile",
        )


def read_source(image: Image, repo: Repository, commit: str, prefix: bytes) -> DockerfileSource:
    """The Dockerfile of an image. `ConfigError` where it is not there or cannot be read."""
    settings = _settings(image)
    context = _join(prefix, settings.context.encode("utf-8", "surrogateescape"))
    path = _join(context, settings.path.encode("utf-8", "surrogateescape"))
    content = repo.read_file(commit, path)
    if content is None:
        message = f"`dockerfile: {settings.path}` is not at commit {commit[:12]}: there is no file {_show(path)}"
        hint = "the path is relative to `context`; commit the file where it is in the work tree only"
        raise ConfigError([Problem(image.place, message, hint)])
    try:
        return DockerfileSource(path, context, content, parse(content))
    except DockerfileError as error:
        raise ConfigError([Problem(Place(_show(path), error.line, 1), str(error), error.hint)]) from error


def read_ignore(source: DockerfileSource, repo: Repository, commit: str) -> Ignore:
    """Which files of the context are left out. `ConfigError` for a line that is no pattern."""
    for path in source.ignore_files:
        content = repo.read_file(commit, path)
        if content is not None:
            try:
                return Ignore(content)
            except BadPattern as error:
                raise ConfigError([Problem(Place(_show(path), error.line, 1), str(error))]) from error
    return Ignore()


def read_inputs(context: Context) -> Inputs:
    """See `Inputs`. `ConfigError` names the place in the Dockerfile."""
    source = read_source(context.image, context.repo, context.commit, context.prefix)
    question = _question(context)
    resolved = source.resolve(question)
    return Inputs(context, source, question, resolved, _select(context, source, resolved.patterns))


def question_before(image: Image) -> Question:
    """What can be asked before the images that are injected are there: they are called `dependency`."""
    injected = {injection.target_build_arg: "dependency" for item in image.dependencies for injection in item.imports}
    platform = image.platform or "linux/amd64"
    return Question(_settings(image).target, {**_settings(image).args, **injected}, platform, platform)


def _question(context: Context) -> Question:
    settings = _settings(context.image)
    injected: dict[str, str] = {}
    sources: dict[str, Taken] = {}
    for item in context.image.dependencies:
        taken = context.others.take(Need(item.image))
        sources[taken.reference] = taken
        injected |= {injection.target_build_arg: injected_value(injection, taken) for injection in item.imports}

    def config_of(reference: str) -> ImageConfig | None:
        return sources[reference].config() if reference in sources else None

    platform = context.engine.platform()
    return Question(settings.target, {**settings.args, **injected}, context.image.platform or platform, platform, config_of)


def _select(context: Context, source: DockerfileSource, patterns: tuple[str, ...] | None) -> tuple[Blob, ...]:
    if patterns == ():
        return ()
    repo, commit = context.repo, context.commit

    def read_link(blob: Blob) -> bytes:
        with repo.open(blob) as content:
            return content.read()

    ignore = read_ignore(source, repo, commit)
    return select_files(repo.files(commit, Selector(source.context)), patterns, ignore, read_link)


def _open_files(repo: Repository, blobs: tuple[Blob, ...], resources: ExitStack) -> list[File]:
    """The files of a context, as long as `resources` are open."""
    ordered = sorted(blobs, key=lambda blob: blob.path.replace(b"/", b"\0"))
    sizes = repo.sizes(ordered)
    contents = repo.contents(ordered)
    resources.callback(contents.close)
    files = []
    for number, blob in enumerate(ordered):
        if blob.is_link:
            with repo.open(blob) as content:
                files.append(File(blob.path, "symlink", 0o777, link=content.read()))
        else:
            mode = 0o755 if blob.mode & 0o100 else 0o644
            files.append(File(blob.path, "file", mode, sizes[number], open=partial(contents.open, number)))
    return files


def _settings(image: Image) -> Dockerfile:
    assert image.dockerfile is not None
    return image.dockerfile


def _join(directory: bytes, path: bytes) -> bytes:
    return b"/".join(part for part in (directory, path) if part)


def _show(path: bytes) -> str:
    return os.fsdecode(path)
