"""Failures, stages that are gone, rivals, interrupts: the schedule ends, tells the truth, and holds nothing."""

from __future__ import annotations

import dataclasses
import itertools
import queue
import threading
from collections import Counter
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

import conveyor.build.walkers as walkers
from conveyor.build.rooms import Introspection
from conveyor.build.schedule import RESOLUTIONS
from conveyor.build.secret_values import SecretValues
from conveyor.build.task import Ran
from conveyor.config.models import MountPoint
from conveyor.config.secret import Secret
from conveyor.events.api import ImageFailed, StageBuilt, StageLog, StageStarted, Warned
from stapel.errors import NotFound, Unreachable
from tests.unit.build.memory_engine import MemoryImages
from tests.unit.build.test_schedule import facts_of
from tests.unit.build.worlds import HERE, image, imported, mapping, sources, stage_names


def on(world, event_type, act, when=lambda event: True):
    """Do something in the thread that decides when an event is told."""
    reporter = world.rooms(()).reporter

    class Acting:
        def __call__(self, event):
            reporter(event)
            if isinstance(event, event_type) and when(event):
                act(event)

        def close(self):
            pass

    return Acting()


def rooms_with(world, images, reporter):
    return replace(world.rooms(images), reporter=reporter)


# -- a stage fails


def test_what_is_no_directory_is_not_mounted(world):
    (world.path / "file").touch()
    mounts = tuple(MountPoint(HERE, "from_path", f"/{name}", f"{world.path}/{name}") for name in ("made", "file"))
    failure = world.build(image("app", beforeInstall="a", mounts=mounts))["app"].failure
    assert "file cannot be mounted at /file: it is no directory" in failure.message
    assert failure.exit_status == 2
    assert (world.path / "made").is_dir()


def test_a_failed_stage_is_told_with_its_last_lines(world):
    app = image("app", beforeInstall="a", install=["say hello", "fail 7", "say never"], setup="c")
    failure = world.build(app)["app"].failure
    assert (failure.image, failure.stage, failure.reason, failure.status) == ("app", "install", "command_failed", 7)
    assert failure.tail == ("hello",)
    assert "--introspect-error" in failure.hint
    assert failure.exit_status == 1
    assert world.engine.ran == ["a", "say hello\nfail 7\nsay never"]
    assert [event.failure for event in world.seen(ImageFailed)] == [failure]
    assert b"".join(event.data for event in world.seen(StageLog)) == b"hello\n"


def test_what_stands_before_the_failure_is_stored(world):
    world.engine.failing = {"b"}
    app = image("app", beforeInstall="a", install="task b", setup="c")
    assert stage_names(world.build(app)["app"]) == ["from", "beforeInstall"]
    world.engine.failing = set()
    assert sources(world.build(app)["app"]) == {
        "from": "primary",
        "beforeInstall": "primary",
        "install": "built",
        "setup": "built",
    }
    assert world.engine.ran == ["a", "task b", "task b", "c"]


def test_images_that_take_from_a_failed_one_say_so(world):
    bad = image("bad", install=["wait runs", "fail 1"])
    on_it = image("on it", "image:bad", install="b")
    takes = image("takes", beforeInstall=["open runs", "wait failed"], imports=(imported("bad"),))
    above = image("above", "image:takes")
    reporter = on(world, ImageFailed, lambda event: world.engine.gates["failed"].set())
    images = (above, takes, on_it, bad)
    found = world.build(*images, rooms=rooms_with(world, images, reporter))
    assert found["bad"].failure.blocked_by == ""
    assert {name: (result.failure.reason, result.failure.blocked_by) for name, result in found.items() if name != "bad"} == {
        "on it": ("blocked", "bad"),
        "takes": ("blocked", "bad"),
        "above": ("blocked", "takes"),
    }
    assert stage_names(found["takes"]) == ["from", "beforeInstall"]
    assert len(world.seen(ImageFailed)) == 4


def test_an_early_stage_of_an_image_that_fails_later_can_be_taken(world):
    bad = image("bad", beforeInstall="write /out/x 1", install=["wait taken", "fail 1"])
    app = image("app", imports=(imported("bad", from_stage="beforeInstall"),))

    def imports_it(event):
        return (event.result.image, event.result.stage) == ("app", "dependenciesBeforeInstall")

    reporter = on(world, StageBuilt, lambda event: world.engine.gates["taken"].set(), imports_it)
    found = world.build(bad, app, rooms=rooms_with(world, (bad, app), reporter))
    assert found["bad"].failure.reason == "command_failed"
    assert found["app"].last is not None


