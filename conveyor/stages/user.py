"""The user stages: `beforeInstall`, `install`, `beforeSetup`, `setup`."""

from __future__ import annotations

from msgspec import Struct

from conveyor.config.models import Image, UserStageName
from conveyor.gitrepo.api import Selector
from conveyor.keys.encoding import Value
from conveyor.keys.key import Part
from conveyor.stages.api import Context, Decision, Need, Workshop
from conveyor.stages.git_mapping import current_facts, deltas, lay_delta, mapped_of
from stapel.ansible import ansible_script, collections_of
from stapel.api import Lay, Run
from stapel.script import join_commands


class UserStage(Struct, frozen=True):
    """Exists where it has commands or a cache version. All but `beforeInstall` see the files of the current commit."""

    name: UserStageName

    def may_exist(self, image: Image) -> bool:
        """Where it has commands, tasks or a cache version."""
        shell = image.shell
        return bool(shell.commands.get(self.name) or shell.tasks.get(self.name) or any(_cache_versions(image, self.name)))

    def takes(self, image: Image) -> tuple[Need, ...]:
        """Nothing: what a command reads of other images comes by imports."""
        del image
        return ()

    def decide(self, context: Context) -> Decision:
        """Commands, cache versions, and the files of stageDependencies by path, mode and blob."""
        shell = context.image.shell
        commands = shell.commands.get(self.name, ())
        versions = _cache_versions(context.image, self.name)
        tasks = shell.tasks.get(self.name, "")
        parts = [Part("ansible", tasks)] if tasks else [Part("commands", commands)]
        collections = collections_of(tasks) if tasks else {}
        if collections:
            parts.append(Part("collections", collections))
        if any(versions):
            parts.append(Part("cacheVersion", versions))
        dependencies = _stage_dependencies(context, self.name)
        if dependencies:
            parts.append(Part("stageDependencies", dependencies))
        has_git = bool(context.below.git)
        return Decision(
            parts=tuple(parts),
            git=current_facts(context) if has_git else {},
            selects_ancestor=has_git,
            steps=lambda workshop: self._steps(context, commands, tasks, tuple(collections), workshop),
        )

    def _steps(
        self,
        context: Context,
        commands: tuple[str, ...],
        tasks: str,
        collections: tuple[str, ...],
        workshop: Workshop,
    ) -> tuple[Lay | Run, ...]:
        # The files of a delta carry the time of the build: make would otherwise see sources older than objects.
        found = deltas(context) if context.below.git else []
        laid = [lay_delta(item, delta, context.below.bases[item.id], None) for item, delta in found]
        run = Run(
            script=ansible_script(tasks) if tasks else join_commands(commands),
            needs_ansible=bool(tasks),
            collections=collections,
            mounts=workshop.mounts,
            ssh_socket=workshop.ssh_socket,
            network=context.image.network or "default",
            secrets=workshop.secrets(),
        )
        return (*laid, run)


def _cache_versions(image: Image, stage: UserStageName) -> list[str]:
    return [image.shell.cache_version, image.shell.stage_cache_versions.get(stage, "")]


def _stage_dependencies(context: Context, stage: UserStageName) -> list[Value]:
    # By what is added, not by the mapping's id: another `to` or owner is no change of the files that a stage depends on.
    found: list[Value] = []
    for item in mapped_of(context):
        patterns = item.mapping.stage_dependencies.get(stage, ())
        if patterns:
            selector = Selector(item.selector.add, item.selector.include, item.selector.exclude, patterns)
            source = item.mapping.remote
            added: Value = item.selector.add if source is None else [source.address.name, item.selector.add]
            found.append([added, item.repo.tree_digest(item.repo.head, selector)])
    return found
