"""A whole build: the plan, the confirmation of what it found, the tags, the end."""

from __future__ import annotations

import pytest

from conveyor.build.building import build_images
from conveyor.build.schedule import RESOLUTIONS, Limits
from conveyor.build.tags import CustomTags
from conveyor.events.api import Finished, ImageFailed, PlanMade, Warned
from conveyor.storage.facts import parse_facts
from tests.unit.build.memory_engine import MemoryImages, come_before
from tests.unit.build.worlds import image, imported

APP = image("app", install="b", imports=(imported("tools"),))
TOOLS = image("tools", beforeInstall="write /out/x 1", artifact=True)


def build(world, *images, tags=(), **limits):
    return build_images(world.rooms(images), images, Limits(**limits), CustomTags(tags), "registry.example/p", 0.0)


def lose_install(world, times, lost):
    """Between the end of the schedule and its confirmation somebody removes the stage `install`, so often."""

    def trace(verb, what):
        for name, digest in tuple(world.store.named.items()):
            facts = parse_facts(world.store.images[digest].config.labels)
            if verb == "names" and what == "" and facts.stage == "install" and len(lost) < times:
                lost.append(name)
                del world.store.named[name]

    world.store.trace = trace


def test_a_build_tells_its_plan_and_its_end(world):
    result = build(world, APP, TOOLS, image("other"), tags=("%image%-v1",), builds_at_once=3)
    assert result.ok
    (plan,), (finished,) = world.seen(PlanMade), world.seen(Finished)
    assert [[item.name for item in members] for members in plan.sets] == [["tools", "other"], ["app"]]
    assert plan.limit == 3
    assert plan.sets[0][0].artifact
    assert finished.result == result
    assert world.events[0] is plan
    assert world.events[-1] is finished
    assert (result.project, result.commit, result.repository) == ("project", world.commit, "registry.example/p")
    assert [item.custom_tags for item in result.images] == [("engine:app-v1",), (), ("engine:other-v1",)]


def test_a_failed_build_is_told_and_nothing_is_tagged(world):
    result = build(world, image("good"), image("bad", install="fail 1"), tags=("%image%-v1",))
    assert not result.ok
    assert [item.last is not None for item in result.images] == [True, False]
    assert not [name for name in world.store.named if name.endswith("v1")]
    assert world.seen(Finished)[0].result == result


def test_what_is_required_and_missing_is_no_success(world):
    result = build(world, image("app"), require_built=True)
    assert not result.ok
    assert result.images[0].missing.stage == "from"


def test_last_stages_that_are_gone_at_the_end_are_resolved_again(world):
    lost = []
    lose_install(world, 1, lost)
    result = build(world, image("app", beforeInstall="a", install="b"))
    assert result.ok
    assert len(lost) == 1
    assert result.images[0].last.name != lost[0]
    assert {stage.name for stage in result.images[0].stages} <= world.store.named.keys()
    assert world.engine.ran == ["a", "b", "b"]
    assert "app: other stages are selected by now" in world.seen(Warned)[-1].message
    assert [stage.source for stage in result.images[0].stages] == ["built"] * 3


def test_an_older_stage_that_appears_at_the_end_is_what_everybody_goes_on_with(world):
    app = image("app", beforeInstall="a", install="b")
    seen = []

    def trace(verb, what):
        if verb == "names" and what == "":
            seen.append(what)
            if len(seen) == 2:  # the schedule has ended
                come_before(world.store, next(name for name in world.store.named if name.startswith(digest)))

    digest = build(world, app).images[0].stages[1].digest
    world.store.named.clear()
    world.store.trace = trace
    result = build(world, app).images[0]
    before, install = result.stages[1:]
    assert [before.name, install.name] == [world.store.stages()[stage.digest][0] for stage in (before, install)]
    assert len(world.store.stages()[before.digest]) == 2
    assert before.source == "primary"
    assert install.source == "built"
    assert world.engine.ran == ["a", "b"] * 2


def test_last_stages_that_are_always_gone_end_it(world):
    lost = []
    lose_install(world, 100, lost)
    result = build(world, image("app", install="b"))
    assert len(world.engine.ran) == RESOLUTIONS
    assert not result.ok
    assert (result.images[0].failure.reason, result.images[0].failure.exit_status) == ("stage_gone", 4)
    assert [event.failure for event in world.seen(ImageFailed)] == [result.images[0].failure]


@pytest.mark.parametrize("limits", [{}, {"require_built": True}])
def test_where_nothing_was_built_nothing_is_confirmed(world, limits):
    app = image("app", install="b")
    build(world, app)
    world.store.lists = 0
    assert build(world, app, **limits).ok
    assert world.store.lists == 1


def test_what_was_copied_is_confirmed_too(world):
    """Somebody else may have stored an equal stage in the primary meanwhile."""
    app = image("app", install="b")
    build(world, app)
    world.secondaries = (world.store,)
    world.primary = MemoryImages("registry", has_manifests=True)
    assert {stage.source for stage in build(world, app).images[0].stages} == {"secondary"}
    saved = 2 * 2  # two stages, each listed under the lock and looked at again
    assert world.primary.lists == 1 + saved + 1
