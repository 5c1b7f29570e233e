"""Order, limits, what runs beside what, and where stages come from. Trouble has a module of its own."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from msgspec.structs import replace

from conveyor.build import line_walkers, work
from conveyor.build.rooms import Introspection
from conveyor.build.walkers import Job
from conveyor.config.models import DockerInstructions, MountPoint
from conveyor.events.api import ImageMissing, StageBuilt, StageStarted, StageUsed
from conveyor.storage.facts import parse_facts
from stapel.errors import NotFound
from tests.unit.build.memory_engine import MemoryImages
from tests.unit.build.worlds import HERE, dependency, image, imported, mapping, sources, stage_names


def facts_of(world, stage):
    """What a stage of the primary says of itself."""
    return parse_facts(world.store.images[world.store.named[stage.name]].config.labels)


# -- a chain


def test_a_conveyor_is_built_and_then_used(world):
    tools = image("tools", beforeInstall="write /out/tool 1", artifact=True)
    app = image(
        "app",
        beforeInstall="write /etc/x 1",
        install="write /app/made 2",
        git=(mapping(),),
        imports=(imported("tools"),),
        dependencies=(dependency("tools", "after setup", TOOLS="ImageName"),),
        docker=DockerInstructions(HERE, cmd=("serve",)),
    )
    built = world.build(tools, app)
    stages = ["from", "beforeInstall", "dependenciesBeforeInstall", "gitArchive", "install", "dependenciesAfterSetup"]
    assert stage_names(built["app"]) == [*stages, "dockerInstructions"]
    assert {stage: source for stage, source in sources(built["app"]).items() if stage != "from"} == dict.fromkeys(
        [*stages[1:], "dockerInstructions"], "built"
    )
    used = world.build(tools, app)
    assert set(sources(used["app"]).values()) == {"primary"}
    assert [stage.name for stage in used["app"].stages] == [stage.name for stage in built["app"].stages]
    assert Counter(world.engine.ran).most_common(1)[0][1] == 1

    image_ = world.store.images[used["app"].last.image_digest]
    assert {path: node.content for path, node in image_.files.items() if path != b"bin/sh"} == {
        b"etc/x": b"1",
        b"in/tool": b"1",
        b"app/a": b"a\n",
        b"app/b": b"b\n",
        b"app/dir/c": b"c\n",
        b"app/made": b"2",
    }
    assert image_.config.run["Cmd"] == ["serve"]
    assert f"TOOLS={built['tools'].last.reference}" in image_.config.run["Env"]


def test_the_facts_of_a_stage_tell_its_line(world):
    tools, app = image("tools", beforeInstall="write /out/x 1"), image("app", install="a", imports=(imported("tools"),))
    built = world.build(tools, app)
    from_, imports, install = built["app"].stages
    facts = facts_of(world, install)
    assert facts.parents == (from_.name, imports.name)
    assert facts.parent == imports.image_digest
    assert facts.digest == install.digest
    assert facts_of(world, imports).sources == (built["tools"].last.name,)
    assert facts_of(world, from_).parent == "busybox:1"


def test_an_image_stands_on_another(world):
    base, app = image("base", install="write /base 1"), image("app", "image:base", install="write /app 1")
    built = world.build(app, base)
    assert list(built) == ["app", "base"]
    facts = facts_of(world, built["app"].last)
    assert facts.parents == (*(stage.name for stage in built["base"].stages), built["app"].stages[0].name)
    assert {b"base", b"app"} <= world.store.images[built["app"].last.image_digest].files.keys()


def test_later_commits_lay_what_has_changed(world, source, commit):
    app = image("app", git=(mapping(install=["a"]),), install="write /made 1", setup="write /set 1")
    first = world.build(app)["app"]
    patched = source.commit({b"a": b"a\n", b"b": b"new\n"}, commit)
    second = world.build(app, commit=patched)["app"]
    assert {stage: source_ for stage, source_ in sources(second).items() if source_ == "built"} == {
        "gitLatestPatch": "built"
    }
    assert [stage.name for stage in second.stages[:-1]] == [stage.name for stage in first.stages]
    files = world.store.images[second.last.image_digest].files
    assert files[b"app/b"].content == b"new\n"
    assert b"app/dir/c" not in files
    again = source.commit({b"a": b"again\n", b"b": b"new\n"}, patched)
    third = world.build(app, commit=again)["app"]
    assert [stage for stage, source_ in sources(third).items() if source_ == "built"] == ["install", "setup"]
    assert third.stages[2].why.parts == ("stageDependencies",)
    assert facts_of(world, third.last).commit == again


def test_events_tell_every_stage_once(world):
    app = image("app", beforeInstall="a", install="b")
    world.build(app)
    world.build(app)
    assert [event.stage for event in world.seen(StageStarted)] == ["from", "beforeInstall", "install"]
    assert [event.result.stage for event in world.seen(StageBuilt)] == ["from", "beforeInstall", "install"]
    assert [event.result.stage for event in world.seen(StageUsed)] == ["from", "beforeInstall", "install"]


def test_mounts_are_made_for_the_containers(world):
    app = image(
        "app", beforeInstall="a", mounts=(MountPoint(HERE, "tmp_dir", "/tmp"), MountPoint(HERE, "build_dir", "/c/d"))
    )
    assert world.build(app)["app"].last is not None
    assert (world.path / "tmp/mounts/linux%2Famd64/app/tmp").is_dir()
    assert (world.path / "home/mounts/project/c%2Fd").is_dir()


# -- what runs at once


def many(count, **fields):
    return [image(f"i{number}", beforeInstall=f"task {number}", **fields) for number in range(count)]


def meet(world, count):
    """Every script waits until `count` of them run."""
    barrier = threading.Barrier(count, timeout=30)
    world.engine.trace = lambda verb, what: barrier.wait() if verb == "run" else None


@pytest.mark.parametrize(("limit", "at_once"), [(3, 3), (0, 6), (6, 6), (100, 6)])
def test_as_many_as_the_limit_run_at_once_and_never_more(world, limit, at_once):
    meet(world, at_once)
    found = world.build(*many(6), builds_at_once=limit)
    assert all(result.last is not None for result in found.values())
    assert world.engine.most_running == at_once


def test_what_runs_ahead_is_under_the_limit_too(world):
    images = [image(f"i{number}", beforeInstall=f"{number} a", install=f"{number} b", setup="c") for number in range(6)]
    world.engine.trace = lambda verb, what: time.sleep(0.002) if verb == "run" else None
    world.build(*images, builds_at_once=2)
    assert world.engine.most_running <= 2
    assert len(world.engine.ran) == 18


def test_early_stages_run_before_the_source_of_an_import_is_done(world):
    tools = image("tools", beforeInstall=["wait early", "write /out/x 1"])
    app = image("app", beforeInstall="open early", install="x", imports=(imported("tools", "before setup"),))
    found = world.build(tools, app, builds_at_once=2)
    assert stage_names(found["app"]) == ["from", "beforeInstall", "install", "dependenciesBeforeSetup"]


def test_a_stage_of_a_source_is_taken_before_the_source_is_done(world):
    tools = image("tools", beforeInstall="write /out/x 1", install="wait imported")
    app = image("app", install="open imported", imports=(imported("tools", from_stage="beforeInstall"),))
    found = world.build(tools, app, builds_at_once=2)
    assert found["app"].last is not None
    assert facts_of(world, found["app"].stages[1]).sources == (found["tools"].stages[1].name,)


def test_a_stage_that_does_not_exist_means_the_last_one_before_it(world):
    tools = image("tools", beforeInstall="write /out/x 1", setup="write /out/y 1")
    app = image("app", imports=(imported("tools", from_stage="beforeSetup"),))
    found = world.build(tools, app)
    assert facts_of(world, found["app"].stages[1]).sources == (found["tools"].stages[1].name,)


def test_what_waits_holds_no_slot(world):
    chain = [image("i0", beforeInstall="write /out/x 0")]
    chain += [
        image(f"i{number}", imports=(imported(f"i{number - 1}", to="/out"),), setup=f"task {number}")
        for number in range(1, 6)
    ]
    found = world.build(*reversed(chain), builds_at_once=1)
    assert all(result.last is not None for result in found.values())
    assert world.engine.most_running == 1


def test_the_longest_remaining_path_goes_first_then_the_order_of_configuration(world, monkeypatch):
    world.build(image("any"))  # all stand on it
    images = (
        image("short", beforeInstall="1"),
        image("long", beforeInstall="2", install="2", setup="2"),
        image("needed", beforeInstall="write /out/x 3"),
        image("also short", beforeInstall="4"),
        image("user", install="5", beforeSetup="5", setup="5", imports=(imported("needed"),)),
        image("middle", beforeInstall="6", install="6"),
    )
    waiting = set()

    def record(pool, call, **fields):
        if pool == "make":
            waiting.add(call.args[1].image.name)
            if len(waiting) == 5:  # all but the one that needs another
                world.engine.gates["all wait"].set()
        return Job(pool, call, **fields)

    monkeypatch.setattr(line_walkers, "Job", record)
    world.engine.trace = lambda verb, what: world.engine.pass_gate("all wait") if verb == "run" else None
    world.build(*images, builds_at_once=1)
    started = [event.image for event in world.seen(StageStarted) if event.stage == "beforeInstall"]
    order = ["needed", "long", "middle", "short", "also short"]
    # Who is there first takes the free slot; the others wait, and it is their order that counts.
    assert started[1:] == [name for name in order if name != started[0]]


def test_one_digest_is_built_once(world):
    images = [image(f"i{number}", beforeInstall="a", install=["say x", "b"], setup="c") for number in range(8)]
    found = world.build(*images, builds_at_once=8)
    assert Counter(world.engine.ran) == {"a": 1, "say x\nb": 1, "c": 1}
    assert len({tuple(stage.name for stage in result.stages) for result in found.values()}) == 1
    assert all(len(names) == 1 for names in world.store.stages().values())


def test_what_was_looked_for_before_it_was_stored_is_looked_for_again(world):
    nearest = world.build(image("other", beforeInstall="other"))["other"].last.name
    both = threading.Barrier(2, timeout=30)

    def trace(verb, what):
        # Both ask what is nearest, as they have found nothing; the one is answered when the other's stage is stored.
        if verb == "describe" and what == nearest and both.wait() == 0:
            world.engine.pass_gate("stored")

    def tell(event):
        if isinstance(event, StageBuilt):
            world.engine.gates["stored"].set()

    images = [image(name, beforeInstall="shared") for name in "ab"]
    world.store.trace = trace
    found = world.build(*images, rooms=replace(world.rooms(images), reporter=tell))
    assert world.engine.ran == ["other", "shared"]
    assert found["a"].last.name == found["b"].last.name


class Late:
    """A repository whose first question about a tree is answered late."""

    def __init__(self, repo, engine):
        self.repo, self.engine, self.asked = repo, engine, 0

    def __getattr__(self, name):
        return getattr(self.repo, name)

    def tree_digest(self, commit, selector):
        self.asked += 1
        if self.asked == 1:
            self.engine.gates["asked"].set()
            self.engine.pass_gate("started")
        return self.repo.tree_digest(commit, selector)


def test_what_another_image_has_begun_is_not_run_ahead(world):
    world.build(image("any"))
    images = [image(name, beforeInstall="shared", git=(mapping(),)) for name in "ab"]
    rooms = world.rooms(images)

    def trace(verb, what):
        if verb == "put" and len(world.store.named) == 1:
            world.engine.pass_gate("asked")
        if verb == "build" and world.engine.gates["started"].is_set():
            time.sleep(0.1)  # for the other one to come to the same stage

    def tell(event):
        world.events.append(event)
        if isinstance(event, StageStarted) and event.stage == "gitArchive":
            world.engine.gates["started"].set()

    world.engine.trace = trace
    found = world.build(*images, rooms=replace(rooms, repo=Late(rooms.repo, world.engine), reporter=tell))
    assert [event.stage for event in world.seen(StageStarted)] == ["from", "beforeInstall", "gitArchive"]
    assert found["a"].last.name == found["b"].last.name


def test_a_shared_stage_is_there_for_all_while_the_next_one_of_its_builder_runs(world):
    images = [image(name, beforeInstall="shared", install=["open " + name, "wait " + other]) for name, other in ("ab", "ba")]
    found = world.build(*images, builds_at_once=2)
    assert world.engine.ran[0] == "shared"
    assert len(world.engine.ran) == 3
    assert found["a"].stages[1].name == found["b"].stages[1].name


# -- running ahead


def test_a_stage_runs_while_the_one_below_is_stored(world):
    put = []

    def trace(verb, what):
        if verb == "put":
            put.append(what)
            if len(put) == 2:  # that of beforeInstall
                world.engine.pass_gate("runs")

    world.engine.trace = trace
    named = []
    world.store.trace = lambda verb, what: named.append(what) if verb == "name" else None
    result = world.build(image("app", beforeInstall="a", install="open runs"))["app"]
    assert [stage.name for stage in result.stages] == named
    assert facts_of(world, result.last).parents == (*named[:2],)
    assert facts_of(world, result.last).parent == result.stages[1].image_digest


def test_the_next_stage_is_looked_for_while_one_runs(world, monkeypatch):
    look = work.look

    def note(rooms, task):
        looked = look(rooms, task)
        if task.kind.name == "install":
            world.engine.gates["looked"].set()
        return looked

    monkeypatch.setattr(work, "look", note)
    world.engine.trace = lambda verb, what: world.engine.pass_gate("looked") if (verb, what) == ("run", "a") else None
    result = world.build(image("app", beforeInstall="a", install="b"))["app"]
    assert stage_names(result) == ["from", "beforeInstall", "install"]


def test_what_follows_is_made_ready_behind_what_runs(world):
    app = image("app", "image:base", beforeInstall="d", setup="e")
    world.build(image("base", beforeInstall="a", install="b", setup="c"), app)
    behind = {"b": "a", "c": "b", "d": "c", "e": "d"}
    assert world.engine.readied == {script: world.engine.keys[below] for script, below in behind.items()}


def test_two_stages_wait_to_be_stored_and_no_more(world):
    world.build(image("any"))
    ran = []

    def trace(verb, what):
        if verb == "run":
            ran.append(what)
            if what == "c":
                world.engine.gates["two wait"].set()
        if verb == "put" and len(world.store.named) == 1:
            world.engine.pass_gate("two wait")
            time.sleep(0.05)  # for the next one, which must not run
            assert "d" not in ran

    world.engine.trace = trace
    result = world.build(image("app", beforeInstall="a", install="b", beforeSetup="c", setup="d"))["app"]
    assert result.failure is None
    assert ran == ["a", "b", "c", "d"]


def test_an_image_runs_on_the_last_stage_of_another_one_while_that_is_stored(world):
    world.build(image("any"))

    def trace(verb, what):
        if verb == "run" and what == "b":
            world.engine.gates["runs"].set()
        if verb == "put" and len(world.store.named) == 1:
            world.engine.pass_gate("runs")

    world.engine.trace = trace
    found = world.build(image("base", beforeInstall="a"), image("app", "image:base", install="b"))
    base, app = found["base"], found["app"]
    assert [result.failure for result in found.values()] == [None, None]
    assert facts_of(world, app.stages[0]).parent == base.last.image_digest
    assert facts_of(world, app.stages[0]).parents[-1] == base.last.name
    assert facts_of(world, app.last).parents == (*facts_of(world, app.stages[0]).parents, app.stages[0].name)
    again = world.build(image("base", beforeInstall="a"), image("app", "image:base", install="b"))
    assert again["app"].last.name == app.last.name


def test_what_needs_other_images_does_not_run_ahead(world):
    tools = image("tools", beforeInstall="write /out/x 1")
    app = image("app", beforeInstall="a", install="b", imports=(imported("tools"),))
    found = world.build(tools, app)
    assert stage_names(found["app"]) == ["from", "beforeInstall", "dependenciesBeforeInstall", "install"]


def test_what_is_stored_already_is_not_run_ahead(world, source, commit):
    """The stage below is built at another commit, the next one is there: it is used."""
    app = image("app", beforeInstall="a", install="b")
    first = world.build(app)["app"]
    world.store.delete(world.store.images[first.stages[1].image_digest].descriptor)
    second = world.build(app)["app"]
    assert sources(second) == {"from": "primary", "beforeInstall": "built", "install": "primary"}
    assert world.engine.ran == ["a", "b", "a"]


def test_nothing_runs_ahead_where_a_shell_may_be_opened(world):
    done = []
    world.engine.trace = lambda verb, what: done.append((verb, what)) if verb in ("run", "put", "shell") else None
    world.introspection = Introspection(stages=((None, "install"),))
    world.build(image("app", beforeInstall="a", install="b", setup="c"))
    kinds = [verb for verb, _ in done]
    assert kinds == ["put", "run", "put", "run", "put", "shell", "run", "put"]


# -- built images are required


def test_what_is_not_stored_is_told_and_nothing_is_built(world):
    base, app = image("base", install="a"), image("app", "image:base", install="b")
    other = image("other", beforeInstall="c", install="d")
    found = world.build(base, app, other, require_built=True)
    assert found["base"].missing.stage == "from"
    assert found["base"].missing.unknown == ("install",)
    assert found["app"].failure.reason == "stages_required"
    assert found["app"].failure.blocked_by == "base"
    assert found["other"].missing.unknown == ("beforeInstall", "install")
    assert [event.missing.image for event in world.seen(ImageMissing)].count("base") == 1
    assert world.engine.ran == []
    assert world.store.named == {}


def test_the_first_missing_stage_is_told(world):
    app = image("app", beforeInstall="a", install="b")
    world.build(app)
    found = world.build(image("app", beforeInstall="a", install="c", setup="d"), require_built=True)
    assert found["app"].missing.stage == "install"
    assert found["app"].missing.why.parts == ("commands",)
    assert found["app"].missing.unknown == ("setup",)
    assert stage_names(found["app"]) == ["from", "beforeInstall"]
    assert world.build(app, require_built=True)["app"].last is not None


# -- secondaries


@pytest.fixture
def registry(world):
    """A project whose primary is a registry; the engine's own store is the first secondary."""
    world.primary = MemoryImages("registry.example/p", has_manifests=True)
    world.secondaries = (world.engine.images,)
    return world


