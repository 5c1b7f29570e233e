from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import parse_address
from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.remote_source import RemoteSource
from conveyor.gitrepo.remotes import FetchedRemotes
from conveyor.gitrepo.repository import open_repository
from tests.unit.gitrepo.repositories import Place, make_place
from tests.unit.gitrepo.test_submodules import LOCAL, contents, without_settings

EVERYTHING = Selector(b"")
FILES = {
    b"libs/sub/a": b"1\n",
    b"libs/sub/deeper/d": b"deepest\n",
    b"own": b"1\n",
}


@pytest.fixture(autouse=True)
def allow_paths(monkeypatch):
    """Submodules may be at paths of this machine, as a user may say."""
    for name, value in {"COUNT": "1", "KEY_0": "protocol.file.allow", "VALUE_0": "always"}.items():
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)


@pytest.fixture
def served(tmp_path) -> Place:
    """A repository with a submodule that has one, all of them by relative addresses, in one directory."""
    deepest = make_place(tmp_path / "served" / "deepest")
    deepest.write("d", "deepest\n")
    deepest.commit()
    inner = make_place(tmp_path / "served" / "inner")
    inner.write("a", "1\n")
    add(inner, "../deepest", "deeper", deepest.head())
    outer = make_place(tmp_path / "served" / "outer")
    outer.write("own", "1\n")
    add(outer, "../inner", "libs/sub", inner.head())
    return outer


def add(place: Place, url: str, path: str, commit: str) -> str:
    """Commit a submodule that is not fetched."""
    place.write(".gitmodules", f'[submodule "its name"]\n\tpath = {path}\n\turl = {url}\n')
    place.git("add", "--all")
    place.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    place.git("commit", "--quiet", "-m", "with a submodule")
    return place.head()


@pytest.fixture
def open_clone(served, tmp_path):
    """Opens a clone of the repository in which no submodule is initialised."""
    place = Place(tmp_path / "clone")
    served.git("clone", "--quiet", f"file://{served.path}", str(place.path))
    opened = []

    def open_it(home: str = "home"):
        clones = Clones(str(tmp_path / home))
        repo = open_repository(str(place.path), home_dir=str(tmp_path / home), clones=clones)
        opened.extend((repo, clones))
        return repo

    open_it.place = place  # type: ignore[attr-defined]
    yield open_it
    for item in opened:
        item.close()


def test_what_is_not_initialised_is_fetched(open_clone):
    repo = open_clone()
    assert without_settings(contents(repo, repo.head, EVERYTHING)) == FILES
    assert not (open_clone.place.path / "libs/sub/a").exists()
    assert open_clone.place.git("status", "--porcelain") == b""


def test_only_what_is_selected_is_fetched(open_clone, tmp_path):
    repo = open_clone()
    assert contents(repo, repo.head, Selector(b"", (), ("libs",)))
    assert not (tmp_path / "home" / "clones").exists()
    assert contents(repo, repo.head, Selector(b"libs/sub", ("a",))) == {b"a": b"1\n"}
    assert len(list((tmp_path / "home" / "clones").iterdir())) == 1


def test_what_was_fetched_needs_no_server(open_clone, served):
    repo = open_clone()
    before = contents(repo, repo.head, EVERYTHING)
    shutil.rmtree(served.path.parent)
    assert contents(open_clone(), repo.head, EVERYTHING) == before


def test_a_commit_that_the_checkout_has_not_is_fetched_too(open_clone, served):
    place = open_clone.place
    place.git(*LOCAL, "submodule", "--quiet", "update", "--init", "--recursive")
    inner = Place(served.path.parent / "inner")
    inner.write("a", "2\n")
    inner.git("commit", "--quiet", "-am", "x")
    place.git("update-index", "--cacheinfo", f"160000,{inner.head()},libs/sub")
    place.git("commit", "--quiet", "-m", "x")
    repo = open_clone()
    assert contents(repo, repo.head, Selector(b"libs/sub/a")) == {b"": b"2\n"}
    delta = repo.delta(place.head("HEAD~1"), repo.head, EVERYTHING)
    assert [new.path for _, new in delta.changed] == [b"libs/sub/a"]


def test_a_users_own_address_comes_before_that_of_the_commit(open_clone, served):
    place = open_clone.place
    moved = served.path.parent / "moved"
    (served.path.parent / "inner").rename(moved)
    place.git("config", "submodule.its name.url", str(moved))
    repo = open_clone()
    assert contents(repo, repo.head, Selector(b"libs/sub/a")) == {b"": b"1\n"}


def test_one_that_cannot_be_fetched_is_an_error_with_the_cause(open_clone, served):
    shutil.rmtree(served.path.parent / "inner")
    repo = open_clone()
    with pytest.raises(GitError) as raised:
        repo.files(repo.head, EVERYTHING)
    assert raised.value.reason == "submodule_not_initialised"
    assert "the submodule libs/sub is not initialised" in str(raised.value)
    assert f"file://{served.path.parent}/inner" in str(raised.value)
    assert "does not appear to be a git repository" in str(raised.value)
    assert "git submodule update --init" in raised.value.hint


def test_paths_of_this_machine_are_not_fetched_from_unless_the_user_says_so(open_clone, monkeypatch):
    monkeypatch.delenv("GIT_CONFIG_COUNT")
    repo = open_clone()
    with pytest.raises(GitError, match="transport 'file' not allowed"):
        repo.files(repo.head, EVERYTHING)


def test_submodules_of_another_repository(served, tmp_path):
    clones = Clones(str(tmp_path / "home"))
    remotes = FetchedRemotes(clones, "/")
    repo = remotes.open(RemoteSource(parse_address(f"file://{served.path}"), "commit", served.head()))
    assert without_settings(contents(repo, repo.head, EVERYTHING)) == FILES
    remotes.close()
    clones.close()


def test_whether_two_commits_can_be_compared(open_clone, served):
    """A submodule's commit that is nowhere any more stands in the way only where it is needed."""
    place = open_clone.place
    place.git("update-index", "--cacheinfo", f"160000,{'1' * 40},libs/sub")
    place.git("commit", "--quiet", "-m", "a commit that nobody has")
    lost = place.head()
    place.git("update-index", "--cacheinfo", f"160000,{Place(served.path.parent / 'inner').head()},libs/sub")
    place.write("own", "2\n")
    place.git("commit", "--quiet", "-am", "mended")
    repo = open_clone()
    assert not repo.can_compare(lost, repo.head, EVERYTHING)
    assert repo.can_compare(lost, repo.head, Selector(b"", (), ("libs",)))
    assert repo.can_compare(lost, lost, EVERYTHING)
    assert repo.can_compare(place.head("HEAD~2"), repo.head, EVERYTHING)


def test_a_home_that_cannot_be_written_to(open_clone, tmp_path):
    (tmp_path / "home").write_text("no directory")
    repo = open_clone()
    with pytest.raises(GitError):
        repo.files(repo.head, EVERYTHING)
    assert Path(tmp_path / "home").is_file()
