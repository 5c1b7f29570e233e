import threading

import pytest

from conveyor.build.walkers import Job, Until, drive


def test_values_come_back_and_exceptions_are_thrown_in():
    seen = []

    def fail():
        raise ValueError("no")

    def walker():
        seen.append((yield Job("work", lambda: 7)))
        try:
            yield Job("work", fail)
        except ValueError as error:
            seen.append(str(error))

    drive([walker()], {"work": 2})
    assert seen == [7, "no"]


def test_no_pool_runs_more_than_its_threads_at_once():
    running, most, lock = [], [], threading.Lock()
    barrier = threading.Barrier(3, timeout=10)

    def work():
        with lock:
            running.append(1)
            most.append(len(running))
        barrier.wait()
        with lock:
            running.pop()

    def walker():
        yield Job("work", work)

    drive([walker() for _ in range(9)], {"work": 3})
    assert max(most) == 3


def test_jobs_start_in_order_of_priority():
    order = []

    def walker(priority):
        yield Job("gate", lambda: None)
        yield Job("work", lambda: order.append(priority), priority=(priority,))

    release = threading.Event()

    def blocker():
        yield Job("work", lambda: release.wait(10))

    def opener():
        yield Job("gate", lambda: None)
        yield Job("gate", release.set)

    drive([blocker(), *(walker(priority) for priority in (3, 1, 2)), opener()], {"work": 1, "gate": 1})
    assert order == [1, 2, 3]


def test_a_walker_waits_for_what_another_does():
    done = []

    def first():
        yield Job("work", lambda: None)
        done.append("first")

    def second():
        yield Until(lambda: "first" in done)
        done.append("second")
        yield Job("work", lambda: None)

    drive([second(), first()], {"work": 1})
    assert done == ["first", "second"]


def test_a_refused_job_is_thrown_in_when_its_turn_comes():
    refused = []

    def walker():
        try:
            yield Job("work", lambda: refused.append("ran"), refuse=lambda: KeyError("no"))
        except KeyError:
            refused.append("refused")

    drive([walker()], {"work": 1})
    assert refused == ["refused"]


def test_an_exception_that_leaves_a_walker_leaves_drive_after_what_runs():
    ended = threading.Event()

    def slow():
        yield Job("work", lambda: (threading.Event().wait(0.05), ended.set()))

    def broken():
        yield Job("work", lambda: None)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drive([slow(), broken()], {"work": 2})
    assert ended.is_set()


def test_waiting_for_what_nobody_does_is_an_error():
    def walker():
        yield Until(lambda: False)

    with pytest.raises(RuntimeError, match="nobody"):
        drive([walker()], {"work": 1})


def test_a_walker_without_requests_ends():
    def walker():
        return
        yield

    drive([walker()], {"work": 1})
