"""Whether a run is alive, as other processes see it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stapel.runs import find_temporary, home_label, is_alive, open_run, open_run_directory

ROOT = Path(__file__).parents[3]
PARENT = """
import subprocess, sys
from pathlib import Path
from stapel.runs import open_run
with open_run(Path(sys.argv[1])) as run:
    if len(sys.argv) > 2:
        subprocess.Popen(["sleep", "5"], stdout=subprocess.DEVNULL)
    print(run.id, flush=True)
    sys.stdin.read()
"""


def start(home, *options):
    arguments = [sys.executable, "-c", PARENT, str(home), *options]
    process = subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_a_run_is_alive_until_its_context_ends(tmp_path):
    with open_run(tmp_path) as run:
        assert is_alive(tmp_path, run.id)
        assert is_alive(tmp_path, run.id), "asking does not end it"
    assert not is_alive(tmp_path, run.id)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_that_fails_is_over(tmp_path):
    with pytest.raises(RuntimeError), open_run(tmp_path) as run:
        raise RuntimeError
    assert not is_alive(tmp_path, run.id)


def test_runs_have_ids_of_their_own(tmp_path):
    with open_run(tmp_path) as one, open_run(tmp_path) as other:
        assert one.id != other.id
        assert len(one.id) == 12
        assert set(one.id) <= set("0123456789abcdef")
    assert is_alive(tmp_path, one.id) == is_alive(tmp_path, other.id) is False


def test_another_process_sees_a_run(tmp_path):
    process, run_id = start(tmp_path)
    with process:
        assert is_alive(tmp_path, run_id)
        process.stdin.close()
        process.wait(30)
        assert not is_alive(tmp_path, run_id)


def test_a_killed_run_is_over_although_its_file_is_there(tmp_path):
    process, run_id = start(tmp_path)
    with process:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert (tmp_path / f"runs/{run_id}.lock").exists()
    assert not is_alive(tmp_path, run_id)


def test_what_a_killed_run_has_started_does_not_keep_it_alive(tmp_path):
    process, run_id = start(tmp_path, "with a child")
    with process:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert not is_alive(tmp_path, run_id)


@pytest.mark.parametrize("run_id", ["0123456789ab", "", "../x"])
def test_a_run_that_nobody_knows_is_not_alive(run_id, tmp_path):
    assert not is_alive(tmp_path, run_id)
    with open_run(tmp_path):
        assert not is_alive(tmp_path, run_id)


def test_many_may_ask_at_once(tmp_path):
    with open_run(tmp_path) as run, ThreadPoolExecutor(16) as pool:
        assert all(pool.map(lambda _: is_alive(tmp_path, run.id), range(500)))


def test_a_run_starts_while_others_ask_for_it(tmp_path):
    """Who asks holds the lock for a moment; a run that starts then waits for it and does not fail."""
    asking = threading.Event()

    def ask():
        while not asking.is_set():
            for lock in (tmp_path / "runs").glob("*.lock"):
                is_alive(tmp_path, lock.stem)

    with ThreadPoolExecutor(4) as pool:
        for _ in range(4):
            pool.submit(ask)
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            with open_run(tmp_path) as run:
                assert is_alive(tmp_path, run.id)
        asking.set()


def test_no_descriptor_is_left_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with open_run(tmp_path) as run:
            is_alive(tmp_path, run.id)
        is_alive(tmp_path, run.id)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_home_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), open_run(tmp_path / "file"):
        pass


def test_the_label_of_a_home_is_that_of_its_directory(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    assert home_label(tmp_path) == home_label(tmp_path / "link")
    assert home_label(tmp_path) != home_label(tmp_path / "other")
    assert len(home_label(tmp_path)) == 16


def test_a_killed_run_leaves_nothing_that_the_next_one_does_not_remove(tmp_path):
    parent = tmp_path / "tmp"
    parent.mkdir()
    home = tmp_path / "home"
    program = """
import sys
import tempfile
from pathlib import Path
from stapel.runs import open_run, open_run_directory
with open_run(Path(sys.argv[1])) as run, open_run_directory(Path(sys.argv[1]), run, Path(sys.argv[2])) as directory:
    (directory / "file").write_text("left")
    print(run.id, flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", program, str(home), str(parent)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        killed = process.stdout.readline().strip()
        with open_run(home) as alive, open_run_directory(home, alive, parent) as own:
            assert len(list(parent.iterdir())) == 2
            process.kill()
            process.wait()
            with open_run(home) as other, open_run_directory(home, other, parent) as third:
                assert set(parent.iterdir()) == {own, third}
                names = {path.stem for path in (home / "runs").iterdir()}
                assert names == {alive.id, other.id}
                assert killed not in names
    assert list(parent.iterdir()) == []


def test_a_directory_of_another_home_stays(tmp_path):
    parent = tmp_path / "tmp"
    parent.mkdir()
    with open_run(tmp_path / "one") as run, open_run_directory(tmp_path / "one", run, parent) as directory:
        with open_run(tmp_path / "two") as other, open_run_directory(tmp_path / "two", other, parent):
            assert directory.is_dir()
        assert directory.is_dir()


@pytest.mark.parametrize("fails", [False, True])
def test_the_directory_of_a_run_goes_with_all_that_is_in_it(tmp_path, fails):
    (tmp_path / "home").mkdir()
    (tmp_path / "tmp").mkdir()
    home, parent = tmp_path / "home", tmp_path / "tmp"
    with (
        contextlib.suppress(KeyError),
        open_run(home) as run,
        open_run_directory(home, run, parent) as directory,
    ):
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "a").mkdir()
        (directory / "a/b").write_text("")
        if fails:
            raise KeyError
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize("variable", ["TMPDIR", "TEMP", "TMP"])
def test_temporary_files_have_the_place_that_python_gives_them(tmp_path, monkeypatch, variable):
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    assert str(find_temporary()) == tempfile._get_default_tempdir()
    (tmp_path / "program").write_text("")
    (tmp_path / "program").chmod(0o755)
    for place in (tmp_path, tmp_path / "absent", tmp_path / "program"):
        monkeypatch.setenv(variable, str(place))
        monkeypatch.setattr(tempfile, "tempdir", None)
        assert str(find_temporary()) == tempfile._get_default_tempdir()
