"""Any graph of images, with failures, rivals and stages that are gone: the schedule ends, and its results agree."""

from __future__ import annotations

import itertools
import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conveyor.config.models import Image
from conveyor.events.api import StageStarted
from conveyor.storage.facts import parse_facts
from stapel.errors import NotFound
from tests.unit.build.memory_engine import MemoryEngine, come_before
from tests.unit.build.worlds import World, dependency, image, imported, mapping
from tests.unit.stapel.trees import file

TASKS = "abcdef"
PLACES = ("before install", "after install", "before setup", "after setup")
STAGES = ("beforeInstall", "install", "beforeSetup", "setup")
REASONS = {"command_failed", "blocked", "not_started"}


@st.composite
def graphs(draw) -> tuple[Image, ...]:
    """Images that take from those drawn before them, in any order of configuration."""
    made: list[Image] = []
    for number in range(draw(st.integers(1, 8))):
        earlier = [item.name for item in made]
        taken = st.sampled_from(earlier) if earlier else st.nothing()
        imports = draw(
            st.lists(st.tuples(taken, st.sampled_from(PLACES), st.sampled_from((None, *STAGES))), max_size=2 * bool(earlier))
        )
        depends = draw(st.lists(st.tuples(taken, st.sampled_from(PLACES)), max_size=bool(earlier)))
        base = draw(st.sampled_from(["busybox:1", "busybox:1", *(f"image:{name}" for name in earlier)]))
        commands = draw(st.dictionaries(st.sampled_from(STAGES), st.sampled_from(TASKS), max_size=4))
        made.append(
            image(
                f"i{number}",
                base,
                git=draw(st.sampled_from([(), (), (mapping("/dir", to="/app", install=["c"]),)])),
                imports=tuple(
                    imported(name, at, to=f"/in{index}", from_stage=stage) for index, (name, at, stage) in enumerate(imports)
                ),
                dependencies=tuple(dependency(name, at, REPO="ImageRepo") for name, at in depends),
                artifact=draw(st.booleans()),
                **{stage: f"task {task}" for stage, task in commands.items()},
            )
        )
    return tuple(draw(st.permutations(made)))


@dataclass
class Trouble:
    """What goes wrong in a run. Numbers count the calls of a kind."""

    failing: frozenset[str] = frozenset()
    rivals: frozenset[int] = frozenset()  # names that an older stage of somebody else comes before
    gone: frozenset[int] = frozenset()  # images that are asked for and not found
    pauses: int = 0  # a seed
    _names: itertools.count = field(default_factory=itertools.count)
    _gets: itertools.count = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, world: World) -> None:
        chance = random.Random(self.pauses)

        def pause(verb, what):
            with self._lock:
                pause_s = chance.choice((0, 0, 0, 0.0005, 0.002))
            time.sleep(pause_s if self.pauses else 0)

        def store(verb, what):
            pause(verb, what)
            if verb == "get" and next(self._gets) in self.gone:
                raise NotFound(f"no {what}")
            if verb == "name" and next(self._names) in self.rivals:
                come_before(world.store, what)

        world.engine.failing = {*self.failing}
        world.engine.trace = pause
        world.store.trace = store


def troubles(**parts):
    return st.builds(
        Trouble,
        failing=parts.get("failing", st.just(frozenset())),
        rivals=parts.get("rivals", st.just(frozenset())),
        gone=parts.get("gone", st.just(frozenset())),
        pauses=st.integers(0, 1000),
    )


FAILING = st.frozensets(st.sampled_from(TASKS), max_size=2)
RIVALS = st.frozensets(st.integers(0, 12), max_size=4)
GONE = st.frozensets(st.integers(0, 12), max_size=3)  # an image starts over three times at most

anything = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def in_a_world(source, commit, check):
    with tempfile.TemporaryDirectory() as path:
        bases = {"busybox:1": {b"bin/sh": file(b"sh"), b"out/x": file(b"x")}}
        world = World(source, commit, Path(path), engine=MemoryEngine(bases=bases))
        check(world)


