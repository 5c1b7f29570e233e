"""Stages that turn out to be broken or gone when they are used, storages that may not be written to or do not answer."""

from __future__ import annotations

import pytest

from conveyor.events.api import Warned
from conveyor.storage.names import Mark, parse_mark, parse_stage_name
from stapel.errors import Broken, NotFound, Refused, Unreachable
from tests.unit.build.memory_engine import MemoryImages
from tests.unit.build.worlds import image, imported, sources, stage_names

APP = image("app", beforeInstall="write one 1", install="write two 2", setup="write three 3")


@pytest.fixture
def registry(world):
    """A world whose primary is a registry."""
    world.primary = MemoryImages("registry", has_manifests=True)
    return world


def breaking(store, *digests, blob=""):
    """Using these images finds them broken, or the blob of them."""

    def trace(verb, what):
        if verb == "hold" and what in digests:
            raise Broken(f"{what} is damaged", blob=blob)

    return trace


def marks(store):
    return [mark for text in store.named if (mark := parse_mark(text)) is not None]


def warnings(world):
    return [event.message for event in world.seen(Warned)]


def test_a_base_that_is_broken_is_marked_for_everybody_and_made_again(registry):
    first = registry.build(APP)["app"]
    broken = first.stages[2]
    registry.engine.trace = breaking(registry.primary, broken.image_digest)
    changed = image("app", beforeInstall="write one 1", install="write two 2", setup="write three 4")
    found = registry.build(changed)["app"]
    assert found.failure is None
    assert sources(found) == {"from": "primary", "beforeInstall": "primary", "install": "built", "setup": "built"}
    assert found.stages[2].why.kind == "rejected"
    assert marks(registry.primary) == [Mark(broken.name, 1, lifted=False)]
    assert any("marked as rejected" in text and "stages unreject" in text for text in warnings(registry))
    # What was built on the broken stage is refused too, by whoever comes.
    registry.engine.trace = lambda verb, what: None
    again = registry.build(APP)["app"]
    assert again.stages[2].name == found.stages[2].name
    assert again.stages[3].source == "built"
    assert again.stages[3].name != first.stages[3].name


def test_the_first_stage_with_the_broken_blob_is_marked_and_one_resolution_mends_all(registry):
    deep = image("app", beforeInstall="write a 1", install="write b 2", beforeSetup="write c 3", setup="write d 4")
    first = registry.build(deep)["app"]
    stages = {stage.stage: stage for stage in first.stages}
    blob = registry.primary.images[stages["beforeInstall"].image_digest].config.diff_ids[-1]
    above = [stage.image_digest for stage in first.stages[1:]]
    registry.engine.trace = breaking(registry.primary, *above, blob=blob)
    changed = image("app", beforeInstall="write a 1", install="write b 2", beforeSetup="write c 3", setup="write d 5")
    found = registry.build(changed)["app"]
    assert found.failure is None
    assert [mark.stage for mark in marks(registry.primary)] == [stages["beforeInstall"].name]
    assert [stage.source for stage in found.stages] == ["primary", "built", "built", "built", "built"]
    assert sum("is resolved again" in text for text in warnings(registry)) == 1


def test_a_stage_that_is_rejected_the_moment_it_is_named_is_made_again(registry):
    rejected = []

    def trace(verb, what):
        if verb == "name" and not rejected and registry.primary.named:  # from is there
            rejected.append(what)
            registry.primary.named[str(Mark(what, 1, lifted=False))] = "record"

    registry.primary.trace = trace
    found = registry.build(image("app", beforeInstall="write one 1", install="write two 2"))["app"]
    assert found.failure is None
    assert len(rejected) == 1
    again = next(stage for stage in found.stages if rejected[0].startswith(stage.digest))
    assert again.name != rejected[0]
    assert again.why.kind == "rejected"


