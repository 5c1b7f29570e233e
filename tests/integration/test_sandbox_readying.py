"""Commands that are made ready behind others: what they see and leave is the same, and what is not wanted leaves nothing."""

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from stapel.api import Cancel, Mount, Run
from stapel.errors import Cancelled, CommandFailed
from tests.conformance.engines import Said, file, lay

ROOT = Path(__file__).parents[2]
WAIT = "until [ -e /shared/go ]; do sleep 0.02; done\n"


@pytest.fixture
def shared(tmp_path):
    """A directory that commands have at /shared."""
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


def run(script, shared, **fields):
    return Run(script, mounts=[Mount(shared, "/shared")], **fields)


def build_before(sandbox, shared, following, script="echo one >/one\n", cancel=None, on=None):
    """Build commands, and have others made ready behind them before they end."""
    key, made = secrets.token_hex(28), []
    (shared / "go").unlink(missing_ok=True)

    def build():
        steps = [run(WAIT + script, shared)]
        try:
            made.append(sandbox.engine.build(on or sandbox.base(), steps, Said(), cancel or Cancel(), key))
        except Exception as error:
            made.append(error)

    thread = threading.Thread(target=build)
    sandbox.engine.make_ready(lambda: [following], key)
    thread.start()
    wait_for(lambda: len(runners()) == 2)
    (shared / "go").touch()
    thread.join()
    if isinstance(made[0], Exception):
        raise made[0]
    assert made[0].readied is not None
    return sandbox.keep(made[0])


def runners(parent=None):
    """The runners that workers of a process have started and not been told to end."""
    mine = children(parent or os.getpid(), "python")
    return [pid for worker in mine for pid in children(worker, "bwrap")]


def children(parent, name):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = path.read_text().split(" (", 1)
        except OSError:
            continue
        comm, fields = rest.rsplit(") ", 1)
        if int(fields.split()[1]) == parent and comm.startswith(name) and fields.split()[0] != "Z":
            found.append(int(pid))
    return found


def wait_for(condition):
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


SCRIPT = """
cat /one /two 2>&1 || true
ls /proc/1/fd
grep -E 'Cap(Prm|Eff|Inh|Amb)|NoNew|Seccomp:|SigIgn' /proc/self/status
ls /proc | grep -c '^[0-9]'
env | grep -v HOSTNAME | sort
cat /etc/hosts | wc -l; pwd; id -u; ls /dev /dev/shm; mkdir /made; chmod 1777 /; rm /one; echo >/three
"""


def test_they_see_and_leave_what_they_would_without(sandbox, shared):
    following = run(SCRIPT, shared, env={"A": "b"})
    said, made = [], []
    for is_ready in (True, False):
        on = build_before(sandbox, shared, following)
        if not is_ready:
            on.readied = None
        log = Said()
        made.append(sandbox.build(on, following, log=log))
        said.append(log.text())
        assert sandbox.left() == []
    assert said[0] == said[1]
    assert "one\n" in said[0]
    files = [{path: (item.mode, item.kind) for path, item in sandbox.paths(held).items()} for held in made]
    assert files[0] == files[1]
    assert b"three" in files[0]
    assert set(sandbox.top_layer(made[0])) == set(sandbox.top_layer(made[1])) == {".", ".wh.one", "made", "three"}


def test_many_follow_one_another(sandbox, shared):
    on = None
    for number in range(8):
        following = run(f"{WAIT}echo {number + 1} >>/all\n", shared)
        on = build_before(sandbox, shared, following, f"echo {number} >>/all\n", on=on)
    assert sandbox.run(on, "cat /all") == "".join(f"{number}\n" for number in range(8))


def test_others_are_built_in_their_place(sandbox, shared):
    on = build_before(sandbox, shared, run("echo wrong >/two", shared))
    assert sandbox.run(on, "ls /two 2>&1 || cat /one; echo right >/two") == "ls: /two: No such file or directory\none\n"
    assert runners() == []
    assert sandbox.left() == []


def test_a_worker_that_is_needed_for_something_else_ends_them(sandbox, shared):
    following = run("cat /one", shared)
    on = build_before(sandbox, shared, following)
    assert b"one" in sandbox.paths(on)
    assert runners() == []
    log = Said()
    sandbox.build(on, following, log=log)
    assert log.text() == "one\n"
    assert sandbox.left() == []


def test_they_may_fail_and_be_cancelled(sandbox, shared):
    following = run("echo said; exit 7", shared)
    on, log = build_before(sandbox, shared, following), Said()
    with pytest.raises(CommandFailed) as caught:
        sandbox.build(on, following, log=log)
    assert (caught.value.status, log.text()) == (7, "said\n")
    assert sandbox.left() == []

    cancel = Cancel()
    following = run("echo up; sleep 1000", shared)
    on = build_before(sandbox, shared, following)
    with pytest.raises(Cancelled):
        sandbox.build(on, following, log=lambda stream, data: cancel.set(), cancel=cancel)
    assert sandbox.left() == []
    assert runners() == []


