"""What every `Locks` does. A place joins by an entry in PLACES; those that keep others out are in EXCLUSIVE too."""

import contextlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from locking.api import Locks, LockTimeout, LockUnavailable
from locking.file import FileLocks
from locking.null import NullLocks
from locking.redis import RedisLocks
from tests.conftest import absent
from tests.servers import redis_server

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0
HOLDER = """
import os, subprocess, sys
{setup}
lease = locks.acquire(sys.argv[1], timeout_s=30)
child = subprocess.Popen(["sleep", "3"], stdout=subprocess.DEVNULL)
print(os.getpid(), flush=True)
sys.stdin.readline()
lease.release()
print("released", flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True)
class Place:
    """Where locks come from: `open` gives another client of the same place, `setup` makes `locks` in another process."""

    open: Callable[[], Locks]
    setup: str


@contextlib.contextmanager
def file_place(tmp_path):
    directory = tmp_path / "locks"
    setup = f"from pathlib import Path\nfrom locking.file import FileLocks\nlocks = FileLocks(Path({str(directory)!r}))"
    yield Place(lambda: FileLocks(directory), setup)


@contextlib.contextmanager
def null_place(tmp_path):
    yield Place(NullLocks, "from locking.null import NullLocks\nlocks = NullLocks()")


@contextlib.contextmanager
def redis_place(tmp_path):
    """A Redis that has nothing else. A lease is shorter than in life, or those who wait for its end would wait long."""
    if shutil.which("redis-server") is None:
        absent("redis-server is not on this machine")
    with redis_server(tmp_path / "redis") as server:
        setup = f"from locking.redis import RedisLocks\nlocks = RedisLocks({server.url!r}, lease_s=3)"
        yield Place(lambda: RedisLocks(server.url, lease_s=3), setup)


PLACES = {"file": file_place, "null": null_place, "redis": redis_place}
EXCLUSIVE = ["file", "redis"]


@pytest.fixture(params=sorted(PLACES))
def place(request, tmp_path):
    with PLACES[request.param](tmp_path) as place:
        yield place


@pytest.fixture
def locks(place):
    locks = place.open()
    yield locks
    locks.close()


def exclusive(test):
    return pytest.mark.parametrize("place", EXCLUSIVE, indirect=True)(test)


@contextlib.contextmanager
def holder(place, name):
    """Another process that holds a lock and has a child: a line to its input has it give the lock back, another ends it."""
    arguments = [sys.executable, "-c", HOLDER.format(setup=place.setup), name]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == str(process.pid)
        try:
            yield process
        finally:
            process.kill()


def tell(process):
    process.stdin.write("\n")
    process.stdin.flush()


# -- every place


def test_a_lock_is_given_and_carries_its_name(locks):
    lease = locks.acquire("a", timeout_s=WAIT_S)
    assert lease.name == "a"
    lease.release()


def test_releasing_twice_does_nothing(locks):
    lease = locks.acquire("a", timeout_s=WAIT_S)
    lease.release()
    assert not lease.held()
    lease.release()
    locks.acquire("a", timeout_s=WAIT_S).release()


def test_nobody_waits_for_a_free_lock(locks):
    waits = []
    locks.acquire("a", timeout_s=0, on_wait=waits.append).release()
    locks.acquire("a", timeout_s=WAIT_S, on_wait=waits.append).release()
    assert waits == []


def test_closing_twice_is_fine_and_so_is_releasing_after_it(place):
    locks = place.open()
    lease = locks.acquire("a", timeout_s=WAIT_S)
    locks.close()
    assert not lease.held()
    lease.release()
    locks.close()


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        ".",
        "..",
        "/",
        "../../etc/passwd",
        "registry.example.org:5000/team/project.0123456789abcdef",
        "a\nb",
        "a\0b",
        "*",
        "ünïcode ☃ 𝄞",
        "\udcff no UTF-8",
        "x" * 512,
        "𝄞" * 512,
    ],
)
def test_any_text_is_a_name(name, locks):
    lease = locks.acquire(name, timeout_s=WAIT_S)
    assert lease.name == name
    other = locks.acquire(name + "'", timeout_s=0)
    other.release()
    lease.release()
    assert not lease.held()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(names=st.sets(st.text(max_size=512), min_size=2, max_size=6))
def test_different_names_are_different_locks(names, locks):
    leases = [locks.acquire(name, timeout_s=0) for name in sorted(names)]
    for lease in leases:
        lease.release()


@pytest.mark.parametrize(("one", "other"), [("a", "A"), ("a", "a "), ("a/b", "a-b"), ("é", "e\u0301"), ("a.lock", "a")])
def test_names_that_are_nearly_the_same_are_different_locks(one, other, locks):
    lease = locks.acquire(one, timeout_s=WAIT_S)
    locks.acquire(other, timeout_s=0).release()
    lease.release()


def test_many_threads_take_many_locks(locks):
    def take(number):
        lease = locks.acquire(f"lock {number % 7}", timeout_s=WAIT_S)
        time.sleep(0.001)
        lease.release()
        return lease.held()

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(take, range(200))) == {False}


# -- places that keep others out


@exclusive
def test_it_is_held_until_it_is_released(locks):
    lease = locks.acquire("a", timeout_s=WAIT_S)
    assert lease.held()
    lease.release()
    assert not lease.held()


@exclusive
def test_somebody_else_gets_it_after_the_release_and_not_before(place, locks):
    other = place.open()
    lease = locks.acquire("a", timeout_s=WAIT_S)
    with pytest.raises(LockTimeout):
        other.acquire("a", timeout_s=0)
    lease.release()
    taken = other.acquire("a", timeout_s=0)
    with pytest.raises(LockTimeout):
        locks.acquire("a", timeout_s=0)
    lease.release()
    assert taken.held(), "an old lease does not give back what is another's now"
    with pytest.raises(LockTimeout):
        locks.acquire("a", timeout_s=0)
    other.close()


@exclusive
def test_a_thread_that_asks_twice_waits_for_itself(locks):
    lease = locks.acquire("a", timeout_s=WAIT_S)
    with pytest.raises(LockTimeout):
        locks.acquire("a", timeout_s=0.2)
    assert lease.held()
    lease.release()


@exclusive
def test_of_many_threads_one_is_inside(place, locks):
    clients = [locks, place.open(), place.open()]
    inside = []
    most = []

    def work(number):
        lease = clients[number % 3].acquire("a", timeout_s=WAIT_S)
        inside.append(number)
        most.append(len(inside))
        time.sleep(0.002)
        inside.remove(number)
        lease.release()

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(60)))
    assert most == [1] * 60
    for client in clients:
        client.close()


@exclusive
def test_of_many_processes_one_is_inside(place, tmp_path):
    """Each adds one to a number in a file, slowly: not one is lost."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    program = f"""
