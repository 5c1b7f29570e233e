from __future__ import annotations

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from conveyor.errors import GitError
from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.objects import Objects
from conveyor.gitrepo.processes import LARGE_BYTES, CatFile, run_git


@pytest.fixture
def started(monkeypatch):
    """The commands of processes that are started."""
    commands = []
    start, spawn = subprocess.Popen.__init__, os.posix_spawnp

    def note(args):
        commands.append(args[next(i for i, word in enumerate(args) if i and args[i - 1] != "-c" and word != "-c") :])

    def noted_spawn(program, args, *more, **options):
        note(args)
        return spawn(program, args, *more, **options)

    def noted_start(self, args, *more, **options):
        note(args)
        start(self, args, *more, **options)

    monkeypatch.setattr(os, "posix_spawnp", noted_spawn)
    monkeypatch.setattr(subprocess.Popen, "__init__", noted_start)
    return commands


@pytest.fixture
def filled(place):
    for number in range(1000):
        place.write(f"d{number % 40}/{number}", f"{number}\n")
    place.commit()
    return place


def test_a_build_with_nothing_to_do_starts_three_processes(filled, started):
    repo = filled.open()
    repo.read_file(repo.head, b"d1/1")
    repo.uncommitted()
    for number in range(150):
        selector = Selector(b"d%d" % (number % 40), ("*1", "**/x"), ("**/*.md",))
        repo.matches(repo.head, selector)
        repo.is_file(repo.head, selector.add)
        repo.lfs_files(repo.head, selector)
        repo.tree_digest(repo.head, selector)
        repo.delta(repo.head, repo.head, selector)
    repo.exists([repo.head])
    assert repo.ancestors([repo.head], repo.head) == {repo.head}
    repo.first_parents(repo.head, 200)
    repo.close()
    assert len(started) == 3, started


def test_no_process_is_started_before_it_is_needed(filled, started):
    filled.open().close()
    assert len(started) == 1


def test_close_ends_the_processes_and_may_be_repeated(filled, started, monkeypatch):
    ended = []
    wait = os.waitpid
    monkeypatch.setattr(os, "waitpid", lambda pid, options: ended.append(pid) or wait(pid, options))
    repo = filled.open()
    repo.sizes(repo.files(repo.head, Selector(b""))[:10])
    started_before, count = len(started), len(ended)
    repo.close()
    repo.close()
    assert len(ended[count:]) == started_before - 1
    for pid in ended:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_many_threads_read_at_once(filled):
    repo = filled.open()
    blobs = repo.files(repo.head, Selector(b"")) * 3

    def read(blob):
        with repo.open(blob) as content:
            return content.read() == blob.path.rpartition(b"/")[2] + b"\n"

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(read, blobs))
        digests = set(threads.map(lambda _: repo.tree_digest(repo.head, Selector(b"", ("*/1*",))), range(32)))
    assert len(digests) == 1
    repo.close()


def test_many_blobs_are_read_ahead_by_one_process(place, started):
    for number in range(300):
        place.write(f"f{number:03}", f"{number}\n" * number)
    place.write("large", b"l" * (LARGE_BYTES + 1))
    place.commit()
    repo = place.open()
    blobs = repo.files(repo.head, Selector(b""))
    assert repo.sizes(blobs) == [(place.path / os.fsdecode(blob.path)).stat().st_size for blob in blobs]
    ahead = repo.contents(blobs)
    before = len(started)

    def is_read(number):
        with ahead.open(number) as content:
            return content.read() == (place.path / os.fsdecode(blobs[number].path)).read_bytes()

    # Each twice, some left out, one that stands before, one that is empty.
    assert all(is_read(number) and is_read(number) for number in (0, 1, 7, 150, 3, 151))
    assert len(started) == before + 1
    assert is_read(300)
    ahead.close()
    ahead.close()
    assert is_read(299)
    assert is_read(2)
    repo.close()


def test_a_missing_blob_is_told_of_among_many(place):
    for number in range(300):
        place.write(f"f{number:03}", f"{number}\n")
    place.commit()
    blobs = list(place.open().files(place.open().head, Selector(b"")))
    blobs[250] = replace(blobs[250], oid="0" * 40)
    repo = place.open()
    with pytest.raises(GitError, match="0000 is missing"):
        repo.sizes(blobs)
    ahead = repo.contents(blobs)
    with ahead.open(249) as content:
        assert content.read() == b"249\n"
    with pytest.raises(GitError, match="0000 is missing"):
        ahead.open(250)
    ahead.close()
    repo.close()


