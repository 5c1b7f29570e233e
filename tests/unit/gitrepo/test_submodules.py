from __future__ import annotations

import shutil

import pytest

from conveyor.errors import GitError
from conveyor.gitrepo.api import Selector
from tests.unit.gitrepo.repositories import Place, make_place

LOCAL = ("-c", "protocol.file.allow=always")


@pytest.fixture
def inner(tmp_path):
    """What is used as a submodule; it has a submodule itself."""
    deepest = make_place(tmp_path / "deepest")
    deepest.write("d", "deepest\n")
    deepest.commit()
    inner = make_place(tmp_path / "inner")
    inner.write("a", "1\n")
    inner.write("dir/b", "1\n")
    inner.git(*LOCAL, "submodule", "--quiet", "add", "--name", "deep name", str(deepest.path), "deep est")
    inner.commit()
    return inner


@pytest.fixture
def outer(place, inner):
    """A repository with the submodule `libs/sub`, whose name is another."""
    place.write("own", "1\n")
    place.git(*LOCAL, "submodule", "--quiet", "add", "--name", "the name", str(inner.path), "libs/sub")
    place.git(*LOCAL, "submodule", "--quiet", "update", "--init", "--recursive")
    place.commit()
    return place


def contents(repo, commit, selector):
    found = {}
    for blob in repo.files(commit, selector):
        with repo.open(blob) as content:
            found[blob.path] = content.read()
    return found


ALL = {
    b"libs/sub/a": b"1\n",
    b"libs/sub/dir/b": b"1\n",
    b"libs/sub/deep est/d": b"deepest\n",
    b"own": b"1\n",
}


def without_settings(files):
    return {path: content for path, content in files.items() if not path.endswith(b".gitmodules")}


def test_they_are_walked_like_directories(outer):
    repo = outer.open()
    assert without_settings(contents(repo, repo.head, Selector(b""))) == ALL
    assert contents(repo, repo.head, Selector(b"libs/sub", ("dir", "deep est"))) == {
        b"dir/b": b"1\n",
        b"deep est/d": b"deepest\n",
    }
    assert contents(repo, repo.head, Selector(b"libs/sub/deep est/d")) == {b"": b"deepest\n"}
    assert repo.read_file(repo.head, b"libs/sub/dir/b") == b"1\n"
    assert repo.is_file(repo.head, b"libs/sub/a")
    blobs = repo.files(repo.head, Selector(b""))
    assert {blob.store for blob in blobs} == {"", "libs/sub", "libs/sub/deep est"}
    several = blobs * 20
    ahead = repo.contents(several)
    sizes = repo.sizes(several)
    for number, blob in enumerate(several):
        with ahead.open(number) as content, repo.open(blob) as alone:
            read = content.read()
            assert read == alone.read()
            assert len(read) == sizes[number]
    ahead.close()
    repo.close()


def test_a_digest_is_that_of_the_files_wherever_they_are_kept(outer):
    with_submodule = outer.head()
    repo = outer.open()
    digests = {
        globs: repo.tree_digest(with_submodule, Selector(b"libs", globs)) for globs in ((), ("**/b",), ("sub/deep est",))
    }
    files = contents(repo, with_submodule, Selector(b"libs"))
    plain = outer.commit_files({b"libs/" + path: (0o100644, content) for path, content in files.items()})
    repo = outer.open()
    assert digests == {globs: repo.tree_digest(plain, Selector(b"libs", globs)) for globs in digests}
    assert len(set(digests.values())) == 3
    assert not repo.delta(with_submodule, plain, Selector(b"libs"))
    assert not repo.delta(plain, with_submodule, Selector(b"libs"))


def update(outer, inner, path, content):
    """A new commit of the submodule, and one of the repository that has it."""
    inner.write(path, content)
    inner.commit()
    checkout = Place(outer.path / "libs/sub")
    checkout.git(*LOCAL, "pull", "--quiet", "origin", "main")
    return outer.commit()


