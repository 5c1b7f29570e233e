"""Logs of stages: where they are while a stage is built, and what becomes of them."""

import fcntl
import os

from conveyor.build.logs import begin_log, find_failed_log, find_log, find_running_log, logs_dir
from conveyor.storage.names import stage_name

DIGEST = "ab" * 28
IMAGE = "sha256:" + "12345678" + "0" * 56


def test_a_log_that_is_kept_is_found_by_the_name_of_its_stage(tmp_path):
    log = begin_log(tmp_path, DIGEST)
    assert not logs_dir(tmp_path).exists()
    log.write(b"one\n")
    running = find_running_log(tmp_path, DIGEST)
    assert running is not None
    assert running.read_bytes() == b"one\n"
    log.write(b"two\n")
    log.keep(IMAGE)
    name = stage_name(DIGEST, 1_700_000_000_000, IMAGE)
    assert find_log(tmp_path, name).read_bytes() == b"one\ntwo\n"
    assert find_running_log(tmp_path, DIGEST) is None
    assert find_log(tmp_path, stage_name(DIGEST, 1_700_000_000_000, "sha256:" + "f" * 64)) is None
    log.keep("sha256:" + "f" * 64)  # stored once more, and then with another digest
    assert find_log(tmp_path, name) is None
    assert find_log(tmp_path, stage_name(DIGEST, 1, "sha256:" + "f" * 64)).read_bytes() == b"one\ntwo\n"


def test_a_log_of_a_failure_is_the_last_one(tmp_path):
    for text in (b"first", b"second"):
        log = begin_log(tmp_path, DIGEST)
        log.write(text)
        log.keep_failed()
    assert find_failed_log(tmp_path, DIGEST).read_bytes() == b"second"
    assert find_failed_log(tmp_path, "cd" * 28) is None


def test_of_a_discarded_log_nothing_is_left(tmp_path):
    log = begin_log(tmp_path, DIGEST)
    log.open()
    log.discard()
    log.discard()
    begin_log(tmp_path, DIGEST).discard()
    assert list((logs_dir(tmp_path) / "running").iterdir()) == []


def test_what_a_killed_build_left_goes_and_what_is_written_stays(tmp_path):
    running = logs_dir(tmp_path) / "running"
    running.mkdir(parents=True)
    (running / f"{DIGEST}-left").write_text("left")
    (running / f"{DIGEST}-held").write_text("held")
    held = os.open(running / f"{DIGEST}-held", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    log = begin_log(tmp_path, "cd" * 28)
    log.open()
    assert {path.name[:61] for path in running.iterdir()} == {f"{DIGEST}-held", f"{'cd' * 28}-"[:57] + log._path.name[57:61]}
    os.close(held)
    log.discard()


def test_a_home_that_cannot_be_written_costs_the_log_alone(tmp_path):
    (tmp_path / "logs").write_text("in the way")
    log = begin_log(tmp_path, DIGEST)
    log.write(b"said")
    log.keep(IMAGE)
    assert find_log(tmp_path, stage_name(DIGEST, 1, IMAGE)) is None