def test_after_a_failure_nothing_starts_and_what_runs_is_saved(world):
    bad = image("bad", beforeInstall=["wait runs", "fail 1"])
    app = image("app", beforeInstall=["open runs", "wait failed"], install="never")
    reporter = on(world, ImageFailed, lambda event: world.engine.gates["failed"].set(), lambda e: e.failure.image == "bad")
    found = world.build(bad, app, rooms=rooms_with(world, (bad, app), reporter))
    assert found["app"].failure.reason == "not_started"
    assert found["app"].failure.blocked_by == "bad"
    assert found["app"].failure.stage == "install"
    assert stage_names(found["app"]) == ["from", "beforeInstall"]
    assert found["app"].stages[1].name in world.store.named
    assert "never" not in world.engine.ran


def test_after_a_failure_stored_stages_are_still_found(world):
    app = image("app", beforeInstall="a", install="b")
    world.build(app)
    bad = image("bad", beforeInstall=["fail 1"])
    world.engine.images.trace = lambda verb, what: None
    found = world.build(bad, app)
    assert found["app"].last is not None


def test_several_failures_are_all_told(world):
    barrier = threading.Barrier(2, timeout=30)
    world.engine.trace = lambda verb, what: barrier.wait() if verb == "run" else None
    found = world.build(image("a", install="fail 1"), image("b", install="fail 2"), builds_at_once=2)
    assert {name: result.failure.status for name, result in found.items()} == {"a": 1, "b": 2}


def test_fail_fast_cancels_what_runs(world):
    bad = image("bad", beforeInstall=["wait runs", "fail 1"])
    app = image("app", beforeInstall=["open runs", "wait forever"], install="never")
    found = world.build(bad, app, fail_fast=True)
    assert found["bad"].failure.reason == "command_failed"
    assert found["app"].failure.reason == "not_started"
    assert stage_names(found["app"]) == ["from"]
    assert len(world.store.named) == 1


def test_the_base_is_not_there(world):
    failure = world.build(image("app", "nowhere:1", install="a"))["app"].failure
    assert failure.stage == "from"
    assert failure.reason == "not_found"
    assert "nowhere:1" in failure.message


def test_an_import_of_nothing(world):
    tools, app = image("tools"), image("app", install="a", imports=(imported("tools"),))
    found = world.build(tools, app)
    assert found["app"].failure.reason == "import_matches_nothing"
    assert found["app"].failure.stage == "dependenciesBeforeInstall"
    assert found["tools"].last is not None


def test_an_import_that_is_not_what_was_recorded(world):
    tools, app = image("tools", beforeInstall="write /out/x 1"), image("app", imports=(imported("tools"),))
    world.build(tools, app)
    source = world.build(tools)["tools"].last
    old = world.store.images[source.image_digest]
    world.store.images[source.image_digest] = dataclasses.replace(old, files={**old.files, b"out/x": old.files[b"bin/sh"]})
    again = replace(app, imports=(imported("tools", to="/elsewhere"),))
    failure = world.build(tools, again)["app"].failure
    assert failure.reason == "import_changed"
    assert not [name for name in world.store.named if name.startswith("import-")][1:]


def test_a_changed_file_of_git_fails_the_patch(world, source, commit):
    app = image("app", git=(mapping(),), install="write /app/a changed by a command")
    world.build(app)
    later = source.commit({b"a": b"new\n"}, commit)
    failure = world.build(app, commit=later)["app"].failure
    assert failure.reason == "git_file_changed"
    assert failure.stage == "gitLatestPatch"
    assert "/app/a" in failure.message or "app/a" in failure.message
    assert "stageDependencies" in failure.hint


def test_a_store_that_cannot_be_reached_ends_with_status_4(world):
    def trace(verb, what):
        if verb == "name":
            raise Unreachable("no answer")

    world.store.trace = trace
    failure = world.build(image("app", beforeInstall="a"))["app"].failure
    assert (failure.reason, failure.exit_status, failure.stage) == ("unreachable", 4, "from")


