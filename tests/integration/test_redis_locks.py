"""Locks in a real Redis that is killed, started again, paused, filled, cut off, failed over, and that refuses.

What every place of locks does, the conformance suite shows; here is what only a server can do to us.
"""

import contextlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from locking.api import LockTimeout, LockUnavailable
from locking.redis import RedisLocks
from tests.conftest import absent
from tests.servers import certificate, free_port, redis_server
from tests.tcp_proxy import tcp_proxy

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0
LEASE_S = 3.0
FEW_S = 7.0  # in which somebody without a server knows that he has none
CLIENT = """
import sys
from locking.redis import RedisLocks
locks = RedisLocks(sys.argv[1], lease_s=float(sys.argv[2]))
lease = locks.acquire(sys.argv[3], timeout_s=60, on_wait=lambda waiting: print("waits", flush=True))
print("has it", flush=True)
sys.stdin.readline()
lease.release()
locks.close()
"""


@pytest.fixture(autouse=True)
def needs_redis():
    if shutil.which("redis-server") is None:
        absent("redis-server is not on this machine")


@pytest.fixture
def server(tmp_path):
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def proxy(server):
    with tcp_proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def connect(server):
    """Makes clients of the server, or of another address."""
    clients = []

    def connect(url=None, lease_s=LEASE_S):
        clients.append(RedisLocks(url or server.url, lease_s=lease_s))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def short_rest(monkeypatch):
    """A server that failed is asked again soon."""
    monkeypatch.setattr("locking.redis_line._REST_S", 0.2)


@contextlib.contextmanager
def client_process(url, name, lease_s=LEASE_S):
    """A process that takes a lock, says so, and gives it back for a line to its input."""
    command = [sys.executable, "-c", CLIENT, url, str(lease_s), name]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def unavailable(locks, name="a", timeout_s=WAIT_S):
    """Ask for a lock that cannot be had; the message and the time that it took."""
    started_s = time.monotonic()
    with pytest.raises(LockUnavailable) as caught:
        locks.acquire(name, timeout_s=timeout_s)
    return str(caught.value), time.monotonic() - started_s


def wait_until(condition, timeout_s=WAIT_S):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come about"
        time.sleep(0.02)


def keys(server):
    return sorted(server.cli("keys", "*").split())


# -- what stands in the server


def test_the_key_of_a_lock_holds_its_name_and_its_owner_and_goes_with_the_lease(server, connect):
    name = "registry.example.org:5000/team/project.0123456789abcdef"
    lease = connect().acquire(name, timeout_s=0)
    assert keys(server) == [f"conveyor:lock:{name}"]
    assert "pid" in server.cli("hget", f"conveyor:lock:{name}", "owner")
    assert 0 < int(server.cli("pttl", f"conveyor:lock:{name}")) <= LEASE_S * 1000
    lease.release()
    assert keys(server) == []


def test_nothing_stays_of_those_who_waited(server, connect):
    holder, waiters = connect(), [connect() for _ in range(3)]
    lease = holder.acquire("a", timeout_s=0)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(waiters[number].acquire, "a", timeout_s=(9, 9, 0.3)[number]) for number in range(3)]
        with pytest.raises(LockTimeout):
            futures[2].result(WAIT_S)
        wait_until(lambda: server.cli("zcard", "conveyor:queue:a") == "2")
        lease.release()
        wait_until(lambda: any(future.done() for future in futures[:2]))
        next(future for future in futures[:2] if future.done()).result().release()
        for future in futures[:2]:
            future.result(WAIT_S).release()
    assert keys(server) == []


def test_a_lease_is_extended_for_as_long_as_it_is_held(connect):
    lease = connect(lease_s=2).acquire("a", timeout_s=0)
    other = connect()
    deadline_s = time.monotonic() + 6
    while time.monotonic() < deadline_s:
        assert lease.held()
        with pytest.raises(LockTimeout):
            other.acquire("a", timeout_s=0)
        time.sleep(0.1)
    lease.release()
    other.acquire("a", timeout_s=0).release()


