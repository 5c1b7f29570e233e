from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from conveyor.errors import GitError
from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.repository import open_repository
from tests.unit.gitrepo.repositories import Place, make_place


def refused(directory, home="home"):
    with pytest.raises(GitError) as raised:
        open_repository(str(directory), home_dir=str(home))
    return raised.value


def test_the_root_from_a_directory_below(place):
    place.write("a/b/c", "1\n")
    commit = place.commit()
    repo = place.open(directory="a/b")
    assert repo.root == os.fsencode(place.path)
    assert repo.git_dir == os.fsencode(place.path / ".git")
    assert repo.head == commit
    assert not repo.is_shallow()


def test_a_detached_head(place):
    place.write("a", "1\n")
    first = place.commit()
    place.write("a", "2\n")
    place.commit()
    place.git("checkout", "--quiet", "--detach", first)
    assert place.open().head == first


def test_a_linked_work_tree(place, tmp_path):
    place.write("a", "1\n")
    place.commit()
    place.git("worktree", "add", "--quiet", "-b", "other", str(tmp_path / "linked"))
    linked = Place(tmp_path / "linked")
    linked.write("a", "2\n")
    commit = linked.commit()
    linked.write("new", "3\n")
    repo = linked.open()
    assert repo.root == os.fsencode(tmp_path / "linked")
    assert repo.git_dir == os.fsencode(place.path / ".git")
    assert repo.head == commit
    assert [change.path for change in repo.uncommitted()] == [b"new"]
    dev = linked.open(dev=True)
    assert dev.read_file(dev.head, b"new") == b"3\n"
    assert dev.first_parents(dev.head, 1)[1] == commit


def test_paths_with_odd_characters(tmp_path):
    place = make_place(tmp_path / 'a b\n"c"\'d:é\\')
    place.write("x/y", "1\n")
    place.commit()
    place.write("x/y", "2\n")
    for directory in ("", "x"):
        repo = place.open(directory=directory)
        assert repo.root == os.fsencode(place.path)
        assert [change.path for change in repo.uncommitted()] == [b"x/y"]
    dev = place.open(dev=True)
    assert dev.read_file(dev.head, b"x/y") == b"2\n"


def test_no_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert refused(tmp_path).reason == "not_a_repository"


def test_no_commits(place):
    error = refused(place.path)
    assert error.reason == "no_commits"
    assert error.exit_status == 2
    assert "git commit" in error.hint


def test_a_head_that_points_to_nothing(place):
    place.write("a")
    place.commit()
    (place.path / ".git/HEAD").write_text("0123456789012345678901234567890123456789\n")
    assert refused(place.path).reason in ("no_commits", "git_failed")


def test_a_bare_repository_and_the_inside_of_a_git_directory(place, tmp_path):
    place.write("a")
    place.commit()
    place.git("clone", "--quiet", "--bare", ".", str(tmp_path / "bare"))
    assert refused(tmp_path / "bare").reason == "bare"
    assert refused(place.path / ".git").reason == "bare"
    assert "inside of a git directory" in str(refused(place.path / ".git"))


def test_a_repository_of_another_user(place, monkeypatch):
    place.write("a")
    place.commit()
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    error = refused(place.path)
    assert error.reason == "safe_directory"
    assert error.hint == f"git config --global --add safe.directory {place.path}"


def test_git_is_not_installed(place, monkeypatch, tmp_path):
    place.write("a")
    place.commit()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert refused(place.path).reason == "git_missing"


def test_git_is_too_old(place, monkeypatch, tmp_path):
    place.write("a")
    place.commit()
    real = shutil.which("git")
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/git"
    # An old git repeats options that it does not know.
    program.write_text(
        "#!/bin/sh\n"
        f'for word; do [ "$word" = --version ] && echo "git version 1.8.3.1" && exit; done\n'
        f"{real} \"$@\" | sed 's/^false$/--is-shallow-repository/;1s/.*/false/'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    error = refused(place.path)
    assert error.reason == "git_too_old"
    assert "1.8.3.1" in str(error)


@pytest.mark.parametrize("variables", [{"GIT_DIR": ".git"}, {"GIT_DIR": ".git", "GIT_INDEX_FILE": ".git/index"}])
def test_inside_of_a_hook_of_the_repository(place, monkeypatch, variables):
    place.write("a/b", "1\n")
    commit = place.commit()
    place.write("new")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place.path)
    repo = place.open(directory="a")
    assert repo.root == os.fsencode(place.path)
    assert repo.head == commit
    assert [change.path for change in repo.uncommitted()] == [b"new"]


def test_inside_of_a_hook_of_another_repository(place, tmp_path, monkeypatch):
    place.write("a", "1\n")
    commit = place.commit()
    other = make_place(tmp_path / "other")
    other.write("b")
    other.commit()
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))
    assert place.open().head == commit


def test_a_git_directory_that_stands_elsewhere(place, tmp_path, monkeypatch):
    place.write("a", "1\n")
    commit = place.commit()
    (place.path / ".git").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert refused(place.path).reason == "not_a_repository"
    monkeypatch.setenv("GIT_DIR", "elsewhere")
    monkeypatch.setenv("GIT_WORK_TREE", str(place.path))
    place.write("new")
    repo = place.open()
    assert repo.head == commit
    assert repo.root == os.fsencode(place.path)
    assert repo.git_dir == os.fsencode(tmp_path / "elsewhere")
    assert repo.matches(commit, Selector(b"a"))
    assert [change.path for change in repo.uncommitted()] == [b"new"]


def test_a_real_hook_sees_the_repository(place, tmp_path):
    """`git commit -a` runs it with an index of its own and variables that lead to it."""
    place.write("a", "1\n")
    commit = place.commit()
    code = (
        "from conveyor.gitrepo.repository import open_repository as o; "
        f"r = o({str(place.path)!r}, home_dir={str(tmp_path / 'home')!r}); "
        f"open({str(tmp_path / 'said')!r}, 'w').write(r.head + ' ' + str(len(r.uncommitted())))"
    )
    hook = place.path / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\n{sys.executable} -c "{code}"\n')
    hook.chmod(0o755)
    place.write("a", "2\n")
    place.git("commit", "--quiet", "--all", "-m", "x", PYTHONPATH=str(Path(__file__).parents[3]))
    assert (tmp_path / "said").read_text() == f"{commit} 1"
