"""Two builders, each stopped at a trace point of saving, for every pair of points: afterwards all agree.

The builders are whole builds in threads of this process, with the real deciding code, over one engine and one store in
memory. What differs between the cases: where each is stopped, who goes on first, what the lock is worth, and how far the
clocks are apart.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from conveyor.build import use, walkers
from conveyor.build.building import build_images
from conveyor.build.results import BuildResult
from conveyor.build.schedule import Limits
from conveyor.build.tags import CustomTags
from conveyor.config.models import Image
from conveyor.storage.saving import Saving
from locking.api import LockTimeout, LockUnavailable, Waiting
from tests.trace_points import hooked
from tests.unit.build.worlds import World, image

HOUR_MS = 3_600_000
TIMEOUT_S = 30.0
STOPPED_S = 10.0  # how long a stop seems to be
POINTS = (
    "save.before-lock",
    "save.before-list",
    "save.after-list",
    "save.before-name",
    "save.after-name",
    "save.before-look",
    "save.after-look",
    "build.before-confirm",
    "build.after-confirm",
)
Stop = tuple[str, int]  # a point, and which time
ON_THE_WAY = "name on its way"  # the request that gives the name: sent, and not there yet
LOCKS = ("held", "lost", "timeout", "absent")
APP = image("app", install="write /a 1")
LONGER = image("app", install="write /a 1", setup="write /b 1")  # the last stage runs ahead of the one below it


@dataclass
class Builder:
    """A build and where it is stopped."""

    name: str
    stop_at: Stop
    clock_ms: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    state: Literal["running", "stopped", "waiting", "over"] = "running"
    go: threading.Event = field(default_factory=threading.Event)
    waited_s: float = 0.0
    result: BuildResult | None = None
    error: BaseException | None = None


class Race:
    """Two builders in one world, and a lock as the case has it. What happens to one is known to the other's driver."""

    def __init__(self, world: World, app: Image, lock: str, a: Builder, b: Builder) -> None:
        self.world = world
        self.app = app
        self.lock = lock
        self.builders = {"A": a, "B": b}
        self.changed = threading.Condition()
        self.holders: dict[str, Builder] = {}

    # -- what the builders call, in any of their threads

    @property
    def me(self) -> Builder | None:
        return self.builders.get(threading.current_thread().name[:1])

    def reach(self, point: str) -> None:
        """A trace point."""
        me = self.me
        if me is None:
            return
        with self.changed:
            me.counts[point] = me.counts.get(point, 0) + 1
            if (point, me.counts[point]) != me.stop_at:
                return
            self._enter(me, "stopped")
        assert me.go.wait(TIMEOUT_S)
        me.waited_s += STOPPED_S

    def acquire(self, name: str, *, timeout_s: float, on_wait: Callable[[Waiting], None] | None = None) -> Lease:
        me = self.me
        assert me is not None
        if self.lock == "absent":
            raise LockUnavailable("no server", told=True)
        with self.changed:
            while (holder := self.holders.get(name)) is not None:
                if self.lock == "lost" and holder.state == "stopped":
                    break
                if self.lock == "timeout":
                    raise LockTimeout(name, holder.name, timeout_s)
                self._enter(me, "waiting")
                assert self.changed.wait(TIMEOUT_S)
            self._enter(me, "running")
            self.holders[name] = me
            return Lease(self, name, me)

    def close(self) -> None:
        """Nothing to close."""

    # -- what drives them

    def start(self, builder: Builder) -> threading.Thread:
        def run() -> None:
            try:
                rooms = replace(self.world.rooms([self.app]), locks=self)
                builder.result = build_images(rooms, [self.app], Limits(), CustomTags(), "", 0.0)
            except BaseException as error:
                builder.error = error
            with self.changed:
                self._enter(builder, "over")

        thread = threading.Thread(target=run, name=builder.name)
        thread.start()
        self.await_halt(builder)
        return thread

    def let_go(self, builder: Builder) -> None:
        """Let it go on until it is over, or waits for the other one."""
        with self.changed:
            if builder.state == "stopped":
                self._enter(builder, "running")
        builder.go.set()
        self.await_halt(builder)

    def await_halt(self, builder: Builder) -> None:
        """Until it is stopped, waits for the other's lock, or is over."""
        with self.changed:
            came = self.changed.wait_for(lambda: builder.state != "running", TIMEOUT_S)
        assert came, f"{builder.name} does not come to its stop"

    def _enter(self, builder: Builder, state: Literal["running", "stopped", "waiting", "over"]) -> None:
        builder.state = state
        self.changed.notify_all()


@dataclass(frozen=True)
class Lease:
    """A lease that its holder thinks it has."""

    race: Race
    name: str
    holder: Builder

    def held(self) -> bool:
        return True

    def release(self) -> None:
        with self.race.changed:
            if self.race.holders.get(self.name) is self.holder:
                del self.race.holders[self.name]
            self.race.changed.notify_all()


