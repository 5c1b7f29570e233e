"""What stages of other commits may be used: amends, rebases, squashes, deltas that grow."""

from __future__ import annotations

import copy
import os

import pytest

APP = """\
image: app
from: BUSYBOX
git:
  - add: /src
    to: /app
    stageDependencies: {install: packages.txt}
shell:
  beforeInstall: cat /proc/sys/kernel/random/uuid > /before-install
  install: cat /proc/sys/kernel/random/uuid > /installed
"""
FILES = {"src/main.txt": "one\n", "src/packages.txt": "bolts\n"}


@pytest.fixture
def app(make_project):
    return make_project(APP, FILES)


def amend(project):
    project.git("commit", "--quiet", "--amend", "--allow-empty", "--message", "Another message")


def contents(images, build):
    return {path: entry.content for path, entry in images.files(build.reference("app"), "/app").items()}


def test_an_amended_tip_gets_stages_of_its_own_under_the_same_digests(app, images):
    app.build()
    app.change("src/main.txt", "two\n")
    old = app.build()
    amend(app)
    new = app.build()
    assert new.built == {"app": ["gitLatestPatch"]}
    assert new.stage("app", "gitLatestPatch")["Digest"] == old.stage("app", "gitLatestPatch")["Digest"]
    assert set(old.names()) - set(new.names()) == {old.stage("app", "gitLatestPatch")["DockerImageName"]}
    assert contents(images, new) == contents(images, old)


def test_an_amended_first_commit_reuses_what_is_not_made_from_git(app, images):
    old = app.build()
    amend(app)
    new = app.build()
    assert new.built == {"app": ["gitArchive", "install"]}
    assert new.stage("app", "gitArchive")["Digest"] == old.stage("app", "gitArchive")["Digest"]
    assert new.stage("app", "beforeInstall") == old.stage("app", "beforeInstall") | {"Rebuilt": False} | {
        key: new.stage("app", "beforeInstall")[key] for key in ("SourceType", "BuildTime", "Reason")
    }
    assert contents(images, new) == contents(images, old)


def test_ancestry_by_tree_uses_the_stages_of_an_amended_tip(app, images):
    app.build()
    app.change("src/main.txt", "two\n")
    old = app.build()
    amend(app)
    new = app.build("--ancestry", "same-tree")
    assert new.built == {}
    assert new.names() == old.names()
    app.change("src/main.txt", "three\n")
    third = app.build("--ancestry", "same-tree")
    assert third.built == {"app": ["gitLatestPatch"]}
    assert images.read(third.reference("app"), "/app/main.txt") == "three\n"


def test_a_branch_uses_what_was_made_at_the_merge_base(app):
    base = app.build()
    app.git("checkout", "-q", "-b", "left")
    app.change("src/main.txt", "left\n")
    app.build()
    app.git("checkout", "-q", "main")
    app.change("src/main.txt", "right\n")
    right = app.build()
    assert right.built == {"app": ["gitLatestPatch"]}
    assert right.names()[:-1] == base.names()


def test_a_merge_uses_the_older_of_what_both_sides_made(app, images):
    app.build()
    app.git("checkout", "-q", "-b", "left")
    app.change("src/packages.txt", "nuts\n")
    left = app.build()
    app.git("checkout", "-q", "main")
    app.change("src/packages.txt", "nuts\n")
    right = app.build()
    assert right.built == {"app": ["install"]}
    app.git("merge", "--quiet", "--no-edit", "left")
    merged = app.build()
    assert merged.built == {}
    assert merged.stage("app", "install") == left.stage("app", "install") | {"Rebuilt": False} or (
        merged.stage("app", "install")["DockerImageName"] == left.stage("app", "install")["DockerImageName"]
    )
    assert images.read(merged.reference("app"), "/app/packages.txt") == "nuts\n"


def test_a_large_change_makes_git_cache_and_the_next_small_one_is_laid_upon_it(app, images):
    app.build()
    app.change("src/large.bin", os.urandom((1 << 20) + 10))
    large = app.build()
    assert large.built == {"app": ["gitCache"]}
    app.change("src/main.txt", "two\n")
    small = app.build()
    assert small.built == {"app": ["gitLatestPatch"]}
    assert small.names()[:-1] == large.names()
    found = contents(images, small)
    assert found["main.txt"] == b"two\n"
    assert len(found["large.bin"]) == (1 << 20) + 10


def test_files_that_commands_changed_are_not_overwritten_silently(app):
    app.configure(APP.replace("install: cat", "install: echo mine > /app/main.txt; cat"))
    app.commit()
    app.build()
    app.change("src/main.txt", "two\n")
    failed = app.build(status=1)
    assert failed.report["Images"]["app"]["Failure"]["Reason"] == "git_file_changed"
    assert "/app/main.txt" in failed.run.stderr
    assert "stageDependencies" in failed.run.stderr


def test_files_that_commands_changed_are_overwritten_where_that_is_said(app, images):
    text = APP.replace("install: cat", "install: echo mine > /app/main.txt; cat")
    app.configure(text.replace("    to: /app", "    to: /app\n    onChanged: overwrite"))
    app.commit()
    app.build()
    app.change("src/main.txt", "two\n")
    assert images.read(app.build().reference("app"), "/app/main.txt") == "two\n"


def test_required_built_images_are_named_where_they_are_missing(app):
    app.build()
    assert app.build("--require-built-images").built == {}
    app.change("src/packages.txt", "nuts\n")
    missing = app.build("--require-built-images", status=3)
    assert missing.built == {}
    assert missing.report["Images"]["app"]["Missing"]["Stage"] == "install"
    assert "install" in missing.run.stderr
    assert "stageDependencies" in missing.run.stderr