def test_a_stage_that_cannot_be_put_takes_what_ran_ahead_with_it(world):
    def trace(verb, what):
        if verb == "put" and world.store.named:  # from is there
            world.engine.pass_gate("ahead")
            raise Unreachable("no answer")

    world.engine.trace = trace
    found = world.build(image("app", beforeInstall="a", install=["open ahead", "wait forever"]))
    assert found["app"].failure.stage == "beforeInstall"
    assert stage_names(found["app"]) == ["from"]


def test_what_runs_ahead_fails_after_the_one_below_is_stored(world):
    def trace(verb, what):
        if verb == "put" and world.store.named:  # from is there
            world.engine.pass_gate("ahead")

    world.engine.trace = trace
    found = world.build(image("app", beforeInstall="a", install=["open ahead", "fail 3"], setup="c"))
    assert stage_names(found["app"]) == ["from", "beforeInstall"]
    assert (found["app"].failure.stage, found["app"].failure.status) == ("install", 3)


# -- stages that are gone


def lose(world, *stages):
    for stage in stages:
        world.store.lose(stage.image_digest)


@pytest.fixture
def registry(world):
    """A world whose primary is a registry: what it says of a name is remembered, so that it can be gone unnoticed."""
    world.primary = MemoryImages("registry.example/p", has_manifests=True)
    return world


def test_a_stage_that_is_gone_is_built_again(registry):
    app = image("app", beforeInstall="a", install="b")
    first = registry.build(app)["app"]
    lose(registry, first.stages[1])
    second = registry.build(replace(app, shell=image("x", beforeInstall="a", install="c").shell))["app"]
    assert sources(second) == {"from": "primary", "beforeInstall": "built", "install": "built"}
    assert second.stages[1].name != first.stages[1].name
    assert second.stages[1].digest == first.stages[1].digest
    assert [event.message for event in registry.seen(Warned) if "image app is resolved again" in event.message]
    assert registry.engine.ran == ["a", "b", "a", "c"]


def test_a_stage_of_another_image_that_is_gone_makes_that_image_start_over(registry):
    tools = image("tools", beforeInstall="write /out/x 1", install="more")
    base = image("base", beforeInstall="base")
    first = registry.build(tools, base)
    lose(registry, first["tools"].last, first["base"].last)
    app = image("app", "image:base", imports=(imported("tools"),))
    found = registry.build(tools, base, app)
    assert found["app"].last is not None
    assert sources(found["tools"])["install"] == "built"
    assert sources(found["base"])["beforeInstall"] == "built"
    assert facts_of(registry, found["app"].last).sources == (found["tools"].last.name,)
    assert found["base"].last.name in facts_of(registry, found["app"].last).parents


def test_an_image_that_starts_over_while_it_still_runs_is_waited_for(registry):
    tools = image("tools", beforeInstall="write /out/x 1", install="old")
    lost = registry.build(tools)["tools"].stages[1]
    lose(registry, lost)
    # `tools` goes on with its old line, which nobody asks the lost stage of, until the importer has found out.
    newer = image("tools", beforeInstall="write /out/x 1", install="old", setup=["open runs", "wait gone"])
    app = image("app", beforeInstall="wait runs", imports=(imported("tools", from_stage="beforeInstall"),))
    reporter = on(
        registry, Warned, lambda event: registry.engine.gates["gone"].set(), lambda event: "image app" in event.message
    )
    found = registry.build(newer, app, rooms=rooms_with(registry, (newer, app), reporter))
    assert found["app"].last is not None
    assert facts_of(registry, found["app"].last).sources == (found["tools"].stages[1].name,)
    assert registry.engine.ran.count("open runs\nwait gone") == 1
    assert found["tools"].stages[1].name != lost.name
    assert sources(found["tools"]) == {"from": "primary", "beforeInstall": "built", "install": "primary", "setup": "primary"}


def test_a_run_needs_nothing_back_of_what_it_has_made(registry):
    def trace(verb, what):
        if verb == "get":
            raise NotFound(f"no {what}")

    registry.store.trace = trace
    while_it_runs(registry, "b", lambda: None)  # nothing is stored before all has run
    found = registry.build(image("app", beforeInstall="a"), image("other", "image:app", install="b"))
    assert [result.failure for result in found.values()] == [None, None]
    assert registry.engine.ran == ["a", "b"]