def test_the_thread_that_extends_leases_ends_with_the_last_of_them_and_comes_back(connect):
    def beats():
        return [thread for thread in threading.enumerate() if thread.name == "redis leases"]

    before = len(beats())
    locks = connect()
    for _ in range(3):
        leases = [locks.acquire(name, timeout_s=0) for name in "ab"]
        assert len(beats()) == before + 1
        assert all(thread.daemon for thread in beats())
        for lease in leases:
            lease.release()
        wait_until(lambda: len(beats()) == before)


# -- who waits


def test_processes_keep_one_another_out_and_are_served_in_order(server, connect):
    holder = connect()
    first = holder.acquire("a", timeout_s=0)
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(8):
            process = stack.enter_context(client_process(server.url, "a"))
            assert process.stdout.readline() == "waits\n"
            processes.append(process)
        other = connect()
        first.release()
        for number, process in enumerate(processes):
            # Whoever is served says so; nobody else has, and who tries without queueing does not get before them.
            assert process.stdout.readline() == "has it\n"
            owner = server.cli("hget", "conveyor:lock:a", "owner")
            assert f"pid {process.pid}" in owner
            with pytest.raises(LockTimeout) as caught:
                other.acquire("a", timeout_s=0)
            assert caught.value.owner == owner
            assert server.cli("zcard", "conveyor:queue:a") == str(7 - number)
            process.stdin.write("\n")
            process.stdin.close()
        assert [process.wait(WAIT_S) for process in processes] == [0] * 8
    assert keys(server) == []


def test_a_released_lock_is_not_for_who_comes_by_while_somebody_waits(server, connect):
    """Between the release and the moment when the next one takes it, the lock is free and his."""
    holder, waiter, passer = connect(), connect(), connect()
    lease = holder.acquire("a", timeout_s=0)
    with client_process(server.url, "a") as process:
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGSTOP)  # he is slow
        lease.release()
        with pytest.raises(LockTimeout) as caught:
            passer.acquire("a", timeout_s=0)
        assert f"pid {process.pid}" in caught.value.owner
        process.send_signal(signal.SIGCONT)
        assert process.stdout.readline() == "has it\n"
        waits = []
        with pytest.raises(LockTimeout):
            waiter.acquire("a", timeout_s=0.1, on_wait=waits.append)
        assert waits[0].since_ms > 0


def test_who_waits_is_woken_by_the_release_and_does_not_ask_until_then(server, connect):
    delays_s = []
    holder, waiter = connect(lease_s=15), connect(lease_s=15)
    for hold_s in (0.3, 0.7, 1.1):
        lease = holder.acquire("a", timeout_s=0)
        with ThreadPoolExecutor(1) as pool:
            taken = pool.submit(waiter.acquire, "a", timeout_s=WAIT_S)
            wait_until(lambda: server.cli("zcard", "conveyor:queue:a") == "1")
            time.sleep(hold_s)
            released_s = time.monotonic()
            lease.release()
            taken.result(WAIT_S).release()
            delays_s.append(time.monotonic() - released_s)
    assert max(delays_s) < 0.25, delays_s
    asked = next(line for line in server.cli("info", "commandstats").split() if line.startswith("cmdstat_eval:"))
    # For each turn: the holder's two requests, the waiter's two and the release, and one more of luck.
    assert int(asked.partition("calls=")[2].partition(",")[0]) <= 3 * 6


def test_a_killed_holder_keeps_the_others_out_until_his_lease_ends_and_no_longer(server, connect):
    with client_process(server.url, "a") as process:
        assert process.stdout.readline() == "has it\n"
        process.kill()
        process.wait()
        left_s = int(server.cli("pttl", "conveyor:lock:a")) / 1000
        started_s = time.monotonic()
        connect().acquire("a", timeout_s=WAIT_S).release()
        took_s = time.monotonic() - started_s
        assert left_s - 0.5 <= took_s <= left_s + 0.5
        assert took_s <= LEASE_S + 0.5