def test_a_delta_is_that_of_the_files(outer, inner):
    old = outer.head()
    new = update(outer, inner, "a", "2\n")
    repo = outer.open()
    delta = repo.delta(old, new, Selector(b""))
    assert [(was and was.path, now.path, now.store) for was, now in delta.changed] == [(b"libs/sub/a",) * 2 + ("libs/sub",)]
    assert repo.tree_digest(old, Selector(b"", ("libs/sub/dir",))) == repo.tree_digest(new, Selector(b"", ("libs/sub/dir",)))
    assert repo.tree_digest(old, Selector(b"")) != repo.tree_digest(new, Selector(b""))
    with repo.open(delta.changed[0][1]) as content:
        assert content.read() == b"2\n"


def test_a_commit_of_the_submodule_without_a_change_of_files_changes_nothing(outer, inner):
    old = outer.head()
    inner.git("commit", "--quiet", "--allow-empty", "-m", "empty")
    Place(outer.path / "libs/sub").git(*LOCAL, "pull", "--quiet", "origin", "main")
    new = outer.commit()
    repo = outer.open()
    assert old != new
    assert not repo.delta(old, new, Selector(b""))
    assert repo.tree_digest(old, Selector(b"")) == repo.tree_digest(new, Selector(b""))


def clone(outer, tmp_path, *arguments):
    target = tmp_path / "clone"
    outer.git(*LOCAL, "clone", "--quiet", *arguments, ".", str(target))
    return Place(target)


def test_one_that_is_not_initialised_is_an_error_where_it_is_selected(outer, tmp_path):
    repo = clone(outer, tmp_path).open()
    head = repo.head
    for ask in (repo.files, repo.tree_digest, repo.matches):
        with pytest.raises(GitError) as raised:
            ask(head, Selector(b"libs"))
        assert raised.value.reason == "submodule_not_initialised"
        assert "git submodule update --init --recursive -- libs/sub" in raised.value.hint
    narrow = Selector(b"", ("own",))
    assert contents(repo, head, narrow) == {b"own": b"1\n"}
    assert repo.matches(head, narrow)
    assert repo.tree_digest(head, narrow)
    assert repo.lfs_files(head, narrow) == ()
    assert repo.matches(head, Selector(b"", (), ("libs",)))
    assert repo.tree_digest(head, Selector(b"", (), ("libs",)))
    assert not repo.delta(head, head, Selector(b""))


def test_an_inner_one_that_is_not_initialised(outer, tmp_path):
    copy = clone(outer, tmp_path)
    copy.git(*LOCAL, "submodule", "--quiet", "update", "--init")
    repo = copy.open()
    with pytest.raises(GitError) as raised:
        repo.files(repo.head, Selector(b""))
    assert "git -C libs/sub submodule update --init --recursive -- 'deep est'" in raised.value.hint
    assert contents(repo, repo.head, Selector(b"libs/sub", ("a", "dir")))


def test_a_commit_that_was_not_fetched(outer, inner):
    inner.write("a", "2\n")
    missing = inner.commit()
    outer.git("update-index", "--cacheinfo", f"160000,{missing},libs/sub")
    outer.git("commit", "--quiet", "-m", "x")
    repo = outer.open()
    with pytest.raises(GitError, match=missing) as raised:
        repo.files(repo.head, Selector(b""))
    assert raised.value.reason == "submodule_commit_missing"
    assert f"git -C libs/sub fetch origin {missing}" in raised.value.hint


def test_one_that_was_removed_from_the_work_tree_is_found_below_modules(outer):
    shutil.rmtree(outer.path / "libs")
    repo = outer.open()
    assert without_settings(contents(repo, repo.head, Selector(b""))) == ALL


def test_one_with_a_git_directory_of_its_own(place, inner):
    place.git(*LOCAL, "clone", "--quiet", str(inner.path), "old style")
    place.git(*LOCAL, "submodule", "--quiet", "add", str(inner.path), "old style")
    assert (place.path / "old style/.git").is_dir()
    place.commit()
    repo = place.open()
    assert contents(repo, repo.head, Selector(b"old style", ("a",))) == {b"a": b"1\n"}


