"""Checkouts of pull requests as CI systems leave them, and merges that only look like one."""

from __future__ import annotations

import pytest

from conveyor.gitrepo.repository import open_repository
from tests.unit.gitrepo.repositories import make_place


@pytest.fixture
def origin(place):
    """A server's repository: `main` and `feature` have changed different files since they parted."""
    place.write("a/one")
    place.write("b/two")
    place.commit("base")
    place.git("checkout", "-q", "-b", "feature")
    place.write("a/one", "feature\n")
    place.commit("feature")
    place.git("checkout", "-q", "main")
    place.write("b/two", "main\n")
    place.commit("main")
    return place


def merge(origin, ref, *parents, message="Merge", tree=""):
    """A merge as a server makes it, under a ref of its own."""
    tips = [origin.head(parent) for parent in parents]
    tree = tree or origin.git("merge-tree", "--write-tree", *tips).decode().split()[0]
    arguments = [argument for tip in tips for argument in ("-p", tip)]
    commit = origin.git("commit-tree", *arguments, "-m", message, tree).decode().strip()
    origin.git("update-ref", ref, commit)
    return commit


def hide_feature(origin):
    """The head of the pull request is in a fork: the server has it below refs/pull only."""
    origin.git("update-ref", "refs/pull/1/head", "feature")
    origin.git("branch", "-q", "-D", "feature")


def checkout_of_github(origin, path, commit, ref, *, depth):
    """What actions/checkout leaves."""
    clone = make_place(path)
    clone.git("remote", "add", "origin", f"file://{origin.path}")
    quiet = ("fetch", "--quiet", "--prune", "--no-recurse-submodules")
    own = [] if ref.startswith(("refs/tags/", "refs/heads/")) and not depth else [f"+{commit}:{ref}"]
    if depth:
        clone.git(*quiet, "--no-tags", f"--depth={depth}", "origin", *own)
    else:
        heads = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
        clone.git(*quiet, "origin", *heads, *own)
    clone.git("checkout", "--quiet", "--force", ref)
    return clone


def checkout_of_gitlab(origin, path, commit, *, depth, more=()):
    """What GitLab's runner leaves: a ref of the pipeline, and branches where it has the whole history."""
    origin.git("update-ref", "refs/pipelines/77", commit)
    clone = make_place(path)
    clone.git("remote", "add", "origin", f"file://{origin.path}")
    specs = ["+refs/pipelines/77:refs/pipelines/77", *more]
    if not depth:
        specs += ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
    limit = [f"--depth={depth}"] if depth else []
    clone.git("fetch", "--quiet", "--no-recurse-submodules", "--prune", *limit, "origin", *specs)
    clone.git("checkout", "--quiet", "--force", commit)
    return clone


def recorded(clone, *, virtual_merge=False):
    """What a stage made there would record, after the history was fetched as a build does it."""
    repo = open_repository(str(clone.path), virtual_merge=virtual_merge, home_dir=f"{clone.path}-home")
    try:
        assert not repo.is_shallow() or repo.deepen()
        return repo.head_commits
    finally:
        repo.close()


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("is_fork", [False, True])
def test_a_pull_request_at_github(origin, tmp_path, depth, is_fork):
    parents = (origin.head("main"), origin.head("feature"))
    commit = merge(origin, "refs/pull/1/merge", *parents)
    if is_fork:
        hide_feature(origin)
    clone = checkout_of_github(origin, tmp_path / "clone", commit, "refs/remotes/pull/1/merge", depth=depth)
    assert recorded(clone) == parents


@pytest.mark.parametrize("depth", [0, 20, 1])
@pytest.mark.parametrize("is_fork", [False, True])
@pytest.mark.parametrize("ref", ["refs/merge-requests/1/merge", "refs/merge-requests/1/train"])
def test_merged_results_at_gitlab(origin, tmp_path, depth, is_fork, ref):
    parents = (origin.head("main"), origin.head("feature"))
    commit = merge(origin, ref, *parents)
    if is_fork:
        hide_feature(origin)
    clone = checkout_of_gitlab(origin, tmp_path / "clone", commit, depth=depth, more=[f"+{ref}:{ref}"])
    assert recorded(clone) == parents


