"""Stages whose label disagrees with what is looked for do not exist for a build."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from conveyor.keys.key import content_digest
from conveyor.storage.facts import LABEL, Facts, MappingFacts, format_facts, parse_facts
from conveyor.storage.names import StageName, parse_stage_name
from stapel.oci.api import ImageConfig
from tests.unit.build.worlds import image, mapping, sources

APP = image("app", git=(mapping("/", "/app"),), beforeInstall="write /first 1", install="write /second 2")


def plant(world, name, facts: Facts):
    """An older stage of the digest of `name`, with other bytes and this label."""
    parsed = parse_stage_name(name)
    assert parsed is not None
    true = world.store.images[world.store.named[name]]
    run = {**true.config.document.get("config", {}), "Labels": {LABEL: format_facts(facts)}}
    planted = world.store.keep(ImageConfig({**true.config.document, "config": run, "author": "somebody"}), true.files)
    older = StageName(parsed.timestamp_ms - 1, parsed.digest, planted.digest[7:15])
    world.store.named[str(older)] = planted.digest
    return str(older)


def agreeing(facts, git):
    commits = {name: item.commits for name, item in git.items()}
    return replace(facts, git=git, content_digest=content_digest(facts.digest, commits))


LIES = {
    "another kind of stage": lambda facts, head: replace(facts, stage="setup"),
    "another content digest": lambda facts, head: replace(facts, content_digest="e" * 56),
    "another line of parents": lambda facts, head: replace(facts, parents=(f"{'a' * 56}-1700000000000-00000000",)),
    "no parents": lambda facts, head: replace(facts, parents=()),
    "no git": lambda facts, head: agreeing(facts, {}),
    "another mapping": lambda facts, head: agreeing(facts, {"0" * 16: MappingFacts((head,), "0" * 56)}),
    "git where there is none": lambda facts, head: agreeing(facts, {**facts.git, "0" * 16: MappingFacts((head,), "0" * 56)}),
}


@pytest.mark.parametrize("stage", ["beforeInstall", "gitArchive", "install"])
@pytest.mark.parametrize("lie", LIES)
def test_a_label_that_disagrees_with_its_key_is_not_used(world, stage, lie):
    honest = {item.stage: item.name for item in world.build(APP)["app"].stages}
    name = honest[stage]
    facts = parse_facts(world.store.images[world.store.named[name]].config.labels)
    assert facts is not None
    false = LIES[lie](facts, world.commit)
    planted = plant(world, name, false)
    used = world.build(APP)["app"]
    if false == facts:  # the stage has no git to leave out
        assert planted in {item.name for item in used.stages}
        return
    assert {item.stage: item.name for item in used.stages} == honest
    assert set(sources(used).values()) == {"primary"}
