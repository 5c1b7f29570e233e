"""What an image is made of that has a Dockerfile: read from the commit, asked of the images that it takes from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from conveyor.dockerfile.resolve import Question, Resolved, resolve
from conveyor.errors import StageFailed
from conveyor.gitrepo.api import Blob
from conveyor.keys.encoding import Value
from conveyor.keys.key import hash_value
from conveyor.stages.api import Context, Need, Taken, Workshop
from conveyor.stages.context_files import open_files, select_context
from conveyor.stages.dependencies import injected_value
from conveyor.stages.dockerfile_source import DockerfileSource, make_read, read_ignore, read_source, settings_of
from stapel.dockerfile import DockerfileBuild
from stapel.oci.api import ImageConfig


class Inputs(Struct, frozen=True):
    """The Dockerfile, what its target needs, and the files that are taken of the context, sorted by path."""

    context: Context
    source: DockerfileSource
    question: Question
    resolved: Resolved
    files: tuple[Blob, ...]

    def build(self, workshop: Workshop) -> DockerfileBuild:
        """What the engine is asked."""
        image = self.context.image
        settings = settings_of(image)
        contents: list[Value] = [[blob.path, blob.mode, blob.oid] for blob in self.files]
        return DockerfileBuild(
            dockerfile=self.source.content,
            files=open_files(self.context.repo, self.source.context, self.files, workshop.resources),
            context_key=hash_value(["context", contents, workshop.commit_time_s]),
            target=settings.target,
            args=self.question.args,
            platform=self.question.platform,
            bases=self.resolved.bases,
            check_bases=self._check_bases,
            network=image.network,
            add_hosts=settings.add_hosts,
            mtime_s=workshop.commit_time_s,
            secrets=workshop.secrets(),
            ssh=_sources_of_keys(settings.ssh, workshop),
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


def read_inputs(context: Context) -> Inputs:
    """See `Inputs`. `ConfigError` names the place in the Dockerfile."""
    image, repo, commit = context.image, context.repo, context.commit
    read = make_read(repo, commit, context.prefix, context.files)
    source = read_source(image, read, context.prefix)
    question = _question(context)
    resolved = source.resolve(question)
    ignore = read_ignore(source, read)
    files = select_context(image, repo, commit, source.context, resolved.patterns, ignore)
    return Inputs(context, source, question, resolved, files)


def _question(context: Context) -> Question:
    settings = settings_of(context.image)
    injected: dict[str, str] = {}
    sources: dict[str, Taken] = {}
    for item in context.image.dependencies:
        taken = context.others.take(Need(item.image))
        sources[taken.reference] = taken
        injected |= {injection.target_build_arg: injected_value(injection, taken) for injection in item.imports}

    def config_of(reference: str) -> ImageConfig | None:
        return sources[reference].config() if reference in sources else None

    builder = context.engine.platform()
    return Question(settings.target, {**settings.args, **injected}, context.platform or builder, builder, config_of)


def _sources_of_keys(ssh: str, workshop: Workshop) -> Mapping[str, tuple[Path, ...]]:
    """The SSH agents by id: `default` is the user's, `id=path` is a socket or keys."""
    found: dict[str, tuple[Path, ...]] = {}
    if workshop.ssh_socket is not None:
        found["default"] = (workshop.ssh_socket,)
    name, equals, paths = ssh.partition("=")
    if equals:
        found[name or "default"] = tuple(Path(path).expanduser() for path in paths.split(",") if path)
    return found