def test_nothing_follows_commands_that_fail_or_are_cancelled(sandbox, shared):
    mark = shared / "ran"
    following = run("touch /shared/ran", shared)
    with pytest.raises(CommandFailed):
        build_before(sandbox, shared, following, "exit 3")
    assert (runners(), sandbox.left()) == ([], [])
    cancel = Cancel()
    threading.Timer(0.5, cancel.set).start()
    with pytest.raises(Cancelled):
        build_before(sandbox, shared, following, "sleep 1000", cancel)
    assert (runners(), sandbox.left(), mark.exists()) == ([], [], False)


def test_an_error_of_what_is_made_ready_is_told_by_who_builds_it(sandbox, shared):
    """A mount over a place that commands make a link to nowhere."""
    following = run("true", shared, secrets={"a": b"b"})
    on = build_before(sandbox, shared, following, "rm -rf /run; ln -s run /run")
    with pytest.raises(Exception, match="link") as caught:
        sandbox.build(on, following)
    with pytest.raises(type(caught.value), match="link"):
        sandbox.build(on, following)
    assert sandbox.left() == []


def test_what_cannot_be_launched_does_not_disturb_those_that_run(sandbox, shared, monkeypatch):
    key, made, following = secrets.token_hex(28), [], run("echo again", shared)
    sandbox.build(sandbox.base(), Run("true"))
    runs = sandbox.engine._builds_made._runs
    steps = [run(WAIT + "echo one >/one", shared)]
    arguments = (sandbox.base(), steps, Said(), Cancel(), key)
    thread = threading.Thread(target=lambda: made.append(sandbox.engine.build(*arguments)))
    thread.start()
    wait_for(lambda: len(runners()) == 1)
    with monkeypatch.context() as patched:
        patched.setattr(runs, "_runner", replace(runs._runner, path=b"/nowhere"))
        sandbox.engine.make_ready(lambda: [following], key)
    (shared / "go").touch()
    thread.join()
    on, log = sandbox.keep(made[0]), Said()
    assert on.readied is None
    sandbox.build(on, following, log=log)
    assert log.text() == "again\n"
    assert sandbox.left() == []


def test_a_large_environment(sandbox, shared):
    following = run("echo ${#A} ${#B}", shared, env={"A": "x" * 120_000, "B": "y" * 120_000})
    on, log = build_before(sandbox, shared, following), Said()
    sandbox.build(on, following, log=log)
    assert log.text() == "120000 120000\n"


def test_files_that_are_laid_before_them_keep_them_from_being_ready(sandbox, shared):
    following = run("cat /one /laid", shared)
    on, log = build_before(sandbox, shared, following), Said()
    sandbox.build(on, lay(file(b"laid", b"laid\n")), following, log=log)
    assert log.text() == "one\nlaid\n"


def test_an_engine_that_is_killed_leaves_none_that_runs(sandbox, shared):
    program = f"""
import sys, time
from pathlib import Path
from stapel.api import Cancel, Mount, Run
from stapel.runs import open_run
from stapel.sandbox.engine import SandboxEngine
home = Path({str(sandbox.home_dir)!r})
with open_run(home) as own:
    engine = SandboxEngine("killed", run_id=own.id, home_dir=home, tmp_dir=home)
    held = engine.base({sandbox.base_reference!r}, engine.platform(), print)
    mounts = [Mount(Path({str(shared)!r}), "/shared")]
    engine.make_ready(lambda: [Run("sleep 0.2; touch /shared/ran", mounts=mounts)], "k" * 56)
    script = {WAIT!r}
    made = engine.build(held, [Run(script, mounts=mounts)], lambda *said: None, Cancel(), "k" * 56)
    print("ready" if made.readied else "not", flush=True)
    time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: len(runners(process.pid)) == 2)
    (shared / "go").touch()
    assert process.stdout.readline() == "ready\n"
    (runner,) = runners(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_for(lambda: not Path(f"/proc/{runner}").exists())
    time.sleep(0.5)
    assert not (shared / "ran").exists()


def test_nothing_is_mounted_over_a_tree_in_which_a_runner_may_still_begin(sandbox, shared):
    point = re.compile(rf" {sandbox.home_dir}/sandbox/mnt [^\n]* - (\S+)")
    kinds, has_ended = set(), threading.Event()

    def watch():
        while not has_ended.is_set():
            for worker in children(os.getpid(), "python"):
                with contextlib.suppress(OSError):
                    kinds.update(point.findall(Path(f"/proc/{worker}/mountinfo").read_text()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        on = None
        for number in range(8):
            on = build_before(sandbox, shared, run(f"{WAIT}echo {number}\n", shared), on=on)
    finally:
        has_ended.set()
        watching.join()
    assert kinds == {"overlay"}