@pytest.mark.parametrize(
    "ref",
    [
        "refs/remotes/origin/pull/1/merge",
        "refs/remotes/origin/merge-requests/1/merge",
        "refs/remotes/origin/merge-requests/1/train",
        "refs/remotes/origin/pull-requests/1/merge",
        "refs/pull/1/merge",
    ],
)
def test_refs_of_merges_are_no_branches_wherever_they_were_fetched_to(origin, tmp_path, ref):
    parents = (origin.head("main"), origin.head("feature"))
    commit = merge(origin, "refs/pull/1/merge", *parents)
    clone = checkout_of_github(origin, tmp_path / "clone", commit, ref, depth=0)
    assert recorded(clone) == parents


@pytest.mark.parametrize("name", ["pull/merge", "pull-request/1/merge", "pull/1/merged", "merge-requests/x/merge"])
def test_branches_may_have_names_like_those(origin, tmp_path, name):
    commit = merge(origin, f"refs/heads/{name}", "main", "feature")
    clone = checkout_of_github(origin, tmp_path / "clone", commit, f"refs/remotes/origin/{name}", depth=1)
    assert recorded(clone) == (commit,)


def test_a_base_that_has_moved_on(origin, tmp_path):
    """The merge is of an older base; its parents are what it was made of."""
    parents = (origin.head("main"), origin.head("feature"))
    commit = merge(origin, "refs/pull/1/merge", *parents)
    origin.write("b/two", "moved on\n")
    origin.commit("main moves on")
    clone = checkout_of_github(origin, tmp_path / "clone", commit, "refs/remotes/pull/1/merge", depth=0)
    assert recorded(clone) == parents


def test_a_pull_request_that_contains_its_base(origin, tmp_path):
    """What could be fast-forwarded is merged nevertheless, by GitHub."""
    origin.git("checkout", "-q", "feature")
    origin.git("merge", "-q", "--no-edit", "main")
    parents = (origin.head("main"), origin.head("feature"))
    commit = merge(origin, "refs/pull/1/merge", *parents)
    clone = checkout_of_github(origin, tmp_path / "clone", commit, "refs/remotes/pull/1/merge", depth=0)
    assert recorded(clone) == parents


@pytest.mark.parametrize("depth", [0, 1])
def test_a_pull_request_that_was_fast_forwarded_is_its_head(origin, tmp_path, depth):
    origin.git("checkout", "-q", "feature")
    origin.git("rebase", "-q", "main")
    head = origin.head("feature")
    clone = checkout_of_gitlab(origin, tmp_path / "clone", head, depth=depth)
    assert recorded(clone) == (head,)


def test_a_merge_of_three_is_recorded_itself(origin, tmp_path):
    origin.git("checkout", "-q", "-b", "third", "main~1")
    origin.write("c/three")
    origin.commit("third")
    origin.git("checkout", "-q", "--detach", "main")
    origin.git("merge", "-q", "--no-edit", "feature", "third")
    commit = origin.head()
    origin.git("update-ref", "refs/pull/1/merge", commit)
    origin.git("checkout", "-q", "main")
    clone = checkout_of_github(origin, tmp_path / "clone", commit, "refs/remotes/pull/1/merge", depth=0)
    assert recorded(clone) == recorded(clone, virtual_merge=True) == (commit,)


@pytest.mark.parametrize("virtual_merge", [False, True])
def test_a_merge_whose_conflicts_somebody_resolved_is_recorded_itself(origin, tmp_path, virtual_merge):
    origin.git("checkout", "-q", "feature")
    origin.write("b/two", "feature says otherwise\n")
    origin.commit("in conflict")
    commit = merge(origin, "refs/pull/1/merge", "main", "feature", tree=origin.head("feature^{tree}"))
    clone = checkout_of_github(origin, tmp_path / "clone", commit, "refs/remotes/pull/1/merge", depth=0)
    assert recorded(clone, virtual_merge=virtual_merge) == (commit,)


