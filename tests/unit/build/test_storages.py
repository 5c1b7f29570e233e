"""Caches, the final repository, records of what was built, and copying between storages."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from conveyor.build.building import build_images
from conveyor.build.schedule import Limits
from conveyor.build.tags import CustomTags
from conveyor.events.api import Warned
from conveyor.storage.caches import Caches
from conveyor.storage.copying import copy_stages
from conveyor.storage.names import (
    commit_record_name,
    custom_tag_record_name,
    managed_image_name,
    parse_import_record,
    parse_stage_name,
)
from conveyor.storage.saving import Saving
from locking.null import NullLocks
from stapel.api import Cancel
from stapel.errors import Broken, Cancelled, NotFound, Refused, Unreachable
from tests.unit.build.memory_engine import MemoryImages
from tests.unit.build.worlds import image, imported, sources

APP = image("app", beforeInstall="write one 1", install="write two 2")
NEXT = image("app", beforeInstall="write one 1", install="write two 3")
TOOLS = image("tools", install="write out/tool 1", artifact=True)
WITH_TOOLS = image("app", imports=(imported("tools"),), install="write two 2")


def a_registry(address):
    return MemoryImages(address, has_manifests=True)


@pytest.fixture
def registry(world):
    """A world whose primary is a registry."""
    world.primary = a_registry("registry")
    return world


def build(world, *images, caches=(), final=None, tags=(), records=True, **limits):
    rooms = world.rooms(images)
    made = Caches(caches, world.primary, lambda message: world(Warned(message))) if caches else None
    rooms = replace(rooms, caches=made, final=world.storage(final, "final") if final else None, keeps_records=records)
    try:
        result = build_images(rooms, images, Limits(**limits), CustomTags(tags), "registry", 0.0)
    finally:
        if made is not None:
            made.close()
    assert world.engine.held == set()
    return result


def stages(store):
    return {name for name in store.named if parse_stage_name(name) is not None}


def warnings(world):
    return [event.message for event in world.seen(Warned)]


# -- caches


def test_caches_are_given_every_stage_that_was_built_under_its_name_and_digest(registry):
    caches = [a_registry("cache-1"), a_registry("cache-2")]
    assert build(registry, APP, caches=caches).ok
    for cache in caches:
        assert stages(cache) == stages(registry.primary)
        assert all(cache.named[name] == registry.primary.named[name] for name in stages(cache))


def test_bytes_come_from_the_first_cache_that_has_them(registry):
    cache = a_registry("cache")
    build(registry, APP, caches=[cache])
    got = []
    registry.primary.trace = lambda verb, what: got.append(what) if verb == "get" else None
    other = a_registry("empty cache")
    assert build(registry, NEXT, caches=[other, cache]).ok
    used = registry.primary.named[next(name for name in stages(registry.primary) if name in cache.named)]
    assert used in cache.images
    # The primary was read only to give the caches what is new.
    below = {registry.primary.named[name] for name in stages(cache)} - {
        registry.primary.named[name] for name in stages(other)
    }
    assert not below & set(got)


def test_a_cache_decides_nothing(registry):
    cache = a_registry("cache")
    build(registry, APP, caches=[cache])
    registry.primary.named.clear()
    registry.primary.images.clear()
    found = build(registry, APP, caches=[cache]).images[0]
    assert {stage.source for stage in found.stages} == {"built"}


@pytest.mark.parametrize(
    ("error", "verbs"),
    [
        (Unreachable("no answer"), ("get", "put", "name")),
        (Refused("status 403"), ("put", "name")),
        (Broken("a blob is damaged"), ("get",)),
        (NotFound("a blob is gone"), ("get", "name")),
    ],
)
def test_what_goes_wrong_with_a_cache_fails_nothing(registry, error, verbs):
    cache = a_registry("cache")
    build(registry, APP)

    def fail(verb, what):
        if verb in verbs:
            raise error

    cache.trace = fail
    result = build(registry, NEXT, caches=[cache])
    assert result.ok
    assert sources(result.images[0]) == {"from": "primary", "beforeInstall": "primary", "install": "built"}
    told = [text for text in warnings(registry) if "cache" in text]
    if isinstance(error, Unreachable):
        assert 1 <= len(told) <= 2  # once for each of using and filling
        assert all("nor any other in this run" in text for text in told)


def test_a_cache_that_lacked_what_was_used_is_given_it(registry):
    build(registry, APP)
    cache = a_registry("cache")
    result = build(registry, NEXT, caches=[cache])
    assert stages(cache) == {stage.name for stage in result.images[0].stages[1:]}


# -- the final repository


def test_final_images_are_copied_to_the_final_repository_and_shown_there(registry):
    final = a_registry("final")
    result = build(registry, APP, image("base", install="x", final=False), TOOLS, final=final, tags=("%image%-v1",))
    app = result.images[0]
    assert result.ok
    assert set(final.named) == {app.last.name, "app-v1"}
    assert final.named["app-v1"] == final.named[app.last.name] == app.shown.image_digest
    assert app.shown.reference == f"final:{app.last.name}"
    assert app.custom_tags == ("final:app-v1",)
    assert [item.published for item in result.images[1:]] == [None, None]
    assert "app-v1" not in registry.primary.named
    # Again: nothing is written, so who may only read can repeat it.
    written = []
    for store in (final, registry.primary):
        store.trace = lambda verb, what: written.append((verb, what)) if verb in ("put", "name", "record") else None
    again = build(registry, APP, image("base", install="x", final=False), TOOLS, final=final, tags=("%image%-v1",))
    assert again.images[0].shown == replace(app.shown, source="primary", why=None, seconds=0.0)
    assert written == []


def test_an_image_that_cannot_be_copied_there_has_failed(registry):
    final = a_registry("final")

    def refuse(verb, what):
        if verb == "put":
            raise Refused("final refuses it: status 403", hint="docker login final")

    final.trace = refuse
    result = build(registry, APP, final=final)
    failure = result.images[0].failure
    assert not result.ok
    assert (failure.exit_status, failure.reason, failure.hint) == (4, "refused", "docker login final")
    assert "is not published in final" in failure.message
    assert stages(registry.primary)


# -- records


def test_it_is_recorded_what_was_built_at_which_commit_and_only_once(registry):
    result = build(registry, APP, TOOLS, tags=("%image%-v1",))
    name = parse_stage_name(result.images[0].last.name)
    recorded = {text for text, digest in registry.primary.named.items() if digest == "record"}
    assert recorded == {
        managed_image_name("app"),
        commit_record_name("app", registry.commit, name),
        custom_tag_record_name(name, "app-v1"),
    }
    written = []
    registry.primary.trace = lambda verb, what: written.append(what) if verb == "record" else None
    assert build(registry, APP, TOOLS, tags=("%image%-v1",)).ok
    assert written == []


def test_records_that_cannot_be_written_fail_nothing(registry):
    def refuse(verb, what):
        if verb == "record":
            raise Refused("status 403")

    registry.primary.trace = refuse
    assert build(registry, APP).ok
    assert len(warnings(registry)) == 1


def test_a_failed_build_and_one_without_records_record_nothing(registry):
    assert not build(registry, image("app", install="fail 1")).ok
    assert build(registry, image("app", install="x"), records=False).ok
    assert not [text for text, digest in registry.primary.named.items() if digest == "record"]


# -- copying


def copied(world, source, into, **more):
    told: list[str] = []
    saving = Saving(NullLocks(), 1.0, told.append, lambda waiting: None)
    done = copy_stages(world.engine, world.storage(source, "secondary"), world.storage(into), saving, Cancel(), **more)
    return done, told


def test_all_that_is_missing_is_copied_under_its_own_name_and_again_nothing(registry):
    build(registry, WITH_TOOLS, TOOLS, tags=("v1",))
    into = a_registry("other")
    done, _ = copied(registry, registry.primary, into)
    assert {str(name) for name in done.copied} == stages(into) == stages(registry.primary)
    records = {name for name, digest in registry.primary.named.items() if digest == "record"}
    assert any(parse_import_record(name) for name in records)
    assert {name for name, digest in into.named.items() if digest == "record"} == records
    assert "v1" not in into.named
    written = []
    into.trace = lambda verb, what: written.append(what) if verb in ("put", "name", "record") else None
    done, _ = copied(registry, registry.primary, into)
    assert (done.copied, written) == ((), [])
    assert {str(name) for name in done.there} == stages(into)
    # What was copied is used.
    registry.primary = into
    found = build(registry, WITH_TOOLS, TOOLS)
    assert {stage.source for item in found.images for stage in item.stages} == {"primary"}


def test_rejected_stages_stay_and_their_marks_go_first(registry):
    first = build(registry, APP).images[0]
    registry.primary.put_record(f"{first.stages[1].name}-rejected")
    into = a_registry("other")
    order = []
    into.trace = lambda verb, what: order.append((verb, what)) if verb in ("name", "record") else None
    done, _ = copied(registry, registry.primary, into)
    assert stages(into) == {first.stages[0].name}
    assert {str(name) for name in done.refused} == {first.stages[1].name, first.stages[2].name}
    assert order[0] == ("record", f"{first.stages[1].name}-rejected")


def test_what_the_source_has_lost_is_left_out_with_a_warning(registry):
    first = build(registry, APP).images[0]
    registry.primary.lose(first.stages[1].image_digest)
    into = a_registry("other")
    done, told = copied(registry, registry.primary, into)
    assert stages(into) == {first.stages[0].name, first.stages[2].name}
    assert [str(name) for name in done.lost] == [first.stages[1].name]
    assert len(told) == 1
    assert "left out" in told[0]


def test_only_wanted_stages_with_what_is_recorded_of_them(registry):
    old = build(registry, APP).images[0]
    new = build(registry, NEXT).images[0]
    wanted = {parse_stage_name(stage.name) for stage in new.stages}
    into = a_registry("other")
    copied(registry, registry.primary, into, wanted=wanted)
    assert stages(into) == {stage.name for stage in new.stages}
    assert commit_record_name("app", registry.commit, parse_stage_name(new.last.name)) in into.named
    assert commit_record_name("app", registry.commit, parse_stage_name(old.last.name)) not in into.named


def test_a_copy_of_another_kind_of_store_is_believed(registry):
    """In the engine an image has no manifest digest, of which the name of a registry's stage has digits."""
    build(registry, APP)
    done, _ = copied(registry, registry.primary, registry.engine.images)
    assert len(done.copied) == 3
    registry.primary = None
    found = registry.build(APP)["app"]
    assert set(sources(found).values()) == {"primary"}
    back = a_registry("back")
    registry.primary = back
    done, _ = copied(registry, registry.engine.images, back)
    assert len(done.copied) == 3
    assert set(sources(registry.build(APP)["app"]).values()) == {"primary"}


def test_what_fails_ends_the_copy_and_the_next_one_goes_on(registry):
    build(registry, APP)
    into = a_registry("other")
    names = []

    def fail(verb, what):
        if verb == "name":
            names.append(what)
            if len(names) > 1:
                raise Unreachable("no answer")

    into.trace = fail
    with pytest.raises((Unreachable, Cancelled)):
        copied(registry, registry.primary, into)
    assert stages(into) < stages(registry.primary)
    into.trace = lambda verb, what: None
    copied(registry, registry.primary, into)
    assert stages(into) == stages(registry.primary)