def merge_request(project, message):
    """A merge of `feature` into `main` as a CI system makes it: on no branch."""
    project.git("checkout", "-q", "--detach", "main")
    project.git("merge", "--quiet", "--no-ff", "-m", message, "feature")


@pytest.fixture
def request_for(app):
    """Two branches with changes, the base of both built."""
    app.build()
    app.git("checkout", "-q", "-b", "feature")
    app.change("src/packages.txt", "nuts\n")
    app.git("checkout", "-q", "main")
    app.change("src/other.txt", "other\n")
    return app


def test_stages_of_a_pull_request_are_used_at_the_next_merge_of_it(request_for, images):
    app = request_for
    merge_request(app, "The first merge")
    first = app.build()
    assert first.built == {"app": ["install"]}
    merge_request(app, "The second merge of the same")
    assert app.build("--require-built-images").names() == first.names()

    app.git("checkout", "-q", "feature")
    app.change("src/main.txt", "two\n")
    merge_request(app, "The third merge")
    third = app.build()
    assert third.built == {"app": ["gitLatestPatch"]}
    assert third.names()[:-1] == first.names()
    assert contents(images, third) == {"main.txt": b"two\n", "packages.txt": b"nuts\n", "other.txt": b"other\n"}

    app.git("checkout", "-q", "main")
    app.git("merge", "--quiet", "--no-ff", "-m", "Merged by the button", "feature")
    assert app.build("--require-built-images").names() == third.names()


def check_out(app, path, commit, ref, *options):
    """A clone with a home of its own, as CI systems make it: the merge under a ref that is no branch, HEAD at it."""
    other = copy.copy(app)
    other.directory, other.env = path, {**app.env, "CONVEYOR_HOME_DIR": f"{path}-home"}
    path.mkdir()
    other.git("init", "--quiet")
    other.git("remote", "add", "origin", f"file://{app.directory}")
    other.git("fetch", "--quiet", "--no-recurse-submodules", *options, "origin", f"+{commit}:{ref}")
    other.git("checkout", "--quiet", "--force", commit)
    return other


def test_checkouts_of_github_and_gitlab_use_the_stages_of_one_another(request_for, tmp_path, images):
    app = request_for
    merge_request(app, "As GitHub merges it")
    head = app.git("rev-parse", "HEAD")
    github = check_out(app, tmp_path / "github", head, "refs/remotes/pull/1/merge", "--depth=1", "--no-tags")
    first = github.build()
    assert first.built == {"app": ["install"]}

    merge_request(app, "As GitLab merges it")
    head = app.git("rev-parse", "HEAD")
    gitlab = check_out(app, tmp_path / "gitlab", head, "refs/pipelines/77", "--depth=20")
    assert gitlab.build("--require-built-images").names() == first.names()

    app.git("checkout", "-q", "main")
    app.change("src/other.txt", "the base moves on\n")
    merge_request(app, "As it is merged upon the new base")
    head = app.git("rev-parse", "HEAD")
    moved = check_out(app, tmp_path / "moved", head, "refs/remotes/pull/1/merge", "--depth=1", "--no-tags").build()
    assert moved.built == {"app": ["gitLatestPatch"]}
    assert moved.names()[:-1] == first.names()
    assert contents(images, moved)["other.txt"] == b"the base moves on\n"


def test_ancestry_by_tree_uses_the_stages_of_a_branch_that_was_rebased(app):
    app.build()
    app.git("checkout", "-q", "-b", "feature")
    app.change("src/packages.txt", "nuts\n")
    app.change("src/main.txt", "two\n")
    old = app.build()
    app.git("checkout", "-q", "main")
    app.change("docs/page", "what no image has\n")
    app.git("checkout", "-q", "feature")
    app.git("rebase", "--quiet", "main")
    assert app.build("--ancestry", "same-tree").names() == old.names()
    assert app.build().built == {"app": ["install"]}


def test_a_merge_that_changes_more_is_a_commit_like_any_other(request_for, images):
    app = request_for
    merge_request(app, "A merge")
    app.write("src/main.txt", "changed by who merged\n")
    app.git("add", "--all")
    app.git("commit", "--quiet", "--amend", "--no-edit")
    first = app.build("--virtual-merge")
    assert contents(images, first)["main.txt"] == b"changed by who merged\n"
    merge_request(app, "The merge as git makes it")
    second = app.build("--virtual-merge")
    assert second.built != {}
    assert contents(images, second) == {"main.txt": b"one\n", "packages.txt": b"nuts\n", "other.txt": b"other\n"}


def test_a_merge_on_a_branch_is_recorded_itself_unless_the_user_says_otherwise(request_for):
    app = request_for
    app.git("merge", "--quiet", "--no-ff", "-m", "On main", "feature")
    first = app.build()
    app.git("reset", "--quiet", "--hard", "HEAD~1")
    app.git("merge", "--quiet", "--no-ff", "-m", "On main again", "feature")
    assert app.build().built == {"app": ["install"]}
    app.git("reset", "--quiet", "--hard", "HEAD~1")
    app.git("merge", "--quiet", "--no-ff", "-m", "Once more", "feature")
    virtual = app.build("--virtual-merge")
    assert virtual.built == {"app": ["install"]}
    app.git("reset", "--quiet", "--hard", "HEAD~1")
    app.git("merge", "--quiet", "--no-ff", "-m", "And once more", "feature")
    assert app.build("--virtual-merge", "--require-built-images").names() == virtual.names()
    assert first.names() != virtual.names()
