"""Walkers: generators that ask for work and wait for one another, driven by one thread.

A walker yields a `Job` (a function for a pool of threads; its value is sent back, its exception thrown in), an `Until` (a
condition on what the other walkers have done) or a `Spawn` (another walker, which goes its own way). All of a walker's own
code runs in the thread that calls `drive`, so walkers share state without locks. A pool takes jobs in order of their
priority; threads start when there is work.
"""

from __future__ import annotations

import heapq
import queue
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeAlias

from msgspec import Struct, field


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


class _Pool(Struct):
    threads: int
    executor: ThreadPoolExecutor | None = None
    running: int = 0
    pending: list[tuple[tuple[int, ...], int, Walker, Job]] = field(default_factory=list)


def drive(walkers: Sequence[Walker], pools: Mapping[str, int], *, stop: Callable[[], None] = lambda: None) -> None:
    """Run all walkers to their ends; `pools` gives the number of threads of each pool.

    An exception that leaves a walker, or an interrupt, leaves this function after the jobs that run have ended, which `stop`
    asks them to do; jobs that do not run yet are dropped. Walkers that wait for what nobody will do any more are an error in
    the walkers: `RuntimeError`.
    """
    driver = _Driver({name: _Pool(threads) for name, threads in pools.items()})
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
    def __init__(self, pools: dict[str, _Pool]) -> None:
        self._pools = pools
        self._waiting: list[tuple[Walker, Until]] = []
        self._walkers: list[Walker] = []
        self._done: queue.SimpleQueue[tuple[_Pool, Walker, Job, Future[Any]]] = queue.SimpleQueue()
        self._count = 0

    def run(self) -> None:
        self._settle()
        while any(pool.running for pool in self._pools.values()):
            pool, walker, _, future = self._done.get()
            pool.running -= 1
            error = future.exception()
            if error is None:
                self.send(walker, future.result())
            else:
                self.throw(walker, error)
            self._settle()
        if self._waiting:
            raise RuntimeError(f"{len(self._waiting)} walkers wait for what nobody does")

    def close(self) -> None:
        for pool in self._pools.values():
            if pool.executor is not None:
                pool.executor.shutdown(wait=True, cancel_futures=True)
        while not self._done.empty():
            _, _, job, future = self._done.get()
            if not future.cancelled() and future.exception() is None:
                job.lost(future.result())
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
        while pool.pending and pool.running < pool.threads:
            _, _, walker, job = heapq.heappop(pool.pending)
            refusal = job.refuse()
            if refusal is not None:
                self.throw(walker, refusal)
                resumed = True
                continue
            job.started()
            pool.running += 1
            if pool.executor is None:
                pool.executor = ThreadPoolExecutor(pool.threads, job.pool)
            future = pool.executor.submit(job.call)
            future.add_done_callback(partial(self._report, pool, walker, job))
        return resumed

    def _report(self, pool: _Pool, walker: Walker, job: Job, future: Future[Any]) -> None:
        self._done.put((pool, walker, job, future))
