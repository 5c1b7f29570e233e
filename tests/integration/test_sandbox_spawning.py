"""The worker that is started before the engine is imported: taken by who needs it, else it ends."""

import os

import pytest

from stapel.sandbox.engine import SandboxEngine
from stapel.sandbox.spawning import end_early, spawn_early, take_early
from tests.conftest import absent


@pytest.fixture
def home(tmp_path):
    engine = SandboxEngine("p", run_id="0" * 12, home_dir=tmp_path, tmp_dir=tmp_path)
    why = engine.obstacle()
    engine.close()
    if why:
        absent(f"the sandbox cannot run: {why}")
    return tmp_path


def test_the_first_worker_is_the_one_that_was_started_early(home, monkeypatch):
    spawn_early(str(home))
    monkeypatch.setattr("stapel.sandbox.cell.spawn", None)  # there is no second one
    engine = SandboxEngine("p", run_id="1" * 12, home_dir=home, tmp_dir=home)
    engine.expect_builds()
    with engine.tree(engine.hold(None)) as tree:
        assert tree.stat(b"absent") is None
    engine.close()


def test_a_worker_that_nobody_takes_ends(home):
    spawn_early(str(home))
    assert take_early(str(home / "another")) is None
    taken = take_early(str(home / "sandbox"))
    assert taken is not None
    socket, pid = taken
    socket.close()
    assert os.waitpid(pid, 0)[0] == pid
    spawn_early(str(home))
    end_early()
    assert take_early(str(home / "sandbox")) is None


def test_where_no_sandbox_has_run_none_is_started(tmp_path):
    spawn_early(str(tmp_path))
    assert take_early(str(tmp_path / "sandbox")) is None
