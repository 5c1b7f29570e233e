"""The repository as a user has it: changes that are not committed, shallow clones, submodules, LFS, directories below."""

from __future__ import annotations

import hashlib
import os
import subprocess

import pytest

APP = "image: app\nfrom: BUSYBOX\ngit: [{add: /src, to: /app}]\nshell: {setup: cat /app/a > /copy}\n"


@pytest.fixture
def app(make_project):
    return make_project(APP, {"src/a": "one\n", "README.md": "An app\n"})


def git(directory, env, *arguments):
    subprocess.run(["git", "-c", "protocol.file.allow=always", *arguments], cwd=directory, env=env, check=True)


@pytest.mark.parametrize("change", ["edited", "untracked", "deleted", "staged", "mode"])
def test_what_is_not_committed_and_would_be_used_is_named(app, change):
    path = "src/a"
    if change == "edited":
        app.write("src/a", "two\n")
    elif change == "untracked":
        path = "src/new file"
        app.write(path, "new\n")
    elif change == "deleted":
        app.remove("src/a")
    elif change == "staged":
        app.write("src/a", "two\n")
        app.git("add", "src/a")
    else:
        (app.directory / "src/a").chmod(0o755)
    failed = app.build(status=2)
    assert f'file "{path}" must be committed' in failed.run.stderr
    assert "image app" in failed.run.stderr
    assert "--dev" in failed.run.stderr


def test_what_is_not_used_may_be_changed(app):
    app.write("README.md", "Another text\n")
    app.write("notes", "untracked\n")
    app.build()


def test_an_uncommitted_configuration_is_an_error(app):
    app.configure(APP.replace("copy", "copied"))
    assert "werf.yaml" in app.build(status=2).run.stderr


def test_the_report_never_counts(make_project):
    project = make_project("image: app\nfrom: BUSYBOX\ngit: [{add: /, to: /app}]\n", {"a": "a"})
    (project.directory / ".git/info/exclude").write_text("")
    project.build()
    assert project.build().built == {}
    project.conveyor("build", "--build-report-path", "images.env")
    assert project.conveyor("build", "--build-report-path", "images.env").status == 0


def test_dev_builds_the_work_tree_and_touches_nothing(app, images):
    app.build()
    app.write("src/a", "two\n")
    app.write("src/new", "new\n")
    state = (app.git("status", "--porcelain"), app.git("rev-parse", "HEAD"), app.git("for-each-ref"))
    first = app.build("--dev")
    assert {path: entry.content for path, entry in images.files(first.reference("app"), "/app").items()} == {
        "a": b"two\n",
        "new": b"new\n",
    }
    assert app.build("--dev").built == {}
    assert (app.git("status", "--porcelain"), app.git("rev-parse", "HEAD"), app.git("for-each-ref")) == state


def test_a_shallow_clone_is_deepened_or_says_what_to_do(app, tmp_path):
    first = app.build()
    app.change("README.md", "More\n")
    shallow = app.directory.parent / "shallow"
    git(tmp_path, app.env, "clone", "--quiet", "--depth", "1", f"file://{app.directory}", str(shallow))
    origin = app.directory
    app.directory = shallow
    assert app.build().names() == first.names()
    again = origin.parent / "again"
    git(tmp_path, app.env, "clone", "--quiet", "--depth", "1", f"file://{origin}", str(again))
    git(again, app.env, "remote", "set-url", "origin", "/nowhere")
    app.directory = again
    failed = app.build(status=2)
    assert "fetch-depth: 0" in failed.run.stderr
    assert "GIT_DEPTH" in failed.run.stderr


