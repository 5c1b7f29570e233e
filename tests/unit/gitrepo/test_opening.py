"""What is asked of a directory before anybody knows where its repository is."""

import os
from contextlib import closing

import pytest

from conveyor.errors import GitError
from conveyor.gitrepo.opening import begin
from conveyor.gitrepo.repository import open_repository


@pytest.fixture
def filled(place):
    place.write("a/b", "1\n")
    place.write("c", "1\n")
    place.commit()
    place.write("c", "2\n")
    place.write("a/new")
    return place


def changes(directory, home, **how):
    with closing(open_repository(str(directory), asks_status=True, home_dir=str(home), **how)) as repo:
        return [(change.path, change.kind) for change in repo.uncommitted()]


@pytest.mark.parametrize("directory", [".", "a"])
def test_changes_are_those_of_the_whole_work_tree_wherever_one_asks(filled, tmp_path, directory):
    expected = [(b"c", "modified"), (b"a/new", "untracked")]
    assert changes(filled.path / directory, tmp_path) == expected
    opening = begin(str(filled.path / directory), asks_status=True)
    assert changes(filled.path / directory, tmp_path, opening=opening) == expected


def test_a_repository_that_a_variable_names_is_asked_again(filled, tmp_path, monkeypatch):
    (filled.path / ".git").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_WORK_TREE", str(filled.path))
    assert changes(filled.path, tmp_path) == [(b"c", "modified"), (b"a/new", "untracked")]


def test_the_index_of_a_hook_is_not_looked_at(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "none"))
    assert changes(filled.path, tmp_path) == [(b"c", "modified"), (b"a/new", "untracked")]


def test_where_there_is_no_repository_nothing_runs_on(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    opening = begin(str(tmp_path), asks_status=True)
    started = [asked._process.pid for asked in (opening.place, opening.status)]
    with pytest.raises(GitError) as caught:
        open_repository(str(tmp_path), home_dir=str(tmp_path), opening=opening)
    assert caught.value.reason == "not_a_repository"
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_nobody_looks_at_a_work_tree_that_nobody_asks_about(filled):
    with closing(begin(str(filled.path), asks_status=False)) as opening:
        assert opening.status is None
