"""Images of several platforms: what is resolved for which, what comes together, what does not fit."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from conveyor.build.building import build_images
from conveyor.build.platforms import choose_pass, plan_passes
from conveyor.build.schedule import Limits
from conveyor.build.tags import CustomTags
from conveyor.errors import UsageError
from conveyor.events.api import PlanMade
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


def test_after_a_failure_no_further_platform_is_begun(world):
    world.engine.bases["busybox:1"] = {}
    done = build(world, image("bad", platforms=BOTH, install="fail 3"), image("good", platforms=(ARM,)))
    bad, good = done.images
    assert not done.ok
    assert bad.failure is not None and bad.failure.status == 3
    assert good.failure is not None and (good.failure.reason, good.failure.blocked_by) == ("not_started", "bad")