def test_submodules_are_read_at_their_commits(make_project, images, tmp_path):
    project = make_project("image: app\nfrom: BUSYBOX\ngit: [{add: /, to: /app, excludePaths: werf.yaml}]\n", commit=False)
    library = tmp_path / "library"
    library.mkdir()
    git(library, project.env, "init", "--quiet")
    (library / "lib.txt").write_text("library\n")
    git(library, project.env, "add", "--all")
    git(library, project.env, "commit", "--quiet", "-m", "A library")
    git(project.directory, project.env, "submodule", "--quiet", "add", str(library), "vendor/lib")
    project.commit()
    build = project.build()
    assert images.read(build.reference("app"), "/app/vendor/lib/lib.txt") == "library\n"

    clone = tmp_path / "clone"
    git(tmp_path, project.env, "clone", "--quiet", str(project.directory), str(clone))
    project.directory = clone
    failed = project.build(status=2)
    assert "git submodule update --init" in failed.run.stderr
    git(clone, project.env, "submodule", "--quiet", "update", "--init")
    assert project.build().names() == build.names()


def test_files_of_lfs_are_laid_with_their_contents(app, images):
    """Those of the checkout, here; a delta, a command that changes one, and one that is nowhere."""

    def commit(content: str, *, is_kept: bool = True) -> None:
        digest = hashlib.sha256(content.encode()).hexdigest()
        kept = app.directory / ".git/lfs/objects" / digest[:2] / digest[2:4] / digest
        if is_kept:
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(content)
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n"
        app.write("src/model.bin", pointer)
        app.commit()

    app.git("config", "filter.lfs.clean", "cat")
    app.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    commit("one\n")
    assert images.read(app.build().reference("app"), "/app/model.bin") == "one\n"
    commit("two\n")
    second = app.build()
    assert second.built == {"app": ["gitLatestPatch"]}
    assert images.read(second.reference("app"), "/app/model.bin") == "two\n"

    commit("three\n", is_kept=False)
    failed = app.build(status=2)
    assert "src/model.bin is kept by Git LFS, and its content cannot be had" in failed.run.stderr

    app.configure(APP.replace("cat /app/a > /copy", "echo changed > /app/model.bin"))
    commit("two\n")
    app.build()
    commit("one\n")
    changed = app.build(status=1)
    assert "/app/model.bin" in changed.run.stderr
    assert "onChanged: overwrite" in changed.run.stderr


def test_a_repository_of_somebody_else(app):
    if os.geteuid() != 0:
        pytest.skip("only root can give a repository away")
    os.chown(app.directory, 12345, 12345)
    os.chown(app.directory / ".git", 12345, 12345)
    failed = app.conveyor("build")
    assert failed.status == 2
    assert "git config --global --add safe.directory" in failed.stderr


def test_a_project_below_the_root_of_its_repository(make_project, images):
    project = make_project(commit=False)
    project.write("deep/er/file", "deep\n")
    project.write(
        "deep/er/images.yaml",
        f"project: {project.name}\nconfigVersion: 1\n---\n"
        f"image: app\nfrom: {project.base}\ngit: [{{add: /file, to: /etc/the-file}}]\n",
    )
    project.commit()
    run = project.conveyor("build", "--dir", "deep/er", "--config", "images.yaml", "--build-report-path", "../../out.env")
    assert run.status == 0, run.output
    reference = next(
        line.partition("=")[2]
        for line in (project.directory / "out.env").read_text().splitlines()
        if line.startswith("CONVEYOR_APP_DOCKER_IMAGE_NAME=")
    )
    assert images.read(reference, "/etc/the-file") == "deep\n"


def test_a_mapping_that_matches_nothing_is_an_error_with_its_place(app):
    app.configure(APP.replace("/src", "/nowhere"))
    app.commit()
    failed = app.build(status=2)
    assert "werf.yaml:6:" in failed.run.stderr
    assert "/nowhere" in failed.run.stderr


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda directory, env: None, "is not in a git repository"),
        (lambda directory, env: git(directory, env, "init", "--quiet"), "has no commits"),
    ],
)
def test_no_repository_and_no_commit(make_project, tmp_path, make, said):
    project = make_project(APP, {"src/a": "a"})
    project.directory = tmp_path / "empty"
    project.directory.mkdir()
    make(project.directory, project.env)
    run = project.conveyor("build")
    assert run.status == 2
    assert said in run.stderr
    assert "Traceback" not in run.stderr
