from __future__ import annotations

import hashlib
import os

import pytest

from conveyor.errors import GitError
from conveyor.gitrepo.api import Selector
from tests.unit.gitrepo.repositories import as_listed


@pytest.fixture
def filled(place):
    for path in ("kept", "modified", "deleted", "dir/below"):
        place.write(path, f"{path}\n")
    place.write(".gitignore", "*.log\n")
    place.write("forced.log", "1\n")
    place.git("add", "--force", "forced.log")
    place.commit(GIT_COMMITTER_DATE="@1650000000 +0200")
    return place


def snapshot(place):
    """Everything of the git directory, and when the index was written."""
    files = sorted(path for path in (place.path / ".git").rglob("*") if path.is_file())
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns if path.name == "index" else 0)
        for path in files
    }


def opened(place):
    repo = place.open(dev=True)
    files = {blob.path: (blob.mode, repo.read_file(repo.head, blob.path)) for blob in repo.files(repo.head, Selector(b""))}
    repo.close()
    return repo, files


def test_a_clean_work_tree_is_head(filled):
    os.utime(filled.path / "kept", (1, 1))
    assert filled.open(dev=True).head == filled.head()


def test_tracked_untracked_deleted_staged_and_not_ignored(filled):
    filled.write("modified", "2\n")
    filled.write("forced.log", "2\n")
    filled.write("new/a", "1\n").chmod(0o755)
    (filled.path / "new/link").symlink_to("a")
    filled.write("ignored.log", "1\n")
    filled.write("staged", "1\n")
    filled.git("add", "staged")
    filled.write("staged", "2\n")
    (filled.path / "deleted").unlink()
    filled.write(b"\xff \n", "odd\n")
    repo, files = opened(filled)
    assert files == {
        b".gitignore": (0o100644, b"*.log\n"),
        b"kept": (0o100644, b"kept\n"),
        b"modified": (0o100644, b"2\n"),
        b"forced.log": (0o100644, b"2\n"),
        b"new/a": (0o100755, b"1\n"),
        b"new/link": (0o120000, b"1\n"),  # what read_file follows it to
        b"staged": (0o100644, b"2\n"),
        b"dir/below": (0o100644, b"dir/below\n"),
        b"\xff \n": (0o100644, b"odd\n"),
    }
    assert repo.uncommitted() == ()


def test_nothing_of_the_user_is_written(filled):
    filled.write("modified", "2\n")
    filled.write("new", "1\n")
    filled.git("add", "new")
    status = filled.git("status", "--porcelain")  # which writes the index
    before, names = snapshot(filled), sorted(path.name for path in filled.path.iterdir())
    repo, _ = opened(filled)
    assert snapshot(filled) == before
    assert filled.git("status", "--porcelain") == status
    assert sorted(path.name for path in filled.path.iterdir()) == names
    assert repo.head not in filled.git("rev-list", "--all").decode()


def test_an_unchanged_work_tree_is_one_commit_and_a_changed_one_its_child(filled):
    head = filled.head()
    filled.write("modified", "2\n")
    first = filled.open(dev=True).head
    os.utime(filled.path / "modified", (1, 1))
    assert filled.open(dev=True).head == first
    filled.write("modified", "3\n")
    repo = filled.open(dev=True)
    assert repo.head not in (head, first)
    assert repo.ancestors([head, first], repo.head) == {head, first}
    assert repo.commit_time_s(repo.head) == 1650000000
    assert [blob.path for _, blob in repo.delta(first, repo.head, Selector(b"")).changed] == [b"modified"]
    assert filled.open().exists([first, repo.head]) == frozenset()


def test_two_people_with_one_work_tree_get_one_commit(filled, tmp_path):
    from conveyor.gitrepo.repository import open_repository

    filled.write("modified", "2\n")
    heads = {
        open_repository(str(filled.path), dev=True, home_dir=str(tmp_path / home)).head for home in ("one home", 'b:"\\c\n')
    }
    assert len(heads) == 1


def test_a_home_that_was_emptied_in_part(filled):
    import shutil

    filled.write("modified", "2\n")
    first = filled.open(dev=True).head
    home = filled.path.parent / "repository-home/dev"
    for objects in home.glob("*/objects"):
        shutil.rmtree(objects)
    repo, files = opened(filled)
    assert repo.head == first
    assert files[b"modified"] == (0o100644, b"2\n")


def test_a_home_that_is_relative(filled, tmp_path, monkeypatch):
    from conveyor.gitrepo.repository import open_repository

    filled.write("modified", "2\n")
    monkeypatch.chdir(tmp_path)
    repo = open_repository(str(filled.path), dev=True, home_dir="relative")
    assert repo.read_file(repo.head, b"modified") == b"2\n"


def test_conversions_apply_as_for_git_add(filled):
    filled.write(".gitattributes", "*.txt text\n*.up filter=up\n")
    filled.git("config", "filter.up.clean", "tr a-z A-Z")
    filled.write("a.txt", b"1\r\n2\r\n")
    filled.write("a.up", "shout\n")
    _, files = opened(filled)
    assert files[b"a.txt"] == (0o100644, b"1\n2\n")
    assert files[b"a.up"] == (0o100644, b"SHOUT\n")


def test_no_index_yet(filled):
    (filled.path / ".git/index").unlink()
    (filled.path / "forced.log").unlink()
    _repo, files = opened(filled)
    assert sorted(files) == [b".gitignore", b"deleted", b"dir/below", b"kept", b"modified"]
    assert not (filled.path / ".git/index").exists()


def test_split_index_and_packed_objects_and_alternates(filled, tmp_path):
    filled.git("gc", "--quiet")
    filled.git("clone", "--quiet", "--shared", ".", str(tmp_path / "clone"))
    from tests.unit.gitrepo.repositories import Place

    clone = Place(tmp_path / "clone")
    clone.git("update-index", "--split-index")
    clone.write("modified", "2\n")
    before = snapshot(clone)
    repo = clone.open(dev=True)
    assert as_listed(repo.files(repo.head, Selector(b""))).keys() == clone.listed("HEAD").keys()
    assert snapshot(clone) == before


def test_what_cannot_be_added_is_said(filled):
    filled.git("init", "--quiet", "nested")
    filled.write("nested/a")
    with pytest.raises(GitError, match="nested") as raised:
        filled.open(dev=True)
    assert raised.value.reason == "dev_failed"
    assert not list((filled.path.parent / "repository-home/dev").glob("*/tmp*"))


def test_a_repository_inside_is_taken_at_its_commit(filled):
    from tests.unit.gitrepo.repositories import make_place

    nested = make_place(filled.path / "nested")
    nested.write("a", "1\n")
    nested.commit()
    nested.write("a", "2\n")
    repo, _ = opened(filled)
    assert repo.read_file(repo.head, b"nested/a") == b"1\n"