def test_in_a_linked_work_tree(outer, tmp_path):
    outer.git("worktree", "add", "--quiet", "--detach", str(tmp_path / "linked"))
    linked = Place(tmp_path / "linked")
    repo = linked.open()  # its own submodules are not there, those of the main work tree are
    assert without_settings(contents(repo, repo.head, Selector(b""))) == ALL
    linked.git(*LOCAL, "submodule", "--quiet", "update", "--init", "--recursive")
    shutil.rmtree(outer.path / ".git/modules")
    repo = linked.open()
    assert without_settings(contents(repo, repo.head, Selector(b""))) == ALL


def test_another_submodule_at_the_same_place(outer, tmp_path):
    old = outer.head()
    other = make_place(tmp_path / "other")
    other.write("a", "other\n")
    other.commit()
    outer.git("rm", "--quiet", "libs/sub")
    outer.git(*LOCAL, "submodule", "--quiet", "add", "--name", "another", str(other.path), "libs/sub")
    new = outer.commit()
    repo = outer.open()
    both = repo.files(old, Selector(b"libs/sub", ("a",))) + repo.files(new, Selector(b"libs/sub", ("a",)))
    assert len({blob.store for blob in both}) == 2
    found = []
    for blob in both:
        with repo.open(blob) as content:
            found.append(content.read())
    assert found == [b"1\n", b"other\n"]


def test_one_that_gitmodules_does_not_name(place, inner):
    commit = place.commit_files({b"a": (0o100644, b"1"), b"sub": (0o160000, inner.head().encode())})
    repo = place.open()
    with pytest.raises(GitError) as raised:
        repo.files(commit, Selector(b""))
    assert raised.value.reason == "submodule_not_initialised"
    assert "git rm --cached -- sub" in raised.value.hint
    assert contents(repo, commit, Selector(b"", ("a",))) == {b"a": b"1"}


@pytest.mark.parametrize("name", ["../../../evil", "/evil", "a/../../b"])
def test_a_name_does_not_lead_out_of_the_git_directory(place, inner, tmp_path, name):
    for target in ("evil", "a", "b"):
        shutil.copytree(inner.path / ".git", tmp_path / target)
    (place.path / ".git/modules/a").mkdir(parents=True)
    text = f'[submodule "{name}"]\n\tpath = sub\n\turl = x\n'.encode()
    commit = place.commit_files({b".gitmodules": (0o100644, text), b"sub": (0o160000, inner.head().encode())})
    with pytest.raises(GitError) as raised:
        place.open().files(commit, Selector(b"sub"))
    assert raised.value.reason == "submodule_not_initialised"


@pytest.mark.parametrize("text", [b"[submodule", b"", b'[submodule "x"]\n\tpath\n', b"\xff\0"])
def test_settings_that_cannot_be_read(place, inner, text):
    files = {b".gitmodules": (0o100644, text), b"a": (0o100644, b"1"), b"sub": (0o160000, inner.head().encode())}
    commit = place.commit_files(files)
    repo = place.open()
    with pytest.raises(GitError):
        repo.files(commit, Selector(b"sub"))
    assert repo.files(commit, Selector(b"a"))


def test_status_of_submodules(outer):
    outer.git("config", "submodule.the name.ignore", "all")
    checkout = Place(outer.path / "libs/sub")
    repo = outer.open()
    assert repo.uncommitted() == ()
    checkout.write("untracked")
    change = outer.open().uncommitted()
    assert [(item.path, item.kind) for item in change] == [(b"libs/sub", "submodule")]
    (checkout.path / "untracked").unlink()
    checkout.write("a", "2\n")
    checkout.commit()
    assert [(item.path, item.kind) for item in outer.open().uncommitted()] == [(b"libs/sub", "submodule")]


def test_the_work_tree_has_a_submodule_as_it_is_committed(outer):
    checkout = Place(outer.path / "libs/sub")
    checkout.write("a", "2\n")
    checkout.commit()
    checkout.write("a", "3\n")
    repo = outer.open(dev=True)
    assert repo.read_file(repo.head, b"libs/sub/a") == b"2\n"


def test_lfs_in_a_submodule(outer, inner):
    head = update(outer, inner, ".gitattributes", "dir/* filter=lfs\n")
    repo = outer.open()
    assert repo.lfs_files(head, Selector(b"")) == (b"libs/sub/dir/b",)
    assert repo.lfs_files(head, Selector(b"libs/sub/dir")) == (b"libs/sub/dir/b",)