@pytest.fixture(autouse=True)
def named_threads(monkeypatch):
    """The threads of a build are called after the one that runs it."""

    def thread(*, name: str, **how: Any) -> threading.Thread:
        return threading.Thread(name=f"{threading.current_thread().name} {name}", **how)

    monkeypatch.setattr(walkers, "threading", SimpleNamespace(Thread=thread))


def run_race(world: World, app: Image, lock: str, stops: tuple[Stop, Stop], order: str, skew_ms: int) -> Race:
    first, second = stops
    race = Race(world, app, lock, Builder("A", first), Builder("B", second, clock_ms=skew_ms))
    a, b = race.builders.values()
    ticks = itertools.count(1_700_000_000_000)

    def clock_ms() -> int:
        return next(ticks) + (race.me.clock_ms if race.me else 0)

    def elapsed_s() -> float:
        return race.me.waited_s if race.me else 0.0

    def on_the_way(verb: str, what: str) -> None:
        if verb == "name":
            race.reach(ON_THE_WAY)

    world.store.trace = on_the_way
    use.Saving = partial(Saving, clock_ms=clock_ms, elapsed_s=elapsed_s)
    try:
        with hooked(race.reach):
            threads = [race.start(a), race.start(b)]
            for builder in (a, b) if order == "AB" else (b, a):
                race.let_go(builder)
            for thread in threads:
                thread.join(TIMEOUT_S)
                assert not thread.is_alive()
    finally:
        use.Saving = Saving
        world.store.trace = lambda verb, what: None
    return race


def names(result: BuildResult | None) -> list[str]:
    assert result is not None
    assert result.ok
    return [stage.name for image_result in result.images for stage in image_result.stages]


def reports(race: Race) -> list[object]:
    """What each builder reports."""
    return [builder.error or names(builder.result) for builder in race.builders.values()]


def select_again(race: Race) -> list[str]:
    """What a builder selects that comes later; nothing may be missing."""
    rooms = race.world.rooms([race.app])
    return names(build_images(rooms, [race.app], Limits(require_built=True), CustomTags(), "", 0.0))


def cases(points: tuple[str, ...], hit: int) -> Iterator[tuple[tuple[Stop, Stop], str]]:
    """Every pair of stops, the first or second time that a point of saving is reached; and who goes on first."""
    stops = [(point, 1 if point.startswith("build.") else hit) for point in points]
    yield from ((pair, order) for pair in itertools.product(stops, stops) for order in ("AB", "BA"))


@pytest.mark.parametrize("skew_ms", [-HOUR_MS, 0, HOUR_MS])
@pytest.mark.parametrize("lock", LOCKS)
def test_two_builders_stopped_anywhere_agree_and_report_what_is_selected(source, commit, tmp_path, lock, skew_ms):
    wrong = []
    for stops, order in cases(POINTS, 1):
        race = run_race(World(source, commit, tmp_path), APP, lock, stops, order, skew_ms)
        if reports(race) != [select_again(race)] * 2:
            wrong.append((stops, order))
        if lock == "held":
            assert all(len(found) == 1 for found in race.world.store.stages().values()), (stops, order)
    assert wrong == []


@pytest.mark.parametrize("lock", ["held", "lost"])
def test_the_same_at_a_stage_on_which_the_next_one_runs_ahead(source, commit, tmp_path, lock):
    wrong = []
    for stops, order in cases(POINTS, 2):
        race = run_race(World(source, commit, tmp_path), LONGER, lock, stops, order, -HOUR_MS)
        if reports(race) != [select_again(race)] * 2:
            wrong.append((stops, order))
    assert wrong == []


@pytest.mark.parametrize("lock", LOCKS)
def test_a_name_that_arrives_late_is_met_by_all_who_end_after_it(source, commit, tmp_path, lock):
    """No list can show a request that is on its way. Who has ended before it arrives has reported what was selected then.

    With a lock that is kept there is nobody who could have.
    """
    wrong = []
    for stops, order in cases((ON_THE_WAY, *POINTS), 1):
        if ON_THE_WAY not in (stops[0][0], stops[1][0]):
            continue
        race = run_race(World(source, commit, tmp_path), APP, lock, stops, order, -HOUR_MS)
        selected = select_again(race)
        reported = dict(zip("AB", reports(race), strict=True))
        last = reported[order[-1]]
        if last != selected or (lock == "held" and reported[order[0]] != selected):
            wrong.append((stops, order))
        stored = race.world.store.named.keys()
        assert all(set(stages) <= stored for stages in reported.values()), "what was reported is there and is what it was"
    assert wrong == []
