import os
import signal

import pytest

from conveyor.errors import GitError
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.spawning import start_git


@pytest.fixture
def start(request):
    """Starts git; its pipes are closed at the end."""

    def begin(*arguments, **files):
        process = start_git(arguments, git_environment(), **files)
        request.addfinalizer(process.stdout.close)
        request.addfinalizer(process.kill)
        return process

    return begin


@pytest.fixture
def put_git(tmp_path, monkeypatch):
    """Puts a program of our own in the place of git."""

    def put(script):
        path = tmp_path / "git"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return put


def test_what_is_asked_and_answered_through_pipes(start):
    process = start("hash-object", "--stdin", stdin="pipe")
    process.stdin.write(b"a\n")
    process.stdin.close()
    assert process.stdout.read() == b"78981922613b2afb6025042ff6bd878ac1994e85\n"
    assert process.wait() == 0


def test_a_file_to_read_and_one_for_complaints(start, put_git, tmp_path):
    put_git("cat; echo complaint >&2; exit 3")
    (tmp_path / "asked").write_bytes(b"asked")
    with open(tmp_path / "asked", "rb") as asked, open(tmp_path / "said", "w+b") as said:
        process = start(stdin=asked, stderr=said)
        assert process.stdout.read() == b"asked"
        assert process.wait() == process.wait() == 3
        said.seek(0)
        assert said.read() == b"complaint\n"


def test_nothing_to_read_and_nobody_who_hears_complaints(start, put_git):
    put_git("cat; echo complaint >&2; echo answer")
    assert start().stdout.read() == b"answer\n"


def test_it_is_ended(start, put_git):
    put_git("echo here; exec sleep 60")
    process = start()
    assert process.stdout.readline() == b"here\n"
    assert os.getpgid(process.pid) == process.pid
    process.kill()
    assert process.wait() == -signal.SIGKILL


def test_a_pipe_that_nobody_reads_ends_it(start, put_git):
    """Python ignores that signal, and what it starts would, too."""
    put_git("exec grep SigIgn /proc/self/status")
    ignored = int(start().stdout.read().split()[1], 16)
    assert not ignored & 1 << signal.SIGPIPE - 1


def test_no_git_leaves_nothing_open(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    before = os.listdir("/proc/self/fd")
    with pytest.raises(GitError) as caught:
        start_git(["--version"], git_environment(), stdin="pipe")
    assert caught.value.reason == "git_missing"
    assert os.listdir("/proc/self/fd") == before


def test_a_process_that_somebody_else_waited_for(start):
    process = start("--version")
    assert process.stdout.read().startswith(b"git version")
    os.waitpid(process.pid, 0)
    assert process.wait() == 0
