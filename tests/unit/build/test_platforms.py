"""Images of several platforms: what is resolved for which, what comes together, what does not fit."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from conveyor.build.building import build_images
from conveyor.build.platforms import choose_pass, plan_passes
from conveyor.build.schedule import Limits
from conveyor.build.tags import CustomTags
from conveyor.errors import UsageError
from conveyor.events.api import ImageFailed, PlanMade, StageBuilt, StageLog, StageStarted
from conveyor.events.text import Look, event_lines
from tests.unit.build.worlds import image, imported

AMD, ARM = "linux/amd64", "linux/arm64"
BOTH = (AMD, ARM)


def rooms(world, *images, platforms=(AMD,)):
    return replace(world.rooms(images), platforms=platforms)


def passes(world, *images, platforms=(AMD,)):
    found = plan_passes(rooms(world, *images, platforms=platforms), images)
    return {item.platform: [member.name for member in item.images] for item in found}


def test_images_that_say_nothing_are_for_the_platforms_of_the_run(world):
    images = (image("a"), image("b", platforms=(ARM,)))
    assert passes(world, *images) == {AMD: ["a"], ARM: ["b"]}
    assert passes(world, *images, platforms=BOTH) == {AMD: ["a"], ARM: ["a", "b"]}


def test_an_artifact_is_for_the_platforms_of_who_takes_from_it(world):
    chain = (image("far", artifact=True), image("near", "image:far", artifact=True), image("alone", artifact=True))
    app = image("app", platforms=(ARM,), imports=(imported("near"),))
    assert passes(world, *chain, app) == {AMD: ["alone"], ARM: ["far", "near", "app"]}


@pytest.mark.parametrize("taken", [image("base"), image("base", artifact=True, platforms=(AMD,))])
def test_what_an_image_takes_from_is_there_for_its_platforms(world, taken):
    with pytest.raises(UsageError) as caught:
        passes(world, taken, image("app", "image:base", platforms=BOTH))
    assert "invalid image platform cross-references" in str(caught.value)


def test_for_use_on_this_machine_its_own_platform_is_chosen(world):
    app, other = image("app", platforms=BOTH), image("other", platforms=("linux/s390x",))
    here = rooms(world, app, other)
    here = replace(here, engine=Engine(ARM))
    assert choose_pass(here, (app, other), "app").platform == ARM
    assert choose_pass(here, (app, other), "other").platform == "linux/s390x"


class Engine:
    def __init__(self, platform):
        self._platform = platform

    def platform(self):
        return self._platform


def build(world, *images, **limits):
    return build_images(rooms(world, *images), images, Limits(**limits), CustomTags(), "", 0.0)


def test_every_platform_has_stages_of_its_own(world):
    world.engine.bases["busybox:1"] = {}
    app = image("app", platforms=BOTH, install="write made x")
    done = build(world, app)
    (result,) = done.images
    assert [one.platform for one in result.by_platform] == [AMD, ARM]
    assert len({stage.digest for stage in result.stages}) == len(result.stages) == 4
    assert result.shown == result.by_platform[0].last
    assert [plan.platform for plan in world.seen(PlanMade)] == [AMD, ARM]
    again = build(world, app)
    assert not any(stage.source == "built" for stage in again.images[0].stages)


def test_platforms_are_built_at_the_same_time_within_the_limit(world):
    """Each waits for what the other one does: in turns neither would end."""
    app = image("app", platforms=BOTH, beforeInstall="open a\nwait b", install="x")
    other = image("other", platforms=(ARM,), beforeInstall="wait a\nopen b")
    done = build(world, app, other)
    assert done.ok
    assert 2 <= world.engine.most_running <= 5
    world.engine.most_running = 0
    assert build(world, *(image(name, platforms=BOTH, install=name) for name in "abc"), builds_at_once=1).ok
    assert world.engine.most_running == 1


def test_what_is_told_names_the_platform_where_there_are_several(world):
    assert build(world, image("app", platforms=BOTH, install="say hello")).ok
    for kind in (StageStarted, StageLog):
        assert {event.platform for event in world.seen(kind)} == set(BOTH)
    assert {event.result.platform for event in world.seen(StageBuilt)} == set(BOTH)
    shown = [line for event in world.events for line in event_lines(event, Look())]
    assert any(line.startswith(f"Building stage app/install [{ARM}]") for line in shown)
    (failed,) = build(world, image("app", platforms=BOTH, install="fail 3")).images
    assert {event.failure.platform for event in world.seen(ImageFailed)} == set(BOTH)
    assert failed.failure.platform in BOTH
    world.events.clear()
    assert build(world, image("alone", install="say nothing of it")).ok
    assert {event.platform for event in world.seen(StageLog)} == {""}


def test_after_a_failure_no_further_stage_is_begun_for_any_platform(world):
    class Opening:
        def __call__(self, event):
            world(event)
            if isinstance(event, ImageFailed):
                world.engine.gates["failed"].set()

        def close(self):
            world.close()

    bad = image("bad", platforms=(AMD,), install="wait begun\nfail 3")
    app = image("app", platforms=(ARM,), install="open begun\nwait failed", setup="x")
    opening = replace(rooms(world, bad, app), reporter=Opening())
    bad, app = build_images(opening, (bad, app), Limits(), CustomTags(), "", 0.0).images
    assert bad.failure.status == 3
    assert (app.failure.stage, app.failure.reason, app.failure.blocked_by) == ("setup", "not_started", "bad")


def test_stages_of_one_platform_are_no_reason_to_wait_for_another(world):
    """What an image takes from is that of its own platform alone."""
    lib = image("lib", platforms=BOTH, install="write out/lib x")
    app = image("app", platforms=BOTH, imports=(imported("lib"),))
    done = build(world, lib, app)
    assert done.ok
    for platform, result in zip(BOTH, done.images[1].by_platform, strict=True):
        (source,) = (each for each in done.images[0].by_platform if each.platform == platform)
        stored = world.store.get(result.last.image_id).config
        assert source.last.name in stored.labels["dev.conveyor.stage"]