import sys, time
from pathlib import Path
{place.setup}
counter = Path({str(counter)!r})
for _ in range(10):
    lease = locks.acquire("a", timeout_s=60)
    number = int(counter.read_text())
    time.sleep(0.002)
    counter.write_text(str(number + 1))
    lease.release()
locks.close()
"""
    processes = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(5)]
    assert [process.wait(120) for process in processes] == [0] * 5
    assert counter.read_text() == "50"


@exclusive
@pytest.mark.parametrize("timeout_s", [0, 0.3])
def test_waiting_ends_with_the_time(timeout_s, place, locks):
    with holder(place, "a") as process:
        started_s = time.monotonic()
        with pytest.raises(LockTimeout) as caught:
            locks.acquire("a", timeout_s=timeout_s)
        took_s = time.monotonic() - started_s
        assert timeout_s <= took_s < timeout_s + 10
        assert "a was not free within" in str(caught.value)
        assert str(process.pid) in caught.value.owner
        assert caught.value.owner in str(caught.value)


@exclusive
def test_a_released_lock_is_given_to_who_waits(place, locks):
    with holder(place, "a") as process, ThreadPoolExecutor(1) as pool:
        waiting = threading.Event()
        taken = pool.submit(locks.acquire, "a", timeout_s=WAIT_S, on_wait=lambda _: waiting.set())
        assert waiting.wait(WAIT_S)
        assert not taken.done()
        tell(process)
        assert taken.result(WAIT_S).held()


@exclusive
def test_who_waits_is_told_once_for_whom_and_since_when(place, locks):
    began_ms = time.time() * 1000
    with holder(place, "the name") as process:
        waits = []
        threads = []

        def note(waiting):
            waits.append(waiting)
            threads.append(threading.get_ident())

        with pytest.raises(LockTimeout):
            locks.acquire("the name", timeout_s=0.3, on_wait=note)
        (waiting,) = waits
        assert threads == [threading.get_ident()]
        assert waiting.name == "the name"
        assert str(process.pid) in waiting.owner
        assert began_ms - 1000 <= waiting.since_ms <= time.time() * 1000 + 1000


@exclusive
def test_the_owner_names_the_job_of_ci(place, locks, monkeypatch):
    other = place.open()
    for variable in ("CI_JOB_URL", "BUILD_URL", "GITHUB_RUN_ID"):
        monkeypatch.delenv(variable, raising=False)
    for variables, job in (
        ({"CI_JOB_URL": "https://ci.example.org/jobs/1"}, "https://ci.example.org/jobs/1"),
        ({"BUILD_URL": "https://jenkins.example.org/2/"}, "https://jenkins.example.org/2/"),
        (
            {"GITHUB_RUN_ID": "3", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "a/b"},
            "https://github.com/a/b/actions/runs/3",
        ),
    ):
        with monkeypatch.context() as patched:
            for name, value in variables.items():
                patched.setenv(name, value)
            lease = locks.acquire("a", timeout_s=WAIT_S)
        with pytest.raises(LockTimeout) as caught:
            other.acquire("a", timeout_s=0)
        assert job in caught.value.owner
        lease.release()
    other.close()


@exclusive
def test_what_is_told_may_fail_and_nothing_is_held_then(place, locks):
    def fail(waiting):
        raise KeyboardInterrupt

    other = place.open()
    lease = locks.acquire("a", timeout_s=WAIT_S)
    with pytest.raises(KeyboardInterrupt):
        other.acquire("a", timeout_s=WAIT_S, on_wait=fail)
    lease.release()
    locks.acquire("a", timeout_s=0).release()
    other.close()


@exclusive
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_a_killed_holder_gives_its_lock_back(number, place, locks):
    with holder(place, "a") as process:
        process.send_signal(number)
        process.wait(WAIT_S)
        assert locks.acquire("a", timeout_s=WAIT_S).held()


@exclusive
def test_who_takes_over_from_a_killed_holder_is_the_owner_then(place, locks):
    with holder(place, "a") as killed:
        killed.kill()
        killed.wait(WAIT_S)
        with holder(place, "a") as process, pytest.raises(LockTimeout) as caught:
            locks.acquire("a", timeout_s=0)
        assert f"pid {process.pid}" in caught.value.owner


@exclusive
def test_closing_gives_back_what_is_held(place):
    one, other = place.open(), place.open()
    leases = [one.acquire(name, timeout_s=WAIT_S) for name in ("a", "b")]
    one.close()
    assert not any(lease.held() for lease in leases)
    for name in ("a", "b"):
        other.acquire(name, timeout_s=0).release()
    other.close()


@exclusive
def test_a_lease_may_be_released_by_another_thread(place, locks):
    lease = locks.acquire("a", timeout_s=WAIT_S)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: lease.release(), range(8)))
    assert not lease.held()
    other = place.open()
    other.acquire("a", timeout_s=0).release()
    other.close()


# -- files


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_a_child_that_outlives_the_holder_does_not_hold_it(place, locks):
    with holder(place, "a") as process:
        process.kill()
        process.wait(WAIT_S)
        assert locks.acquire("a", timeout_s=0).held()


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LockUnavailable, match=str(tmp_path / "file")):
        FileLocks(tmp_path / "file").acquire("a", timeout_s=0)
    with pytest.raises(LockUnavailable, match=str(tmp_path / "file")):
        FileLocks(tmp_path / "file/locks").acquire("a", timeout_s=WAIT_S)


def test_releasing_never_raises_whatever_became_of_the_files(tmp_path):
    import shutil

    locks = FileLocks(tmp_path / "locks")
    lease = locks.acquire("a", timeout_s=0)
    (file,) = (tmp_path / "locks").iterdir()
    file.unlink()
    file.mkdir()
    lease.release()
    assert not lease.held()
    file.rmdir()
    lease = locks.acquire("a", timeout_s=0)
    shutil.rmtree(tmp_path / "locks")
    lease.release()
    assert not lease.held()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"owner": 1}', '{"owner": "x", "sinceMs": "soon"}', "\udcff"])
def test_an_owner_that_cannot_be_read_is_nobody_known(content, tmp_path):
    one, other = FileLocks(tmp_path), FileLocks(tmp_path)
    one.acquire("a", timeout_s=0)
    (file,) = tmp_path.iterdir()
    file.write_text(content, errors="surrogateescape")
    waits = []
    with pytest.raises(LockTimeout) as caught:
        other.acquire("a", timeout_s=0.1, on_wait=waits.append)
    assert caught.value.owner == ""
    assert (waits[0].owner, waits[0].since_ms) == ("", 0)
    one.close()


def test_files_are_named_by_digests_alone_and_do_not_grow_in_number(tmp_path):
    locks = FileLocks(tmp_path)
    for _ in range(5):
        for name in ("../a", "b" * 512):
            locks.acquire(name, timeout_s=0).release()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == 2
    assert all(len(name.partition(".")[0]) == 64 for name in files)


def test_files_of_two_directories_are_two_places(tmp_path):
    one, other = FileLocks(tmp_path / "one"), FileLocks(tmp_path / "other")
    lease = one.acquire("a", timeout_s=0)
    other.acquire("a", timeout_s=0).release()
    assert lease.held()
    one.close()


# -- none


def test_the_null_lock_keeps_nobody_out_and_says_so():
    locks = NullLocks()
    waits = []
    leases = [locks.acquire("a", timeout_s=0, on_wait=waits.append) for _ in range(3)]
    assert [lease.held() for lease in leases] == [False] * 3
    assert waits == []
    locks.close()
    locks.acquire("a", timeout_s=0).release()