def test_stages_of_the_local_store_are_copied_under_their_own_names(world):
    app = image("app", beforeInstall="a", install="b", git=(mapping(),))
    local = world.build(app)["app"]
    world.primary = MemoryImages("registry.example/p", has_manifests=True)
    world.secondaries = (world.engine.images,)
    copied = world.build(app)["app"]
    assert [stage.name for stage in copied.stages] == [stage.name for stage in local.stages]
    assert set(sources(copied).values()) == {"secondary"}
    assert set(world.primary.named) == set(world.engine.images.named)
    assert copied.last.reference.startswith("registry.example/p:")
    assert [stage.image_id for stage in copied.stages] == [stage.image_id for stage in local.stages]
    assert world.engine.ran == ["a", "b"]
    assert set(sources(world.build(app)["app"]).values()) == {"primary"}


def test_stages_of_another_registry_are_copied_without_the_engine(registry):
    app = image("app", beforeInstall="a", install="b")
    first = registry.build(app)["app"]
    registry.primary, registry.secondaries = MemoryImages("other.example/p", has_manifests=True), (registry.primary,)
    registry.engine.trace = lambda verb, what: pytest.fail(f"the engine is asked to {verb} {what}")
    second = registry.build(app)["app"]
    assert [stage.name for stage in second.stages] == [stage.name for stage in first.stages]
    assert set(sources(second).values()) == {"secondary"}