def test_a_killed_waiter_holds_the_queue_up_for_some_seconds_only(server, connect):
    lease = connect().acquire("a", timeout_s=0)
    with client_process(server.url, "a") as process, ThreadPoolExecutor(1) as pool:
        assert process.stdout.readline() == "waits\n"
        taken = pool.submit(connect().acquire, "a", timeout_s=WAIT_S)
        wait_until(lambda: server.cli("zcard", "conveyor:queue:a") == "2")
        process.kill()
        process.wait()
        lease.release()
        started_s = time.monotonic()
        taken.result(WAIT_S).release()
        assert time.monotonic() - started_s < 8
    assert keys(server) == []


def test_who_gives_up_waiting_lets_the_next_one_through(server, connect):
    holder = connect()
    lease = holder.acquire("a", timeout_s=0)
    with ThreadPoolExecutor(2) as pool:
        gives_up = pool.submit(connect().acquire, "a", timeout_s=0.5)
        wait_until(lambda: server.cli("zcard", "conveyor:queue:a") == "1")
        stays = pool.submit(connect().acquire, "a", timeout_s=WAIT_S)
        with pytest.raises(LockTimeout):
            gives_up.result(WAIT_S)
        released_s = time.monotonic()
        lease.release()
        stays.result(WAIT_S).release()
        assert time.monotonic() - released_s < 1


# -- a server that goes away


def test_a_server_that_is_not_there_is_noticed_in_seconds_and_then_at_once(connect):
    locks = connect(f"redis://127.0.0.1:{free_port()}/0")
    message, took_s = unavailable(locks)
    assert "redis://127.0.0.1:" in message
    assert "refused" in message
    assert took_s < FEW_S
    for name in "abcdefgh":
        again, took_s = unavailable(locks, name)
        assert again == message
        assert took_s < 0.1


def test_one_failure_of_all_is_the_one_to_tell_of(server, connect, short_rest):
    locks = connect()
    lease = locks.acquire("a", timeout_s=0)
    server.kill()
    lease.release()  # that nobody was told of this one is no reason not to tell of the next
    time.sleep(0.3)

    def told(number):
        with pytest.raises(LockUnavailable) as caught:
            locks.acquire(str(number), timeout_s=WAIT_S)
        return caught.value.told

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(told, range(8))) == [False] + 7 * [True]
    time.sleep(0.3)
    assert told(9)


def test_many_threads_without_a_server_wait_together_and_not_one_after_another(connect):
    locks = connect(f"redis://127.0.0.1:{free_port()}/0")
    started_s = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: unavailable(locks, str(number)), range(64)))
    assert time.monotonic() - started_s < FEW_S


def test_a_name_that_nobody_knows_is_noticed_in_seconds(connect):
    message, took_s = unavailable(connect("redis://no-such-host.invalid/0"))
    assert "no-such-host.invalid:6379" in message
    assert took_s < FEW_S


def test_a_server_that_comes_back_gives_locks_again(server, connect, short_rest):
    locks = connect()
    locks.acquire("a", timeout_s=0).release()
    server.kill()
    unavailable(locks)
    server.start()
    time.sleep(0.3)
    lease = locks.acquire("a", timeout_s=WAIT_S)
    assert lease.held()
    lease.release()


def test_a_lease_is_lost_with_a_server_that_forgets_and_the_next_holder_keeps_his(server, connect):
    one, other = connect(), connect()
    lease = one.acquire("a", timeout_s=0)
    server.kill()
    server.start()
    taken = other.acquire("a", timeout_s=WAIT_S)
    wait_until(lambda: not lease.held(), LEASE_S + 1)
    assert taken.held()
    lease.release()
    assert taken.held()
    with pytest.raises(LockTimeout):
        one.acquire("a", timeout_s=0)
    taken.release()


