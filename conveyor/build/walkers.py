"""Walkers: generators that ask for work and wait for one another, driven by one thread.

A walker yields a `Job` (a function for a pool of threads; its value is sent back, its exception thrown in), an `Until` (a
condition on what the other walkers have done) or a `Spawn` (another walker, which goes its own way). All of a walker's own
code runs in the thread that calls `drive`, so walkers share state without locks. A pool takes jobs in order of their
priority; threads start when there is work.
"""

from __future__ import annotations

import heapq
import queue
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct


class Job(Struct, frozen=True):
    """A function to be called by a thread of a pool. Lower `priority` goes first.

    `refuse` is asked when a thread is free for it: an exception there is thrown into the walker and the job not started.
    `lost` is given a value that came when its walker was not driven any more.
    """

    pool: str
    call: Callable[[], Any]
    priority: tuple[int, ...] = ()
    started: Callable[[], None] = lambda: None
    refuse: Callable[[], BaseException | None] = lambda: None
    lost: Callable[[Any], None] = lambda value: None


class Until(Struct, frozen=True):
    """A condition that other walkers make true; asked again after each step of any of them."""

    condition: Callable[[], bool]


class Spawn(Struct, frozen=True):
    """A walker to be driven beside this one. It must not raise what its parent is to know: it notes it where that looks."""

    walker: Generator[Job | Until | Spawn, Any, None]


Request: TypeAlias = Job | Until | Spawn
Walker: TypeAlias = Generator[Request, Any, None]


class _Outcome(Struct, frozen=True):
    """What has become of a job."""

    pool: _Pool
    walker: Walker
    job: Job
    value: Any
    error: BaseException | None


class _Pool:
    """Threads that do jobs. (`concurrent.futures` costs a tenth of all that a build imports, and a lock a job.)"""

    def __init__(self, limit: int, done: queue.SimpleQueue[_Outcome]) -> None:
        self.limit = limit
        self.running = 0
        self.pending: list[tuple[tuple[int, ...], int, Walker, Job]] = []
        self._done = done
        self._given: queue.SimpleQueue[tuple[Walker, Job] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self, walker: Walker, job: Job) -> None:
        """Do a job; at most `limit` may run at once."""
        self.running += 1
        if self.running > len(self._threads):
            thread = threading.Thread(target=self._work, name=f"{job.pool}_{len(self._threads)}", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._given.put((walker, job))

    def close(self) -> None:
        """Wait for what runs."""
        for _ in self._threads:
            self._given.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (given := self._given.get()) is not None:
            walker, job = given
            try:
                self._done.put(_Outcome(self, walker, job, job.call(), None))
            except BaseException as error:
                self._done.put(_Outcome(self, walker, job, None, error))


def drive(walkers: Sequence[Walker], pools: Mapping[str, int], *, stop: Callable[[], None] = lambda: None) -> None:
    """Run all walkers to their ends; `pools` gives the number of threads of each pool.

    An exception that leaves a walker, or an interrupt, leaves this function after the jobs that run have ended, which `stop`
    asks them to do; jobs that do not run yet are dropped. Walkers that wait for what nobody will do any more are an error in
    the walkers: `RuntimeError`.
    """
    driver = _Driver(pools)
    try:
        for walker in walkers:
            driver.begin(walker)
        driver.run()
    except BaseException:
        stop()
        raise
    finally:
        driver.close()


class _Driver:
    def __init__(self, pools: Mapping[str, int]) -> None:
        self._done: queue.SimpleQueue[_Outcome] = queue.SimpleQueue()
        self._pools = {name: _Pool(threads, self._done) for name, threads in pools.items()}
        self._waiting: list[tuple[Walker, Until]] = []
        self._walkers: list[Walker] = []
        self._count = 0

    def run(self) -> None:
        self._settle()
        while any(pool.running for pool in self._pools.values()):
            outcome = self._done.get()
            outcome.pool.running -= 1
            if outcome.error is None:
                self.send(outcome.walker, outcome.value)
            else:
                self.throw(outcome.walker, outcome.error)
            self._settle()
        if self._waiting:
            raise RuntimeError(f"{len(self._waiting)} walkers wait for what nobody does")

    def close(self) -> None:
        for pool in self._pools.values():
            pool.close()
        while not self._done.empty():
            outcome = self._done.get()
            if outcome.error is None:
                outcome.job.lost(outcome.value)
        for walker in reversed(self._walkers):
            walker.close()

    def begin(self, walker: Walker) -> None:
        """Take a walker on."""
        self._walkers.append(walker)
        self.send(walker, None)

    def send(self, walker: Walker, value: object) -> None:
        """Let a walker go on with a value."""
        self._take_request(walker, lambda: walker.send(value))

    def throw(self, walker: Walker, error: BaseException) -> None:
        """Let a walker go on with an exception."""
        self._take_request(walker, lambda: walker.throw(error))

    def _take_request(self, walker: Walker, step: Callable[[], Request]) -> None:
        try:
            request = step()
            while isinstance(request, Spawn):
                self.begin(request.walker)
                request = walker.send(None)
        except StopIteration:
            return
        if isinstance(request, Until):
            self._waiting.append((walker, request))
            return
        self._count += 1
        pool = self._pools[request.pool]
        heapq.heappush(pool.pending, (request.priority, self._count, walker, request))

    def _settle(self) -> None:
        """Start what can start, wake who can go on, until neither changes anything."""
        changed = True
        while changed:
            changed = False
            for pool in self._pools.values():
                changed |= self._start(pool)
            waiting, self._waiting = self._waiting, []
            for walker, until in waiting:
                if until.condition():
                    self.send(walker, None)
                    changed = True
                else:
                    self._waiting.append((walker, until))

    def _start(self, pool: _Pool) -> bool:
        """Start pending jobs while threads are free; whether a walker was resumed on the way."""
        resumed = False
        while pool.pending and pool.running < pool.limit:
            _, _, walker, job = heapq.heappop(pool.pending)
            refusal = job.refuse()
            if refusal is not None:
                self.throw(walker, refusal)
                resumed = True
                continue
            job.started()
            pool.start(walker, job)
        return resumed