def test_a_source_whose_stage_is_always_gone_fails_in_the_end(registry):
    tools = image("tools")

    def trace(verb, what):
        if verb == "get":
            raise NotFound(f"no {what}")

    registry.build(tools)
    registry.store.trace = trace
    found = registry.build(tools, image("app", install="b", imports=(imported("tools"),)))
    assert found["app"].failure is not None
    assert "stage_gone" in {result.failure.reason for result in found.values() if result.failure}
    assert "b" not in registry.engine.ran
    assert max(len(names) for names in registry.store.stages().values()) <= RESOLUTIONS


# -- rivals


def plant(world, other, digest):
    """Give the stages of a digest of another store to ours."""
    for name in other.stages()[digest]:
        world.store.images[other.named[name]] = other.images[other.named[name]]
        world.store.named[name] = other.named[name]


def while_it_runs(world, script, do):
    """What is done when the first stage from now on is put, as soon as a script runs."""
    puts = []

    def trace(verb, what):
        if verb == "put":
            puts.append(what)
            if len(puts) == 1:
                world.engine.pass_gate("runs")
                do()
        if verb == "run" and what == script:
            world.engine.gates["runs"].set()

    world.engine.trace = trace


def build_elsewhere(world, *images):
    """The same build by somebody else, in a store of his own."""
    elsewhere = dataclasses.replace(world, engine=type(world.engine)(), events=[], path=world.path / "elsewhere")
    return elsewhere.engine.images, elsewhere.build(*images)


def test_a_stage_that_another_builder_stored_meanwhile_is_used(world):
    app = image("app", beforeInstall="a")
    world.build(image("any"))
    theirs, elsewhere = build_elsewhere(world, app)
    digest = elsewhere["app"].last.digest

    def trace(verb, what):
        if verb == "run":
            plant(world, theirs, digest)

    world.engine.trace = trace
    result = world.build(app)["app"]
    assert result.last.discarded
    assert result.last.source == "primary"
    assert [result.last.name] == theirs.stages()[digest] == world.store.stages()[digest]


def test_what_ran_ahead_of_a_discarded_stage_is_thrown_away(world):
    app = image("app", beforeInstall="a", install="b", setup="c")
    world.build(image("any"))
    theirs, elsewhere = build_elsewhere(world, app)
    digest = elsewhere["app"].stages[1].digest
    while_it_runs(world, "c", lambda: plant(world, theirs, digest))
    result = world.build(app)["app"]
    assert [stage.discarded for stage in result.stages] == [False, True, False, False]
    assert Counter(world.engine.ran) == {"a": 1, "b": 2, "c": 2}
    assert facts_of(world, result.stages[2]).parents[-1] == result.stages[1].name
    assert facts_of(world, result.stages[2]).parent == result.stages[1].image_digest
    assert result.stages[1].name == elsewhere["app"].stages[1].name
    assert all(len(names) == 1 for names in world.store.stages().values())
    started = [event.stage for event in world.seen(StageStarted) if event.image == "app"]
    assert started == ["beforeInstall", "install", "setup", "install", "setup"]


def test_what_runs_ahead_of_a_discarded_stage_is_cancelled(world):
    app = image("app", beforeInstall="a", install=["open ahead", "wait forever"])
    world.build(image("any"))
    theirs, elsewhere = build_elsewhere(world, image("app", beforeInstall="a"))
    puts = []

    def trace(verb, what):
        if verb == "put":
            puts.append(what)
        if verb == "put" and len(puts) == 1:
            world.engine.pass_gate("ahead")
            plant(world, theirs, elsewhere["app"].last.digest)
        if verb == "run" and len(world.engine.ran) == 3:
            world.engine.gates["forever"].set()  # the second run, on the winner, ends

    world.engine.trace = trace
    result = world.build(app)["app"]
    assert result.last is not None
    assert result.stages[1].name == elsewhere["app"].last.name
    assert len(world.engine.ran) == 3


def test_what_an_image_ran_on_a_discarded_stage_of_another_one_is_thrown_away(world):
    base, app = image("base", beforeInstall="a"), image("app", "image:base", install="b")
    world.build(image("any"))
    theirs, elsewhere = build_elsewhere(world, base)
    winner = elsewhere["base"].last
    while_it_runs(world, "b", lambda: plant(world, theirs, winner.digest))
    found = world.build(base, app)
    assert found["base"].last.discarded
    assert Counter(world.engine.ran) == {"a": 1, "b": 2}
    assert facts_of(world, found["app"].stages[0]).parent == winner.image_digest
    assert all(len(names) == 1 for names in world.store.stages().values())


