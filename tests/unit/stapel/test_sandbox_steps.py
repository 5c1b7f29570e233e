"""What those who wait for a step take from the file of its lock."""

import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stapel.api import Cancel
from stapel.errors import CommandFailed
from stapel.sandbox.records import Layer
from stapel.sandbox.steps import Steps
from stapel.sandbox.store import Store

WAIT_S = 30


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path, "0" * 12)
    store.open()
    return store


def take(store):
    """The layer that another has made of a step; None where the step is ours to run."""
    with Steps(store).take("key", "overlay", (), lambda stream, data: None, Cancel()) as step:
        return step.layer


def told(store, write, before=b""):
    """What somebody has who waits while the holder of the lock writes to it, and lets go. `before`: what stands there."""
    assert take(store) is None
    (path,) = (store.dir / "steps").iterdir()
    path.write_bytes(before)
    waiting = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        lock = os.open(path, os.O_RDWR)
        fcntl.flock(lock, fcntl.LOCK_EX)
        future = threads.submit(follow, store, waiting)
        try:
            assert waiting.wait(WAIT_S)  # it has been told a line of the log
            write(lock)
        finally:
            os.close(lock)
        return future.result(WAIT_S)


def follow(store, waiting):
    (store.dir / "logs/key.log").write_text("begins\n")
    with Steps(store).take("key", "overlay", (), lambda stream, data: waiting.set(), Cancel()) as step:
        return step.layer


def test_half_a_result_is_none(store):
    assert told(store, lambda lock: os.write(lock, b'{"id": "1", "status": 0, "snap')) is None


def test_an_earlier_result_is_none(store):
    assert told(store, lambda lock: None, before=b'{"id": "1", "status": 3}') is None


def test_a_failure_is_everybodys(store):
    with pytest.raises(CommandFailed):
        told(store, lambda lock: os.write(lock, b'{"id": "1", "status": 3}'))


def test_a_result_is_read_by_nobody_who_comes_later(store):
    steps = Steps(store)
    with steps.take("key", "overlay", (), lambda stream, data: None, Cancel()) as step:
        step.done(Layer("s", "sha256:0", 1))
    assert take(store) is None