def test_the_secondaries_are_asked_in_their_order(registry):
    app = image("app", beforeInstall="a")
    older, newer = MemoryImages("older"), MemoryImages("newer")
    for store in (older, newer):
        registry.primary, registry.secondaries = store, ()
        registry.build(app)
    registry.primary, registry.secondaries = MemoryImages("primary"), (newer, older)
    assert registry.build(app)["app"].last.name in newer.named


def test_what_the_primary_has_is_not_looked_for_elsewhere(registry):
    app = image("app", beforeInstall="a")
    registry.build(app)
    registry.engine.images.trace = lambda verb, what: pytest.fail(f"the secondary is asked: {verb} {what}")
    assert set(sources(registry.build(app)["app"]).values()) == {"primary"}


def test_a_copy_is_dropped_where_the_primary_has_got_a_stage(registry):
    app = image("app", beforeInstall="a")
    primary = registry.primary
    registry.primary, registry.secondaries = registry.engine.images, ()
    registry.build(app)
    registry.primary, registry.secondaries = MemoryImages("rival", has_manifests=True), ()
    rival = registry.build(app)["app"]
    for digest in registry.primary.named.values():
        primary.images[digest] = registry.primary.images[digest]

    def appear(verb, what):
        if verb == "names" and what:  # the fresh list, under the lock
            primary.named.update(registry_rival.named)

    registry_rival = registry.primary
    registry.primary, registry.secondaries = primary, (registry.engine.images,)
    primary.trace = appear
    found = registry.build(app)["app"]
    assert [stage.name for stage in found.stages] == [stage.name for stage in rival.stages]


def test_a_stage_that_the_secondary_has_lost_is_built(registry):
    app = image("app", beforeInstall="a", install="b")
    primary = registry.primary
    registry.primary, registry.secondaries = registry.engine.images, ()
    lost = registry.build(app)["app"].stages[1]

    def lose(verb, what):
        if verb == "get" and what == lost.image_digest:
            raise NotFound("gone")

    registry.engine.images.trace = lose
    registry.primary, registry.secondaries = primary, (registry.engine.images,)
    found = registry.build(app)["app"]
    assert sources(found) == {"from": "secondary", "beforeInstall": "built", "install": "secondary"}
    assert lost.name not in primary.named