def test_a_base_that_cannot_be_stored_takes_what_ran_on_it_with_it(world):
    world.build(image("any"))

    def fail():
        raise Unreachable("no answer")

    while_it_runs(world, "b", fail)
    found = world.build(image("base", beforeInstall="a"), image("app", "image:base", install="b"))
    assert found["base"].failure.reason == "unreachable"
    assert found["app"].failure.blocked_by == "base"
    assert len(world.store.named) == 1


def test_an_older_stage_that_appears_after_ours_wins(world):
    app = image("app", beforeInstall="a", install="b")
    world.build(image("any"))
    theirs, elsewhere = build_elsewhere(world, app)
    digest = elsewhere["app"].stages[1].digest
    lists = []

    def trace(verb, what):
        if verb == "names" and what == digest:
            lists.append(what)
            if len(lists) == 2:  # after we have named ours
                plant(world, theirs, digest)

    world.store.trace = trace
    result = world.build(app)["app"]
    assert len(world.store.stages()[digest]) == 2
    assert result.stages[1].name == elsewhere["app"].stages[1].name
    assert result.stages[1].discarded
    assert facts_of(world, result.last).parents[1] == result.stages[1].name


def test_a_rival_of_another_branch_is_none(world, source, commit):
    app = image("app", git=(mapping(),))
    ours, foreign = (source.commit({b"a": name}, commit) for name in (b"ours", b"theirs"))
    world.build(image("any"))
    theirs, elsewhere = build_elsewhere(dataclasses.replace(world, commit=foreign), app)
    assert elsewhere["app"].last.stage == "gitArchive"
    world.engine.trace = lambda verb, what: plant(world, theirs, elsewhere["app"].last.digest) if verb == "put" else None
    result = world.build(app, commit=ours)["app"]
    assert not result.last.discarded
    assert len(world.store.stages()[result.last.digest]) == 2
    assert world.store.images[result.last.image_digest].files[b"app/a"].content == b"ours"


# -- interrupts


class Interruptible:
    """The queue of the thread that decides: `interrupt` is raised where it waits, as a signal would be."""

    def __init__(self):
        self.items = queue.Queue()
        self.interrupted = threading.Event()
        self.on_put = lambda value: None
        self.on_get = lambda value: None

    def put(self, item):
        self.on_put(item.value)
        self.items.put(item)

    def get(self):
        while True:
            try:
                item = self.items.get(timeout=0.002)
            except queue.Empty:
                item = None
            if self.interrupted.is_set():
                self.interrupted.clear()
                if item is not None:
                    self.items.put(item)
                raise KeyboardInterrupt
            if item is not None:
                self.on_get(item.value)
                return item

    def empty(self):
        return self.items.empty()


@pytest.fixture
def waits(monkeypatch):
    made = Interruptible()
    others = itertools.chain([made], iter(queue.SimpleQueue, None))  # the queues of the pools come after it
    monkeypatch.setattr(walkers, "queue", SimpleNamespace(SimpleQueue=others.__next__))
    return made


def let_from_be_stored(world):
    """Commands run ahead of it: those that call what is returned wait for it."""

    def trace(verb, what):
        if verb == "name":
            world.engine.gates["named"].set()

    world.store.trace = trace
    return lambda: world.engine.pass_gate("named")


def test_an_interrupt_cancels_what_runs_and_is_passed_on(world, waits):
    wait = let_from_be_stored(world)

    def trace(verb, what):
        if verb == "run":
            wait()
            waits.interrupted.set()

    world.engine.trace = trace
    images = [image(f"i{number}", beforeInstall="wait forever", install=f"{number}") for number in range(3)]
    with pytest.raises(KeyboardInterrupt):
        world.build(*images)
    assert world.engine.ran == ["wait forever"]
    assert len(world.store.named) == 1


def test_an_interrupt_while_many_run(world, waits):
    barrier = threading.Barrier(3, action=waits.interrupted.set, timeout=30)
    wait = let_from_be_stored(world)

    def trace(verb, what):
        if verb == "run":
            wait()
            barrier.wait()

    world.engine.trace = trace
    with pytest.raises(KeyboardInterrupt):
        world.build(*[image(f"i{number}", beforeInstall=["wait forever", f"{number}"]) for number in range(3)])
    assert len(world.store.named) == 1