def test_who_waits_survives_a_restart_of_the_server(server, connect):
    lease = connect().acquire("a", timeout_s=0)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(connect().acquire, "a", timeout_s=WAIT_S)
        wait_until(lambda: server.cli("zcard", "conveyor:queue:a") == "1")
        server.kill()
        time.sleep(1)
        server.start()
        assert taken.result(FEW_S).held()
    lease.release()


def test_who_waits_when_the_server_dies_is_told_in_seconds(server, connect):
    connect().acquire("a", timeout_s=0)
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(unavailable, connect())
        wait_until(lambda: server.cli("zcard", "conveyor:queue:a") == "1")
        server.kill()
        waits.result(FEW_S)


def test_a_lease_ends_by_our_clock_when_the_server_is_paused_for_longer(server, connect, short_rest):
    locks, other = connect(), connect()
    lease = locks.acquire("a", timeout_s=0)
    other.acquire("warm", timeout_s=0).release()
    taken_s = time.monotonic()
    with server.paused():
        message, took_s = unavailable(other)
        assert "no answer within" in message or "imeout" in message
        assert took_s < FEW_S
        wait_until(lambda: not lease.held(), LEASE_S + 0.5 - (time.monotonic() - taken_s) + 5)
        assert time.monotonic() - taken_s <= max(LEASE_S + 0.5, took_s + 0.5)
        started_s = time.monotonic()
        lease.release()
        assert time.monotonic() - started_s < FEW_S
    time.sleep(0.3)
    # What the paused server was asked, it does now; that ends with the lease at the latest.
    again = other.acquire("a", timeout_s=LEASE_S + FEW_S)
    assert again.held()
    assert not lease.held()
    lease.release()
    assert again.held()
    again.release()


def test_locks_are_closed_in_seconds_while_the_server_is_paused(server, connect):
    locks = connect()
    leases = [locks.acquire(name, timeout_s=0) for name in "abcdefgh"]
    with server.paused():
        started_s = time.monotonic()
        locks.close()
        assert time.monotonic() - started_s < FEW_S
    assert not any(lease.held() for lease in leases)


@pytest.mark.parametrize("what", ["killed", "paused"])
def test_a_process_ends_in_seconds_whatever_became_of_the_server(what, server):
    program = f"""
import sys, threading, time
from locking.redis import RedisLocks
locks = RedisLocks({server.url!r})
leases = [locks.acquire(name, timeout_s=5) for name in "abc"]
print("has them", flush=True)
sys.stdin.readline()
started_s = time.monotonic()
leases[0].release()
try:
    locks.acquire("d", timeout_s=60)
except Exception as error:
    print(type(error).__name__)
locks.close()
print([thread.name for thread in threading.enumerate() if not thread.daemon])
"""
    with (
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
        contextlib.ExitStack() as stack,
    ):
        stack.callback(process.kill)
        assert process.stdout.readline() == "has them\n"
        if what == "killed":
            server.kill()
        else:
            stack.enter_context(server.paused())
        started_s = time.monotonic()
        stdout, stderr = process.communicate("\n", timeout=WAIT_S)
        assert time.monotonic() - started_s < 2 * FEW_S
        assert (process.returncode, stderr) == (0, "")
        assert stdout.splitlines() == ["LockUnavailable", "['MainThread']"]


# -- a server that refuses


@pytest.mark.parametrize(("user", "password"), [("", "secret"), ("ci", "p@ss:w/o?rd#%")])
def test_a_password_is_needed_and_never_told(user, password, tmp_path):
    with redis_server(tmp_path / "redis", user=user, password=password) as server:
        locks = RedisLocks(server.url)
        locks.acquire("a", timeout_s=0).release()
        for info in ("", f"{user}:wr0ng@", "nobody:wr0ng@"):
            refused = RedisLocks(f"redis://{info}{server.host}/0")
            message, took_s = unavailable(refused)
            assert took_s < 2
            assert "password" in message
            assert f"redis://{server.host}/0" in message
            assert password not in message
            assert "wr0ng" not in message
            refused.close()
        locks.close()