def run(world, images, trouble, **limits):
    """Build, and check what holds whatever happens."""
    world.events.clear()
    world.engine.ran.clear()
    world.engine.most_running = 0
    trouble.begin(world)
    found = world.build(*images, **limits)
    assert list(found) == [item.name for item in images]
    assert world.engine.most_running <= (limits.get("builds_at_once") or len(images))
    for result in found.values():
        assert result.missing is None
        if result.failure is not None:
            assert result.failure.reason in REASONS, result.failure
            blocked_by = result.failure.blocked_by
            assert (blocked_by == "") == (result.failure.reason == "command_failed")
            assert not blocked_by or found[blocked_by].failure is not None
        below = None
        for stage in result.stages:
            facts = parse_facts(world.store.images[world.store.named[stage.name]].config.labels)
            assert (facts.digest, stage.digest) == (stage.name.partition("-")[0],) * 2
            if stage.source == "built" and below is not None:
                assert facts.parents[-1] == below.name
                assert facts.parent == below.image_digest
            below = stage
    return found


def fails(item, trouble):
    return any(text.removeprefix("task ") in trouble.failing for (text,) in item.shell.commands.values())


@given(images=graphs(), trouble=troubles(), limit=st.integers(0, 4))
@anything
def test_without_failures_all_is_there_and_each_digest_was_built_once(source, commit, images, trouble, limit):
    def check(world):
        found = run(world, images, trouble, builds_at_once=limit)
        assert all(result.last is not None for result in found.values())
        assert all(len(names) == 1 for names in world.store.stages().values())
        started = [event.digest for event in world.seen(StageStarted)]
        assert sorted(started) == sorted(world.store.stages())
        again = run(world, images, Trouble(), builds_at_once=limit, require_built=True)
        assert [[stage.name for stage in result.stages] for result in again.values()] == [
            [stage.name for stage in result.stages] for result in found.values()
        ]
        assert world.engine.ran == []

    in_a_world(source, commit, check)


@given(images=graphs(), trouble=troubles(failing=FAILING), limit=st.integers(0, 4), fail_fast=st.booleans())
@anything
def test_failures_are_told_and_the_rest_is_built_the_next_time(source, commit, images, trouble, limit, fail_fast):
    def check(world):
        found = run(world, images, trouble, builds_at_once=limit, fail_fast=fail_fast)
        bad = {item.name for item in images if fails(item, trouble)}
        assert bad <= {name for name, result in found.items() if result.failure is not None}
        told = [result for result in found.values() if result.failure and result.failure.reason == "command_failed"]
        assert bool(told) == bool(bad)
        assert {result.name for result in told} <= bad
        if not bad:
            assert all(result.last is not None for result in found.values())
        stored = set(world.store.stages())
        found = run(world, images, Trouble(), builds_at_once=limit)
        assert all(result.last is not None for result in found.values())
        assert not stored & {event.digest for event in world.seen(StageStarted)}
        assert all(len(names) == 1 for names in world.store.stages().values())

    in_a_world(source, commit, check)


@given(
    images=graphs(),
    trouble=troubles(failing=FAILING, rivals=RIVALS, gone=GONE),
    limit=st.integers(0, 4),
    fail_fast=st.booleans(),
)
@anything
def test_rivals_and_stages_that_are_gone_change_no_key(source, commit, images, trouble, limit, fail_fast):
    def check(world):
        found = run(world, images, trouble, builds_at_once=limit, fail_fast=fail_fast)
        if not any(fails(item, trouble) for item in images):
            assert all(result.last is not None for result in found.values())
        digests = {}

        def alone(other):
            digests.update(run(other, images, Trouble(), builds_at_once=1))

        in_a_world(source, commit, alone)
        for name, result in found.items():
            expected = [stage.digest for stage in digests[name].stages]
            assert [stage.digest for stage in result.stages] == expected[: len(result.stages)]

    in_a_world(source, commit, check)
