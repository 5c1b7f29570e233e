"""Steps that several processes want at once: one runs them, the others follow its log and take its result."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stapel.api import Cancel, Run
from stapel.errors import Cancelled, CommandFailed
from tests.conformance.engines import Said

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from stapel.api import Cancel, Mount, Run
from stapel.errors import CommandFailed
from stapel.runs import open_run
from stapel.sandbox.engine import SandboxEngine

home, base, key, script, shared = Path(sys.argv[1]), *sys.argv[2:]
with open_run(home) as run:
    engine = SandboxEngine("steps", run_id=run.id, home_dir=home, tmp_dir=home)
    held = engine.base(base, engine.platform(), print)
    try:
        made = engine.build(
            held,
            [Run(script, mounts=[Mount(Path(shared), "/shared")])],
            lambda stream, data: (sys.stdout.write(data.decode()), sys.stdout.flush()),
            Cancel(),
            key,
        )
        engine.put(made, made.config, engine.images, Cancel())  # as builds do: what nobody stores goes with its maker
        print("made", made.config.diff_ids[-1])
        made.close()
    except CommandFailed as error:
        print("failed", error.status)
    finally:
        sys.stdout.flush()
        engine.close()
"""
# Says who runs it, and goes on when it may.
SCRIPT = """
echo ran >>/shared/runs
echo first
until [ -e /shared/go ]; do sleep 0.05; done
echo last
head -c 9 /dev/urandom >/f
"""


class Processes:
    def __init__(self, sandbox, shared):
        self.sandbox, self.shared = sandbox, shared
        self.started = []

    def start(self, key="k" * 56, script=SCRIPT):
        arguments = [str(self.sandbox.home_dir), self.sandbox.base_reference, key, script, str(self.shared)]
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self.started.append(process)
        return process

    def runs(self):
        return (self.shared / "runs").read_text().count("ran")

    def go(self):
        (self.shared / "go").touch()


@pytest.fixture
def processes(sandbox, tmp_path):
    (tmp_path / "shared").mkdir()
    processes = Processes(sandbox, tmp_path / "shared")
    yield processes
    for process in processes.started:
        process.kill()
        process.wait()


def test_others_follow_the_log_and_take_the_result(processes, sandbox):
    first = processes.start()
    assert first.stdout.readline() == "first\n"
    others = [processes.start() for _ in range(2)]
    assert [process.stdout.readline() for process in others] == ["first\n"] * 2
    processes.go()
    said = {process.communicate(timeout=60)[0] for process in (first, *others)}
    assert len(said) == 1
    assert said.pop().startswith("last\nmade sha256:")
    assert processes.runs() == 1
    assert (sandbox.home_dir / f"sandbox/logs/{'k' * 56}.log").read_text() == "first\nlast\n"


def test_who_comes_later_runs_it_again(processes):
    processes.go()
    said = [processes.start().communicate(timeout=60)[0] for _ in range(2)]
    assert processes.runs() == 2
    assert said[0] != said[1]


def test_others_fail_with_the_status_of_who_ran_it(processes):
    first = processes.start(script=SCRIPT + "exit 7\n")
    assert first.stdout.readline() == "first\n"
    other = processes.start(script=SCRIPT + "exit 7\n")
    assert other.stdout.readline() == "first\n"
    processes.go()
    assert [process.communicate(timeout=60)[0] for process in (first, other)] == ["last\nfailed 7\n"] * 2
    assert processes.runs() == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_another_takes_over_from_who_is_gone(processes, number):
    first = processes.start()
    assert first.stdout.readline() == "first\n"
    other = processes.start()
    assert other.stdout.readline() == "first\n"
    first.send_signal(number)
    first.wait()
    assert other.stdout.readline() == "first\n"
    processes.go()
    assert other.communicate(timeout=60)[0].startswith("last\nmade sha256:")
    assert processes.runs() == 2


def test_steps_of_other_keys_and_on_other_layers_are_others(processes):
    first = processes.start()
    assert first.stdout.readline() == "first\n"
    other = processes.start(key="o" * 56)
    assert other.stdout.readline() == "first\n"
    deadline_s = time.monotonic() + 30
    while processes.runs() < 2:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    processes.go()
    assert first.communicate(timeout=60)[0] != other.communicate(timeout=60)[0]


def test_who_follows_can_be_cancelled(processes, sandbox):
    first = processes.start()
    assert first.stdout.readline() == "first\n"
    cancel, said = Cancel(), Said()
    threading.Timer(1, cancel.set).start()
    with pytest.raises(Cancelled):
        sandbox.engine.build(sandbox.base(), [Run(SCRIPT)], said, cancel, "k" * 56)
    assert said.text() == "first\n"
    processes.go()
    assert "made" in first.communicate(timeout=60)[0]


def test_a_failing_step_keeps_its_log(sandbox):
    with pytest.raises(CommandFailed):
        sandbox.engine.build(sandbox.base(), [Run("echo out; echo err >&2; exit 3")], Said(), Cancel(), "f" * 56)
    assert sorted((sandbox.home_dir / f"sandbox/logs/{'f' * 56}.log").read_text().split()) == ["err", "out"]