def test_a_user_may_need_no_more_than_the_keys_of_locks(tmp_path):
    rights = "--user ci on >secret ~conveyor:* -@all +eval +blpop +hget +hmget +hset +pexpire +pttl +get +set +exists +del"
    rights += " +zrange +zrem +zadd +zscore +rpush +time --user default off"
    with redis_server(tmp_path / "redis", *rights.split()) as server:
        holder, waiter = (RedisLocks(f"redis://ci:secret@{server.host}/0", lease_s=2) for _ in range(2))
        lease = holder.acquire("a", timeout_s=0)
        with ThreadPoolExecutor(1) as pool:
            taken = pool.submit(waiter.acquire, "a", timeout_s=WAIT_S)
            time.sleep(3)
            assert lease.held()
            lease.release()
            assert taken.result(WAIT_S).held()
        holder.close()
        waiter.close()


def test_a_server_that_is_full_gives_no_lock_and_takes_back_what_it_gave(server, connect, short_rest):
    holder, waiter = connect(lease_s=2), connect()
    lease = holder.acquire("a", timeout_s=0)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(waiter.acquire, "a", timeout_s=WAIT_S)
        wait_until(lambda: server.cli("zcard", "conveyor:queue:a") == "1")
        server.cli("config", "set", "maxmemory", "1")
        message, took_s = unavailable(connect(), "b")
        assert "maxmemory" in message
        assert took_s < 2
        before = keys(server)
        unavailable(connect(), "c")
        assert keys(server) == before, "nothing is left of a step that was refused"
        time.sleep(4)
        assert lease.held(), "a lease is extended where there is no memory"
        with pytest.raises(LockUnavailable):
            taken.result(WAIT_S)
    lease.release()
    assert "conveyor:lock:a" not in keys(server)
    server.cli("config", "set", "maxmemory", "0")
    connect().acquire("a", timeout_s=FEW_S).release()


def test_a_replica_gives_no_lock(server, tmp_path, connect):
    with redis_server(tmp_path / "replica", "--replicaof", "127.0.0.1", str(server.port)) as replica:
        message, took_s = unavailable(connect(replica.url))
        assert "replica" in message
        assert took_s < FEW_S


def test_something_else_under_our_key_is_no_lock_and_no_crash(server, connect):
    server.cli("set", "conveyor:lock:a", "text")
    message, _ = unavailable(connect())
    assert "WRONGTYPE" in message


def test_what_is_not_a_redis_gives_no_lock(registry, connect):
    message, took_s = unavailable(connect(f"redis://{registry.host}/0"))
    assert registry.host in message
    assert took_s < FEW_S


# -- a network that fails


def through(proxy):
    return f"redis://127.0.0.1:{proxy.port}/0"


def test_cut_connections_cost_neither_the_lease_nor_the_place_in_the_queue(server, proxy, connect):
    holder, first, second = connect(), connect(through(proxy)), connect(through(proxy))
    lease = holder.acquire("a", timeout_s=0)
    order = []

    def take(locks, number):
        taken = locks.acquire("a", timeout_s=WAIT_S)
        order.append(number)
        proxy.cut()
        assert taken.held()
        taken.release()

    with ThreadPoolExecutor(2) as pool:
        futures = []
        for number, locks in enumerate((first, second)):
            futures.append(pool.submit(take, locks, number))
            wait_until(lambda number=number: server.cli("zcard", "conveyor:queue:a") == str(number + 1))
        for _ in range(5):
            proxy.cut()
            time.sleep(0.3)
        assert order == []
        lease.release()
        for future in futures:
            future.result(WAIT_S)
    assert order == [0, 1]
    assert keys(server) == []


def test_idle_connections_that_died_in_silence_are_replaced(proxy, connect):
    locks = connect(through(proxy))
    with ThreadPoolExecutor(3) as pool:
        for lease in list(pool.map(lambda name: locks.acquire(name, timeout_s=0), "abc")):
            lease.release()
    proxy.silence()
    started_s = time.monotonic()
    locks.acquire("a", timeout_s=0).release()
    assert time.monotonic() - started_s < FEW_S