def test_a_source_of_an_import_that_is_broken_is_made_again(registry):
    tools = image("tools", install="write out/tool 1", artifact=True)
    first = registry.build(tools)["tools"]
    broken = first.stages[-1]
    registry.engine.trace = breaking(registry.primary, broken.image_digest)
    app = image("app", imports=(imported("tools"),), install="write x y")
    found = registry.build(tools, app)
    assert found["app"].failure is None
    assert found["tools"].failure is None
    assert found["tools"].stages[-1].name != broken.name
    assert [mark.stage for mark in marks(registry.primary)] == [broken.name]


def test_an_image_that_stands_on_another_has_that_made_again(registry):
    below = image("below", install="write below 1")
    above = image("above", "image:below", install="write above 1")
    first = registry.build(below)["below"]
    broken = first.stages[-1]
    registry.engine.trace = breaking(registry.primary, broken.image_digest)
    found = registry.build(below, above)
    assert found["above"].failure is None
    assert found["below"].stages[-1].name != broken.name
    assert [mark.stage for mark in marks(registry.primary)] == [broken.name]


def test_a_stage_whose_configuration_is_broken_is_marked(registry, tmp_path):
    first = registry.build(APP)["app"]
    broken = first.stages[1]
    registry.path = tmp_path / "another home"

    def trace(verb, what):
        if verb == "describe" and what == broken.name:
            raise Broken("its configuration is damaged")

    registry.primary.trace = trace
    found = registry.build(APP)["app"]
    assert found.stages[1].source == "built"
    assert found.stages[1].why.kind == "rejected"
    assert [mark.stage for mark in marks(registry.primary)] == [broken.name]


def test_a_mark_that_may_not_be_written_holds_for_the_run(registry):
    first = registry.build(APP)["app"]
    registry.engine.trace = breaking(registry.primary, first.stages[2].image_digest)

    def refuse(verb, what):
        if verb == "record":
            raise Refused("status 403")

    registry.primary.trace = refuse
    changed = image("app", beforeInstall="write one 1", install="write two 2", setup="write three 4")
    found = registry.build(changed)["app"]
    assert found.failure is None
    assert found.stages[2].source == "built"
    assert marks(registry.primary) == []
    assert sum("could not be marked" in text for text in warnings(registry)) == 1


def test_a_stage_that_is_gone_is_no_broken_one(registry):
    first = registry.build(APP)["app"]
    registry.primary.lose(first.stages[2].image_digest)
    changed = image("app", beforeInstall="write one 1", install="write two 2", setup="write three 4")
    found = registry.build(changed)["app"]
    assert found.failure is None
    assert marks(registry.primary) == []


@pytest.mark.parametrize("error", [Unreachable("status 503, 6 times"), Refused("status 403")])
def test_what_cannot_be_asked_is_never_marked(registry, error):
    first = registry.build(APP)["app"]

    def trace(verb, what):
        if verb == "hold" and what == first.stages[2].image_digest:
            raise error

    registry.engine.trace = trace
    changed = image("app", beforeInstall="write one 1", install="write two 2", setup="write three 4")
    found = registry.build(changed)["app"]
    assert found.failure is not None
    assert found.failure.exit_status == 4
    assert marks(registry.primary) == []


@pytest.mark.parametrize("verb", ["put", "name"])
def test_without_write_access_what_is_stored_is_used_and_what_is_missing_ends_with_status_4(registry, verb):
    registry.build(APP)

    def refuse(done, what):
        if done in ("put", "name", "record"):
            raise Refused("registry.example.com refuses it: status 403", hint="docker login registry.example.com")

    registry.primary.trace = refuse
    if verb == "put":
        registry.engine.trace = lambda done, what: refuse(done, what) if done == "put" else None
    assert registry.build(APP)["app"].failure is None
    changed = image("app", beforeInstall="write one 1", install="write two 3", setup="write three 3")
    failure = registry.build(changed)["app"].failure
    assert failure is not None
    assert (failure.exit_status, failure.reason, failure.stage) == (4, "write_refused", "install")
    assert "writing to registry is refused" in failure.message
    assert "docker login" in failure.hint


