from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.gitrepo import history

PARENTS = st.lists(st.lists(st.integers(0, 30), max_size=3, unique=True), min_size=2, max_size=20)


def graph(place, parents, times):
    """Commits; each with those parents among the earlier ones."""
    commits = []
    for number, wanted in enumerate(parents):
        chosen = [commits[index] for index in wanted if index < number]
        files = {b"n": (0o100644, b"%d" % number)}
        commits.append(place.commit_files(files, parents=dict.fromkeys(chosen), time_s=1_600_000_000 + times[number]))
    return commits


def is_ancestor(place, commit, of):
    asked = subprocess.run(["git", "-C", place.path, "merge-base", "--is-ancestor", commit, of])
    assert asked.returncode in (0, 1)
    return asked.returncode == 0


@settings(max_examples=15, deadline=None)
@given(
    parents=PARENTS, times=st.lists(st.integers(-100, 100), min_size=20, max_size=20), walked=st.sampled_from([0, 1, 3, 256])
)
def test_ancestors_are_those_of_git(shared, parents, times, walked):
    commits = graph(shared, parents, times)
    kept, history._WALKED = history._WALKED, walked
    try:
        repo = shared.open()
        for of in commits[-3:]:
            expected = {commit for commit in commits if is_ancestor(shared, commit, of)}
            assert repo.ancestors(commits[:2], of) == expected & set(commits[:2])
            assert repo.ancestors([*commits, "0" * 40], of) == expected
            assert repo.ancestors(commits, of) == expected
        line = repo.first_parents(commits[-1], 5)
        assert list(line) == shared.git("rev-list", "--first-parent", "-6", commits[-1]).decode().split()
        repo.close()
    finally:
        history._WALKED = kept


def test_a_far_ancestor_and_a_commit_of_another_history(place):
    line = [place.commit_files({b"n": (0o100644, b"0")})]
    feed = b""
    for number in range(400):
        feed += b"commit refs/heads/main\ncommitter a <a@b> %d +0000\ndata 0\n" % (1_600_000_001 + number)
        feed += b"from %s\n\n" % line[0].encode() if not number else b"\n"
    place.git("fast-import", "--quiet", "--date-format=raw", feed=feed)
    head = place.head("main")
    other = place.git("commit-tree", "-m", "other", f"{head}^{{tree}}").decode().strip()
    repo = place.open()
    assert repo.ancestors([line[0], other], head) == {line[0]}
    assert repo.ancestors([other], head) == frozenset()
    assert len(repo.first_parents(head, 1000)) == 401
    assert len(repo.first_parents(head, 200)) == 201
    assert repo.first_parents(line[0], 200) == (line[0],)


@pytest.fixture
def walks_little(monkeypatch):
    monkeypatch.setattr(history, "_WALKED", 1)


def test_an_ancestor_behind_a_commit_with_a_time_before_its_own(place, walks_little):
    """rev-list goes by the times of commits, and takes such an ancestor for one of another history."""
    root = place.commit_files({b"n": (0o100644, b"0")})
    ancestor = place.commit_files({b"n": (0o100644, b"1")}, parents=[root], time_s=1_700_000_000)
    tip = ancestor
    for number in range(10):
        tip = place.commit_files({b"n": (0o100644, b"old %d" % number)}, parents=[tip], time_s=1_000 - number)
    other = place.commit_files({b"n": (0o100644, b"other")}, parents=[root], time_s=1_700_000_001)
    listed = place.git("rev-list", ancestor, f"^{tip}").decode().split()
    assert ancestor in listed, "this git is not misled: the test shows nothing"
    repo = place.open()
    assert repo.ancestors([ancestor, other, root], tip) == {ancestor, root}


@pytest.mark.parametrize("count", [3, 40])
def test_many_commits_of_other_histories(place, walks_little, count):
    root = place.commit_files({b"n": (0o100644, b"0")})
    line = [root]
    for number in range(5):
        line.append(place.commit_files({b"n": (0o100644, b"line %d" % number)}, parents=[line[-1]]))
    others = [place.commit_files({b"n": (0o100644, b"%d" % number)}, parents=[root]) for number in range(count)]
    repo = place.open()
    assert repo.ancestors([*line, *others], line[-1]) == set(line)


def test_a_foreign_commit_whose_own_history_is_lost(place, walks_little):
    line = [place.commit_files({b"n": (0o100644, b"0")})]
    for number in range(5):
        line.append(place.commit_files({b"n": (0o100644, b"%d" % number)}, parents=[line[-1]]))
    lost = place.git("commit-tree", "-m", "lost", f"{line[0]}^{{tree}}").decode().strip()
    foreign = place.git("commit-tree", "-m", "x", "-p", lost, f"{line[0]}^{{tree}}").decode().strip()
    (place.path / ".git/objects" / lost[:2] / lost[2:]).unlink()
    repo = place.open()
    assert repo.ancestors([line[0], line[1], foreign, lost], line[-1]) == {line[0], line[1]}


def test_only_commits_exist(place):
    place.write("a/b")
    commit = place.commit()
    place.git("tag", "-a", "-m", "x", "v1")
    others = [
        place.head("HEAD^{tree}"),
        place.head("HEAD:a/b"),
        place.head("refs/tags/v1"),
        commit[:12],
        commit.upper(),
        "HEAD",
        "main",
        "",
        " ",
        f"{commit}\n",
        f"{commit} x",
        f"{commit}^{{commit}}",
        "0" * 40,
        "0" * 64,
        "é" * 40,
    ]
    repo = place.open()
    assert repo.exists([commit, *others]) == {commit}
    assert repo.exists([]) == frozenset()
    assert repo.ancestors([commit, *others], commit) == {commit}


def test_a_commit_of_odd_shape(place):
    tree = place.git("mktree", feed=b"").decode().strip()
    raw = (
        b"tree %s\nauthor A > B <a@b> 5 +0100\ncommitter A <weird> <a@b> 1234567890 -0800\n"
        b"gpgsig -----BEGIN\n tree 0000\n committer x <y> 1 +0000\n\ntree of a message\ncommitter z <z> 9 +0000\n"
    ) % tree.encode()
    commit = place.git("hash-object", "-t", "commit", "-w", "--stdin", "--literally", feed=raw).decode().strip()
    place.git("update-ref", "refs/heads/main", commit)
    repo = place.open()
    assert repo.commit_time_s(commit) == 1234567890 == int(place.git("log", "-1", "--format=%ct"))
    assert repo.first_parents(commit, 3) == (commit,)
