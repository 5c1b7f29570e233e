"""Why a stage is built: by what is stored, what was stored once, and what is nearest."""

from __future__ import annotations

import pytest

from conveyor.build.results import Why
from conveyor.build.why import explain
from conveyor.keys.key import Key, Part
from conveyor.storage.facts import LABEL, Facts, format_facts
from conveyor.storage.names import Mark, StageName, parse_stage_name, stage_name
from conveyor.storage.selection import Selection
from stapel.oci.api import ImageConfig
from tests.unit.build.memory_engine import MemoryImages
from tests.unit.build.worlds import PROJECT, image, mapping


def key(**parts):
    return Key("linux/amd64", "install", tuple(Part(name, value) for name, value in parts.items()), "below", {})


OURS = key(commands="make", cacheVersion="2", stageDependencies="x")


@pytest.fixture
def put(world):
    def put(number, of=OURS, **changes):
        """A stored stage; the larger `number` is the newer."""
        values = {
            "project": PROJECT,
            "image": "app",
            "stage": "install",
            "digest": of.digest,
            "content_digest": "",
            "commit": "",
            "git": {},
            "parent": "",
            "parents": (),
            "sources": (),
            "parts": of.part_digests(),
        }
        facts = Facts(**{**values, **changes})
        descriptor = world.store.keep(ImageConfig({"config": {"Labels": {LABEL: format_facts(facts)}}, "n": number}), {})
        name = stage_name(of.digest, number, descriptor.digest)
        world.store.name(str(name), descriptor)
        return str(name)

    return put


def why(world, selection=None, of=OURS):
    return explain(
        world.storage(world.store), (PROJECT, "app", "install"), of.part_digests(), of.digest, selection or Selection(None)
    )


def test_a_first_build(world):
    assert why(world) == Why("first_build")


@pytest.mark.parametrize("other", [{"image": "web"}, {"stage": "setup"}, {"project": "another"}])
def test_stages_of_others_are_no_earlier_builds(world, put, other):
    put(1, key(commands="old"), **other)
    assert why(world) == Why("first_build")


def test_the_parts_that_differ_are_named_in_our_order_then_theirs(world, put):
    name = put(1, key(commands="make", onlyTheirs="1", stageDependencies="y"))
    assert why(world) == Why("changed", ("cacheVersion", "stageDependencies", "onlyTheirs"), name)
    assert str(why(world)) == "changed: cacheVersion, stageDependencies, onlyTheirs"


def test_what_is_below_is_named_last(world, put):
    other = Key("linux/arm64", "install", (Part("commands", "old"), *OURS.parts[1:]), "else", {"m": ("c",)})
    put(1, other)
    assert why(world).parts == ("commands", "platform", "previous stage", "previous commits")


def test_the_nearest_is_the_one_with_most_equal_parts(world, put):
    near = put(1, key(commands="make", cacheVersion="2", stageDependencies="y"))
    put(2, key(commands="old", cacheVersion="1", stageDependencies="y"))
    assert why(world) == Why("changed", ("stageDependencies",), near)


def test_of_several_the_newest_is_the_nearest(world, put):
    put(1, key(commands="old", cacheVersion="2", stageDependencies="x"))
    newer = put(2, key(commands="make", cacheVersion="1", stageDependencies="x"))
    assert why(world) == Why("changed", ("cacheVersion",), newer)


def refused(*pairs):
    return Selection(None, tuple(pairs))


NAME = StageName(1, OURS.digest, "00000000")


@pytest.mark.parametrize(
    ("refusals", "kind"),
    [
        (["no_ancestor"], "no_ancestor"),
        (["rejected"], "rejected"),
        (["rejected", "no_ancestor"], "no_ancestor"),
    ],
)
def test_stages_of_our_digest_that_cannot_be_used_are_the_reason(world, put, refusals, kind):
    put(1, key(commands="old"))
    selection = refused(*((NAME, refusal) for refusal in refusals))
    assert why(world, selection) == Why(kind, nearest=str(NAME))
    assert str(why(world, selection)).startswith({"no_ancestor": "no ancestor", "rejected": "rejected"}[kind])


@pytest.mark.parametrize("own", [True, False], ids=["the engine's store", "a registry"])
def test_a_stage_that_is_gone(world, own):
    if not own:
        world.primary = MemoryImages("registry", has_manifests=True)
    app = image("app", install="make")
    world.build(app)
    world.store.named.clear()
    result = world.build(app)["app"]
    assert [stage.why.kind for stage in result.stages] == ["gone", "gone"]


# -- through a build


def kinds(result):
    return {stage.stage: stage.why.kind if stage.why else None for stage in result.stages}


def test_a_build_tells_what_has_changed(world):
    world.build(image("app", beforeInstall="a", install="one"))
    result = world.build(image("app", beforeInstall="a", install="two"))["app"]
    assert kinds(result) == {"from": None, "beforeInstall": None, "install": "changed"}
    assert result.stages[-1].why.parts == ("commands",)


def test_a_build_tells_that_stages_are_of_another_branch(world, source, commit):
    app = image("app", git=(mapping("/dir", to="/app"),))
    one, two = (source.commit({b"dir/c": b"c\n", name: b""}, commit) for name in (b"one", b"two"))
    world.build(app, commit=one)
    result = world.build(app, commit=two)["app"]
    assert kinds(result) == {"from": None, "gitArchive": "no_ancestor"}


def test_a_build_tells_that_a_stage_was_rejected(world):
    app = image("app", beforeInstall="a", install="b")
    parsed = parse_stage_name(world.build(app)["app"].stages[1].name)
    assert parsed is not None
    world.store.put_record(str(Mark(str(parsed), 1, lifted=False)))
    result = world.build(app)["app"]
    assert kinds(result) == {"from": None, "beforeInstall": "rejected", "install": "rejected"}
