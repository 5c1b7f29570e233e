from __future__ import annotations

import subprocess
import threading

import pytest

from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.repository import open_repository
from tests.unit.gitrepo.repositories import Place


@pytest.fixture
def history(place):
    commits = []
    for number in range(5):
        place.write("a", f"{number}\n")
        commits.append(place.commit(f"{number}"))
    return place, commits


def clone(place, target, *arguments):
    subprocess.run(["git", "clone", "--quiet", *arguments, f"file://{place.path}", target], check=True)
    return Place(target)


def test_what_a_shallow_clone_knows(history, tmp_path):
    place, commits = history
    repo = clone(place, tmp_path / "clone", "--depth=2").open()
    assert repo.is_shallow()
    assert repo.exists(commits) == set(commits[3:])
    assert repo.ancestors(commits, repo.head) == set(commits[3:])
    assert repo.first_parents(repo.head, 10) == (commits[4], commits[3])
    assert [blob.path for _, blob in repo.delta(commits[3], commits[4], Selector(b"")).changed] == [b"a"]


def test_deepen(history, tmp_path):
    place, commits = history
    repo = clone(place, tmp_path / "clone", "--depth=1").open()
    assert repo.exists(commits) == {commits[4]}
    assert repo.ancestors(commits, repo.head) == {commits[4]}
    assert repo.first_parents(repo.head, 10) == (commits[4],)
    assert repo.deepen()
    assert not repo.is_shallow()
    assert repo.exists(commits) == set(commits)
    assert repo.ancestors(commits, repo.head) == set(commits)
    assert repo.first_parents(repo.head, 10) == tuple(reversed(commits))
    assert repo.deepen()


def test_a_detached_head_that_no_branch_holds(history, tmp_path):
    """As CI checks it out: one commit fetched by its id."""
    place, commits = history
    place.git("config", "uploadpack.allowAnySHA1InWant", "true")
    target = tmp_path / "clone"
    target.mkdir()
    copy = Place(target)
    copy.git("init", "--quiet")
    copy.git("remote", "add", "origin", f"file://{place.path}")
    copy.git("fetch", "--quiet", "--depth=1", "origin", commits[2])
    copy.git("checkout", "--quiet", "FETCH_HEAD")
    repo = copy.open()
    assert repo.is_shallow()
    assert repo.deepen()
    assert repo.ancestors(commits, repo.head) == set(commits[:3])


def test_an_origin_that_does_not_answer(history, tmp_path):
    place, _ = history
    copy = clone(place, tmp_path / "clone", "--depth=1")
    copy.git("remote", "set-url", "origin", str(tmp_path / "absent"))
    repo = copy.open()
    assert not repo.deepen()
    copy.git("remote", "set-url", "origin", f"file://{place.path}")
    assert not repo.deepen()  # it is tried once
    assert repo.is_shallow()


def test_no_origin(history, tmp_path):
    place, _ = history
    copy = clone(place, tmp_path / "clone", "--depth=1")
    copy.git("remote", "remove", "origin")
    assert not copy.open().deepen()


def test_nobody_is_asked_for_a_password(history, tmp_path, monkeypatch):
    """Git has no terminal to ask at, and no program is started that would."""
    place, _ = history
    copy = clone(place, tmp_path / "clone", "--depth=1")
    seen = tmp_path / "seen"
    program = tmp_path / "ssh"
    program.write_text(
        f'#!/bin/sh\nif (: </dev/tty) 2>/dev/null; then echo tty; fi >{seen}\necho "$GIT_TERMINAL_PROMPT" >>{seen}\nexit 1\n'
    )
    program.chmod(0o755)
    copy.git("config", "core.sshCommand", str(program))  # a setting of the user, as CI writes it, counts
    copy.git("remote", "set-url", "origin", "ssh://nobody@localhost/x")
    assert not copy.open().deepen()
    assert seen.read_text() == "0\n"


def test_two_runs_deepen_one_clone(history, tmp_path):
    place, commits = history
    copy = clone(place, tmp_path / "clone", "--depth=1")
    repos = [open_repository(str(copy.path), home_dir=str(tmp_path / "home")) for _ in range(4)]
    done = []
    threads = [threading.Thread(target=lambda repo=repo: done.append(repo.deepen())) for repo in repos]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [True] * 4
    assert all(repo.exists(commits) == set(commits) for repo in repos)


def test_a_whole_clone_has_nothing_to_fetch(history):
    place, _ = history
    repo = place.open()
    assert not repo.is_shallow()
    assert repo.deepen()


def test_a_partial_clone_fetches_what_it_reads(history, tmp_path):
    place, commits = history
    place.git("config", "uploadpack.allowFilter", "true")
    repo = clone(place, tmp_path / "clone", "--filter=blob:none", "--no-checkout").open()
    assert repo.read_file(commits[0], b"a") == b"0\n"