def test_what_has_just_ended_is_given_back_too(world, waits):
    def interrupt(value):
        if isinstance(value, Ran) and world.engine.ran:
            waits.interrupted.set()  # before the thread that decides hears of it

    waits.on_put = interrupt
    with pytest.raises(KeyboardInterrupt):
        world.build(image("app", beforeInstall="a", install="b"))
    assert len(world.engine.ran) <= 2


def test_what_ran_ahead_is_given_back_too(world, waits):
    rans = []

    def notice(value):
        if isinstance(value, Ran):
            rans.append(value)
            if len(rans) == 3:  # from, beforeInstall, install
                waits.interrupted.set()

    rooms = world.rooms([app := image("app", beforeInstall="a", install="b")])

    def trace(verb, what):
        if verb == "put" and world.store.named:  # from is there
            world.engine.pass_gate("never", rooms.cancel)

    waits.on_get = notice
    world.engine.trace = trace
    with pytest.raises(KeyboardInterrupt):
        world.build(app, rooms=rooms)
    assert world.engine.ran == ["a", "b"]
    assert len(world.store.named) <= 1


@pytest.mark.parametrize("event", [StageStarted, StageBuilt])
@pytest.mark.parametrize("stage", ["from", "beforeInstall", "install"])
def test_an_interrupt_in_the_midst_of_deciding(world, event, stage):
    def interrupt(event):
        raise KeyboardInterrupt

    def is_it(event):
        return (event.stage if isinstance(event, StageStarted) else event.result.stage) == stage

    app = image("app", beforeInstall="a", install="b", setup="c")
    with pytest.raises(KeyboardInterrupt):
        world.build(app, rooms=rooms_with(world, [app], on(world, event, interrupt, is_it)))
    assert world.build(app)["app"].last is not None


def test_a_fault_of_ours_is_passed_on_and_nothing_is_held(world):
    def trace(verb, what):
        if verb == "run" and what == "b":
            raise ZeroDivisionError

    world.engine.trace = trace
    with pytest.raises(ZeroDivisionError):
        world.build(image("a", beforeInstall=["open x", "wait forever"]), image("b", beforeInstall=["wait x"], install="b"))


# -- shells


def test_a_shell_is_opened_in_a_stage_that_was_asked_for(world):
    shells = []
    world.engine.trace = lambda verb, what: shells.append(what) if verb == "shell" else None
    app, other = image("app", beforeInstall="a", install="b"), image("other", beforeInstall="c", install="d")
    world.introspection = Introspection(stages=(("app", "install"), (None, "beforeInstall")))
    found = world.build(app, other)
    expected = {found["app"].stages[1], found["app"].stages[2], found["other"].stages[1]}
    assert Counter(shells) == Counter(stage.image_digest for stage in expected)
    shells.clear()
    world.build(app, other)
    assert Counter(shells) == Counter(stage.image_digest for stage in expected)


@pytest.mark.parametrize(("when", "verb"), [("error", "shell_failed"), ("before_error", "shell")])
def test_a_shell_is_opened_where_a_stage_fails(world, when, verb):
    shells = []
    world.engine.trace = lambda what, on: shells.append(what) if what.startswith("shell") else None
    world.introspection = Introspection(when=when)
    found = world.build(image("app", beforeInstall="a", install="fail 1"))
    assert shells == [verb]
    assert found["app"].failure.status == 1
    assert any("app/install" in event.message for event in world.seen(Warned))


def test_a_shell_has_the_secrets_of_the_commands_and_opens_without_one_that_is_nowhere(world):
    world.introspection = Introspection(stages=((None, "from"), (None, "install")))
    secret = Secret(HERE, "token", "env", "TOKEN")
    app = replace(image("app", install="a"), secrets=(secret,))

    def build(environment):
        values = SecretValues([app], world.path, environment)
        found = world.build(app, rooms=replace(world.rooms([app]), secrets=values))
        assert found["app"].failure is None
        return [run.secrets for run in world.engine.shells[-2:]]

    assert build({"TOKEN": "a value"}) == [{}, {"token": b"a value"}]
    assert world.seen(Warned) == []
    assert build({}) == [{}, {}]  # the stage is there: nobody needs the secret but the shell
    (warning,) = world.seen(Warned)
    assert "the shell has no secrets" in warning.message
    assert "TOKEN is not set" in warning.message