@pytest.mark.parametrize("system", ["github", "gitlab"])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_tag_of_an_old_merge_of_a_branch_is_recorded_itself(origin, tmp_path, system, depth):
    origin.git("merge", "-q", "--no-ff", "--no-edit", "feature")
    commit = origin.head()
    origin.git("tag", "v1")
    origin.write("b/two", "after the release\n")
    origin.commit("main moves on")
    if system == "github":
        clone = checkout_of_github(origin, tmp_path / "clone", commit, "refs/tags/v1", depth=depth)
    else:
        clone = checkout_of_gitlab(origin, tmp_path / "clone", commit, depth=depth, more=["+refs/tags/v1:refs/tags/v1"])
    assert recorded(clone) == (commit,)


@pytest.mark.parametrize("depth", [0, 1])
def test_a_tag_of_a_merge_that_no_branch_has_is_recorded_itself(origin, tmp_path, depth):
    """A release line of which the branch is gone: tags stay."""
    commit = merge(origin, "refs/tags/v1", "main", "feature")
    clone = checkout_of_github(origin, tmp_path / "clone", commit, "refs/tags/v1", depth=depth)
    assert recorded(clone) == (commit,)


def test_a_merge_queue_builds_a_branch(origin, tmp_path):
    name = "gh-readonly-queue/main/pr-1-0123456"
    commit = merge(origin, f"refs/heads/{name}", "main", "feature")
    clone = checkout_of_github(origin, tmp_path / "clone", commit, f"refs/remotes/origin/{name}", depth=1)
    assert recorded(clone) == (commit,)


def test_crossed_merges(origin, tmp_path):
    """Two merge bases: git merges them first."""
    main, feature = origin.head("main"), origin.head("feature")
    for branch, other in (("main", feature), ("feature", main)):
        origin.git("checkout", "-q", branch)
        origin.git("merge", "-q", "--no-ff", "--no-edit", other)
    origin.write("a/new")
    origin.commit("more")
    parents = (origin.head("main"), origin.head("feature"))
    commit = merge(origin, "refs/pull/1/merge", *parents)
    clone = checkout_of_github(origin, tmp_path / "clone", commit, "refs/remotes/pull/1/merge", depth=0)
    assert recorded(clone) == parents


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("merge.renames", "false"),
        ("diff.renames", "false"),
        ("merge.renameLimit", "1"),
        ("merge.directoryRenames", "true"),
        ("core.attributesFile", "attributes"),
        ("merge.binary.driver", "false"),
    ],
)
def test_settings_for_merges_do_not_change_what_is_found(origin, tmp_path, monkeypatch, name, value):
    """The files of a server's merge are git's own, whatever the user has set for merges of his own."""
    lines = [f"line {number}\n" for number in range(20)]
    for number in range(3):
        origin.write(f"many/{number}", "".join(lines) + str(number))
    origin.write(".gitattributes", "*.own merge=binary\n")
    origin.write("a/b.own", "".join(lines))
    origin.commit("long files")
    origin.git("checkout", "-q", "-b", "renaming")
    for number in range(3):
        origin.git("mv", f"many/{number}", f"many/new-{number}")
    origin.write("a/b.own", "".join(["first\n", *lines[1:]]))
    origin.commit("renamed")
    origin.git("checkout", "-q", "main")
    for number in range(3):
        origin.write(f"many/{number}", "".join(["changed\n", *lines[1:]]) + str(number))
    origin.write("a/b.own", "".join([*lines[:-1], "last\n"]))
    origin.commit("changed")
    parents = (origin.head("main"), origin.head("renaming"))
    bare = make_place(tmp_path / "server", "--bare")  # has no attributes of a work tree
    bare.git("fetch", "-q", str(origin.path), "+refs/heads/*:refs/heads/*")
    commit = merge(bare, "refs/pull/1/merge", *parents)
    clone = checkout_of_github(bare, tmp_path / "clone", commit, "refs/remotes/pull/1/merge", depth=0)
    (clone.path / "attributes").write_text("* merge=binary\n")
    clone.git("config", name, str(clone.path / value) if value == "attributes" else value)
    monkeypatch.chdir(clone.path)
    assert recorded(clone) == parents