def test_large_blobs_are_streamed_and_not_held(place):
    size = LARGE_BYTES + 12345
    place.write("large", os.urandom(1 << 20) * 9)
    place.write("edge", b"e" * LARGE_BYTES)
    place.write("above", b"a" * (LARGE_BYTES + 1))
    place.write("small", "small\n")
    (place.path / "large").write_bytes((place.path / "large").read_bytes()[:size])
    place.commit()
    for asked_before in (False, True):
        repo = place.open()
        blobs = repo.files(repo.head, Selector(b""))
        if asked_before:
            assert sorted(repo.sizes(blobs)) == sorted([size, LARGE_BYTES, LARGE_BYTES + 1, 6])
        for blob in blobs:
            with repo.open(blob) as content:
                got = content.read(10) + content.read() + content.read(1)
            assert got == (place.path / os.fsdecode(blob.path)).read_bytes()
        large = next(blob for blob in blobs if blob.path == b"large")
        with repo.open(large) as content:
            assert not hasattr(content, "getvalue")
            content.read(1)
        assert repo.read_file(repo.head, b"small") == b"small\n"  # answers are not out of step after a skipped content
        repo.close()


def test_an_empty_blob(place):
    place.write("empty", "")
    place.commit()
    repo = place.open()
    assert repo.read_file(repo.head, b"empty") == b""


def test_what_is_missing_between_what_is_there(place):
    place.write("a")
    commit = place.commit()
    blob = place.head("HEAD:a")
    cat = CatFile(os.fsencode(place.path / ".git"), git_environment())
    absent = "1" * 40
    assert cat.check([absent, commit, absent, blob]) == [None, ("commit", len(_read(cat, commit))), None, ("blob", 8)]
    assert [read and read[0] for read in cat.read_all([absent, commit, absent, blob])] == [None, "commit", None, "blob"]
    cat.close()


def _read(cat, oid):
    return cat.read(oid)[1]


def test_more_questions_than_a_pipe_holds(filled):
    repo = filled.open()
    objects = Objects("", repo.git_dir, git_environment())
    oids = [blob.oid for blob in repo.files(repo.head, Selector(b""))] * 9
    assert len(objects._cat.check(oids)) == len(objects._cat.read_all(oids)) == 9000
    objects.close()
    repo.close()


def test_a_process_that_dies_is_an_error_and_the_next_question_starts_another(place):
    place.write("a", "1\n")
    commit = place.commit()
    cat = CatFile(os.fsencode(place.path / ".git"), git_environment())
    assert cat.read(commit) is not None
    process = cat._free[0]._process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with pytest.raises(GitError, match="git cat-file ended"):
        cat.read(commit)
    assert cat.read(commit) is not None
    cat.close()


def test_a_damaged_object_is_an_error_with_what_git_says(place):
    place.write("a", "1\n")
    place.commit()
    oid = place.head("HEAD:a")
    file = place.path / ".git/objects" / oid[:2] / oid[2:]
    file.chmod(0o644)
    file.write_bytes(b"damaged")
    repo = place.open()
    with pytest.raises(GitError, match=r"cat-file ended: .*corrupt|is missing"):
        repo.read_file(repo.head, b"a")


def test_replaced_objects_are_not_used(place):
    place.write("a", "1\n")
    commit = place.commit()
    other = place.git("hash-object", "-w", "--stdin", feed=b"2\n").decode().strip()
    place.git("replace", f"{commit}:a", other)
    repo = place.open()
    assert repo.read_file(commit, b"a") == b"1\n"


def test_grafts_are_not_used(place):
    place.write("a", "1\n")
    first = place.commit()
    second = place.commit("second")
    (place.path / ".git/info").mkdir(exist_ok=True)
    (place.path / ".git/info/grafts").write_text(f"{second}\n")
    repo = place.open()
    assert repo.ancestors([first], second) == {first}


def test_git_is_not_led_away_by_the_environment(place, tmp_path, monkeypatch):
    place.write("a", "1\n")
    commit = place.commit()
    for name in ("GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_WORK_TREE", "GIT_PREFIX"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    repo = place.open()
    assert repo.read_file(commit, b"a") == b"1\n"
    assert repo.uncommitted() == ()


def test_hooks_and_monitors_of_the_repository_are_not_run(place, tmp_path):
    place.write("a", "1\n")
    place.commit()
    trace = tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o755)
    place.git("config", "core.fsmonitor", str(program))
    place.git("config", "core.hooksPath", str(tmp_path))
    for hook in ("post-index-change", "reference-transaction"):
        (tmp_path / hook).symlink_to(program)
    repo = place.open(dev=True)
    repo.close()
    assert place.open().uncommitted() == ()
    assert not trace.exists()


def test_a_process_that_takes_too_long_is_ended_with_those_that_it_started(tmp_path):
    environment = git_environment({"GIT_CONFIG_GLOBAL": str(tmp_path / "config")})
    (tmp_path / "config").write_text(f'[alias]\n\tslow = "!sleep 60 & echo $! >{tmp_path}/pid; wait; :"\n')
    with pytest.raises(subprocess.TimeoutExpired):
        run_git(["slow"], environment=environment, timeout_s=1, detached=True)
    pid = int((tmp_path / "pid").read_text())
    state = subprocess.run(["ps", "-o", "state=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    assert state in ("", "Z")


def test_git_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitError) as raised:
        run_git(["--version"])
    assert raised.value.reason == "git_missing"
