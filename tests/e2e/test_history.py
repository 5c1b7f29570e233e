"""What stages of other commits may be used: amends, rebases, squashes, deltas that grow."""

from __future__ import annotations

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


def test_required_built_images_are_named_where_they_are_missing(app):
    app.build()
    assert app.build("--require-built-images").built == {}
    app.change("src/packages.txt", "nuts\n")
    missing = app.build("--require-built-images", status=3)
    assert missing.built == {}
    assert missing.report["Images"]["app"]["Missing"]["Stage"] == "install"
    assert "install" in missing.run.stderr
    assert "stageDependencies" in missing.run.stderr
