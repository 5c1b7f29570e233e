"""The Dockerfile of an image and its `.dockerignore`, read by the rules of giterminism."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from conveyor.config.dockerfile_model import Dockerfile
from conveyor.config.giterminism.api import Directive
from conveyor.config.giterminism.files import ConfigFiles
from conveyor.config.models import Image
from conveyor.dockerfile.ignore import BadPattern, Ignore
from conveyor.dockerfile.parser import DockerfileError, ParsedFile, parse
from conveyor.dockerfile.resolve import Question, Resolved, resolve
from conveyor.errors import ConfigError, Place, Problem
from conveyor.gitrepo.api import Repository

Read = Callable[[bytes, Directive, str], "bytes | None"]
"""The content at a path of the repository; the directive that would accept it uncommitted, and what it is read as."""


class DockerfileSource(Struct, frozen=True):
    """A Dockerfile at a commit. Paths are those of the repository."""

    path: bytes
    context: bytes
    content: bytes
    parsed: ParsedFile

    @property
    def ignore_files(self) -> tuple[bytes, bytes]:
        """Where the rules may stand by which files of the context are left out; the first that is there counts."""
        return self.path + b".dockerignore", join_paths(self.context, b".dockerignore")

    def resolve(self, question: Question) -> Resolved:
        """What a target needs. `ConfigError` with the place in the Dockerfile."""
        try:
            return resolve(self.parsed, question)
        except DockerfileError as error:
            raise ConfigError([Problem(Place(show_path(self.path), error.line, 1), str(error), error.hint)]) from error


def make_read(repo: Repository, commit: str, prefix: bytes, files: ConfigFiles | None) -> Read:
    """Reads from the commit; with `files` what is not as the commit has it is refused, or taken where that is allowed."""
    if files is None:
        return lambda path, directive, subject: repo.read_file(commit, path)
    return partial(_read, files, prefix)


def _read(files: ConfigFiles, prefix: bytes, path: bytes, directive: Directive, subject: str) -> bytes | None:
    return files.read(os.fsdecode(os.path.relpath(path, prefix) if prefix else path), directive, subject)


def read_source(image: Image, read: Read, prefix: bytes) -> DockerfileSource:
    """The Dockerfile of an image. `ConfigError` where it is not there or cannot be read."""
    settings = settings_of(image)
    context = join_paths(prefix, settings.context.encode("utf-8", "surrogateescape"))
    path = join_paths(context, settings.path.encode("utf-8", "surrogateescape"))
    content = read(path, "config.dockerfile.allowUncommitted", "dockerfile")
    if content is None:
        message = f"`dockerfile: {settings.path}`: there is no file {show_path(path)} at this commit"
        hint = "the path is relative to `context`; commit the file where it is in the work tree only"
        raise ConfigError([Problem(image.place, message, hint)])
    try:
        return DockerfileSource(path, context, content, parse(content))
    except DockerfileError as error:
        raise ConfigError([Problem(Place(show_path(path), error.line, 1), str(error), error.hint)]) from error


def read_ignore(source: DockerfileSource, read: Read) -> Ignore:
    """Which files of the context are left out. `ConfigError` for a line that is no pattern."""
    for path in source.ignore_files:
        content = read(path, "config.dockerfile.allowUncommittedDockerignoreFiles", "dockerignore file")
        if content is not None:
            try:
                return Ignore(content)
            except BadPattern as error:
                raise ConfigError([Problem(Place(show_path(path), error.line, 1), str(error))]) from error
    return Ignore()


def question_before(image: Image) -> Question:
    """What can be asked before the images that are injected are there: they are called `dependency`."""
    settings = settings_of(image)
    injected = {injection.target_build_arg: "dependency" for item in image.dependencies for injection in item.imports}
    platform = image.platform or "linux/amd64"
    return Question(settings.target, {**settings.args, **injected}, platform, platform)


def settings_of(image: Image) -> Dockerfile:
    """What the configuration says of the Dockerfile of an image that has one."""
    assert image.dockerfile is not None
    return image.dockerfile


def join_paths(directory: bytes, path: bytes) -> bytes:
    """A path below a directory, b"" is the root."""
    return b"/".join(part for part in (directory, path) if part)


def show_path(path: bytes) -> str:
    """A path for a message."""
    return os.fsdecode(path)