def test_what_was_removed_before_it_had_its_name_is_put_again(registry):
    lost = []

    def clean_up(verb, what):
        if verb == "name" and parse_stage_name(what) is not None and not lost:
            lost.append(what)
            registry.primary.images.clear()

    registry.primary.trace = clean_up
    found = registry.build(image("app", install="write one 1"))["app"]
    assert found.failure is None
    assert lost[0] not in registry.primary.named
    assert all(stage.name in registry.primary.named for stage in found.stages)


def three_secondaries(world):
    """Stages of APP in three secondaries; the primary is empty."""
    stores = tuple(MemoryImages(f"secondary-{number}", has_manifests=True) for number in (1, 2, 3))
    world.primary = stores[0]
    world.build(APP)
    for store in stores[1:]:
        store.images, store.named = dict(stores[0].images), dict(stores[0].named)
    world.primary, world.secondaries = MemoryImages("registry", has_manifests=True), stores
    world.events.clear()
    return stores


def test_secondaries_are_asked_in_order_and_the_next_has_what_the_one_before_has_broken(world):
    stores = three_secondaries(world)

    def trace_of(store, verbs, error):
        asked = []

        def trace(verb, what):
            if verb in verbs:
                asked.append(what)
                raise error

        store.trace = trace
        return asked

    unreachable = trace_of(stores[0], {"names"}, Unreachable("no answer, 4 times"))
    broken = trace_of(stores[1], {"get"}, Broken("a blob is damaged"))
    found = world.build(APP)["app"]
    assert found.failure is None
    assert set(sources(found).values()) == {"secondary"}
    assert world.engine.ran == ["write one 1", "write two 2", "write three 3"]  # the first time
    assert len(unreachable) == 1
    assert len(broken) == len(found.stages)
    told = warnings(world)
    assert sum("secondary-2, and is left out" in text for text in told) == len(found.stages)
    assert not any("resolved again" in text for text in told)
    assert marks(stores[1]) == marks(world.primary) == []


def test_a_secondary_that_stops_to_answer_in_the_middle_is_given_up(world):
    stores = three_secondaries(world)
    world.secondaries = stores[:1]

    asked: list[str] = []

    def stop(verb, what):
        asked.append(verb)
        if verb == "get" or asked.count("names") > 1:
            raise Unreachable("no answer")

    stores[0].trace = stop
    found = world.build(APP)["app"]
    assert found.failure is None
    assert set(sources(found).values()) == {"built"}


def test_a_secondarys_rejected_stages_are_not_taken(world):
    stores = three_secondaries(world)
    world.secondaries = stores[:1]
    beforeinstall = next(name for name in stores[0].named if name.startswith(_digest_of(stores[0], "beforeInstall")))
    stores[0].put_record(f"{beforeinstall}-rejected")
    found = world.build(APP)["app"]
    assert sources(found) == {"from": "secondary", "beforeInstall": "built", "install": "built", "setup": "built"}
    assert stage_names(found) == ["from", "beforeInstall", "install", "setup"]


def test_what_the_primary_has_rejected_is_not_taken_from_a_secondary_under_the_same_name(world):
    stores = three_secondaries(world)
    world.secondaries = stores[:1]
    first = world.build(APP)["app"]
    world.primary.put_record(f"{first.stages[1].name}-rejected")
    found = world.build(APP)["app"]
    assert found.failure is None
    assert sources(found) == {"from": "primary", "beforeInstall": "built", "install": "built", "setup": "built"}
    assert found.stages[1].name != first.stages[1].name


def _digest_of(store, stage):
    from conveyor.storage.facts import parse_facts

    for item in store.images.values():
        facts = parse_facts(item.config.labels)
        if facts is not None and facts.stage == stage:
            return facts.digest
    raise NotFound(stage)