def test_a_connection_that_was_idle_for_long_is_not_trusted(proxy, connect, monkeypatch):
    monkeypatch.setattr("locking.redis_line._IDLE_S", 0.2)
    locks = connect(through(proxy))
    locks.acquire("a", timeout_s=0).release()
    proxy.silence()
    time.sleep(0.5)
    started_s = time.monotonic()
    locks.acquire("a", timeout_s=0).release()
    assert time.monotonic() - started_s < 1


@pytest.mark.parametrize("how", ["refuse", "silent"])
def test_being_cut_off_is_noticed_in_seconds_and_passes(how, proxy, connect, short_rest):
    locks = connect(through(proxy))
    lease = locks.acquire("a", timeout_s=0)
    setattr(proxy, how, True)
    proxy.silence() if how == "silent" else proxy.cut()
    _, took_s = unavailable(locks, "b")
    assert took_s < FEW_S
    wait_until(lambda: not lease.held(), LEASE_S)
    setattr(proxy, how, False)
    lease.release()
    time.sleep(0.3)
    locks.acquire("b", timeout_s=FEW_S).release()


def test_processes_keep_one_another_out_while_connections_are_cut_all_the_time(server, proxy, tmp_path):
    """Each adds one to a number in a file, slowly: not one is lost."""
    counter = tmp_path / "counter"
    counter.write_text("0")
    program = f"""
import time
from pathlib import Path
from locking.redis import RedisLocks
counter = Path({str(counter)!r})
locks = RedisLocks("{through(proxy)}")
for _ in range(20):
    lease = locks.acquire("a", timeout_s=60)
    number = int(counter.read_text())
    time.sleep(0.002)
    counter.write_text(str(number + 1))
    lease.release()
locks.close()
"""
    processes = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) for _ in range(5)]
    deadline_s = time.monotonic() + 120
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline_s:
        time.sleep(random.uniform(0.005, 0.05))
        proxy.cut()
    assert [process.wait(1) for process in processes] == [0] * 5
    assert counter.read_text() == "100"
    assert keys(server) == []


def test_a_lock_that_reached_the_replica_survives_a_failover(server, proxy, tmp_path, connect):
    with redis_server(tmp_path / "replica", "--replicaof", "127.0.0.1", str(server.port)) as replica:
        wait_until(lambda: "master_link_status:up" in replica.cli("info", "replication"))
        locks = connect(through(proxy), lease_s=5)
        lease = locks.acquire("a", timeout_s=0)
        wait_until(lambda: replica.cli("exists", "conveyor:lock:a") == "1")
        server.kill()
        proxy.cut()
        time.sleep(0.5)
        replica.cli("replicaof", "no", "one")
        proxy.behind = replica.port
        time.sleep(6)
        assert lease.held()
        with pytest.raises(LockTimeout):
            connect(replica.url).acquire("a", timeout_s=0)
        lease.release()
        connect(replica.url).acquire("a", timeout_s=0).release()
        locks.close()


# -- TLS


def test_the_certificate_of_a_server_is_verified(tmp_path):
    crt, key = certificate(tmp_path / "tls")
    with redis_server(tmp_path / "redis", tls=(crt, key)) as server:
        locks = RedisLocks(f"{server.url}?ssl_ca_certs={crt}")
        locks.acquire("a", timeout_s=0).release()
        locks.close()
        unverified = RedisLocks(f"{server.url}?ssl_cert_reqs=none")
        unverified.acquire("a", timeout_s=0).release()
        unverified.close()
        message, took_s = unavailable(RedisLocks(server.url))
        assert "certificate verify failed" in message
        assert took_s < FEW_S
        unavailable(RedisLocks(f"{server.url.replace('127.0.0.1', 'localhost')}?ssl_ca_certs={crt}"))
        unavailable(RedisLocks(f"redis://{server.host}/0"))
        missing, _ = unavailable(RedisLocks(f"{server.url}?ssl_ca_certs={tmp_path}/none"))
        assert server.host in missing
