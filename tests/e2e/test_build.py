"""Whole builds on the engine's own store: what is built when what changes, and what comes out."""

from __future__ import annotations

import json

import pytest

from tests.e2e.projects import Link, Program

# Every command leaves a random number, so that a layer built twice differs.
CONFIGURATION = """\
image: app
from: BUSYBOX
git:
  - add: /src
    to: /app
    stageDependencies:
      install: packages.txt
      setup: "*.conf"
shell:
  beforeInstall: mkdir /built && cat /proc/sys/kernel/random/uuid > /built/beforeInstall
  install: cat /app/packages.txt /proc/sys/kernel/random/uuid > /built/install
  setup: cat /app/main.conf /proc/sys/kernel/random/uuid > /built/setup
docker:
  WORKDIR: /app
  CMD: [cat, main.txt]
"""
FILES = {"src/main.txt": "one\n", "src/packages.txt": "bolts\n", "src/main.conf": "color: blue\n", "README.md": "An app\n"}
ALL = ["from", "beforeInstall", "gitArchive", "install", "setup", "dockerInstructions"]


@pytest.fixture
def app(make_project):
    return make_project(CONFIGURATION, FILES)


def test_the_first_build_builds_every_stage_and_the_second_none(app, images):
    first = app.build()
    assert first.built == {"app": ALL}
    assert images.run(first.reference("app")) == "one\n"
    stored = images.names(app.name)

    second = app.build()
    assert second.built == {}
    assert second.names() == first.names()
    assert images.names(app.name) == stored


def test_a_changed_file_is_laid_by_git_latest_patch_alone(app, images):
    first = app.build()
    app.change("src/main.txt", "two\n")
    second = app.build()
    assert second.built == {"app": ["gitLatestPatch", "dockerInstructions"]}
    assert images.run(second.reference("app")) == "two\n"
    kept = images.files(first.reference("app"), "/built")
    assert images.files(second.reference("app"), "/built") == kept


def test_a_file_outside_of_the_mappings_changes_nothing(app):
    first = app.build()
    app.change("README.md", "The same app\n")
    second = app.build()
    assert second.built == {}
    assert second.reference("app") == first.reference("app")


def test_a_changed_stage_dependency_builds_from_its_stage(app, images):
    first = app.build()
    app.change("src/packages.txt", "nuts\n")
    second = app.build()
    assert second.built == {"app": ["install", "setup", "dockerInstructions"]}
    built = images.files(second.reference("app"), "/built")
    assert built["install"].content.startswith(b"nuts\n")
    before = images.files(first.reference("app"), "/built")
    assert built["beforeInstall"] == before["beforeInstall"]
    assert built["setup"].content != before["setup"].content

    app.change("src/main.conf", "color: red\n")
    third = app.build()
    assert third.built == {"app": ["setup", "dockerInstructions"]}
    assert images.files(third.reference("app"), "/built")["install"] == built["install"]


@pytest.mark.parametrize("stage", ["beforeInstall", "install", "setup"])
def test_a_changed_command_builds_from_its_stage(app, images, stage):
    app.build()
    app.configure(CONFIGURATION.replace(f"  {stage}: ", f"  {stage}: touch /touched && "))
    app.commit()
    second = app.build()
    assert second.built == {"app": ALL[ALL.index(stage) :]}
    assert images.files(second.reference("app"))["touched"].kind == "file"


def test_changed_instructions_start_no_commands(app, images):
    first = app.build()
    app.configure(CONFIGURATION.replace("cat, main.txt", "cat, packages.txt"))
    app.commit()
    second = app.build()
    assert second.built == {"app": ["dockerInstructions"]}
    assert images.run(second.reference("app")) == "bolts\n"
    assert images.files(second.reference("app")) == images.files(first.reference("app"))


def test_a_revert_finds_the_old_stages_and_writes_no_name(app, images):
    first = app.build()
    for path, content in (("src/packages.txt", "nuts\n"), ("src/main.conf", "color: red\n")):
        app.change(path, content)
        assert app.build().built != {}
    stored = images.names(app.name)
    app.git("revert", "--no-edit", "HEAD", "HEAD~1")
    back = app.build()
    assert back.built == {}
    assert back.names() == first.names()
    assert images.names(app.name) == stored


def test_a_branch_does_not_use_what_another_branch_made(app, images):
    app.build()
    app.git("checkout", "-q", "-b", "left")
    app.change("src/packages.txt", "nuts\n")
    left = app.build()
    app.git("checkout", "-q", "main")
    app.change("src/packages.txt", "nuts\n")
    right = app.build()
    # Equal digests, and the commit of the other branch is no ancestor.
    assert right.built == {"app": ["install", "setup", "dockerInstructions"]}
    assert right.stage("app", "install")["Digest"] == left.stage("app", "install")["Digest"]
    assert right.stage("app", "install")["DockerImageName"] != left.stage("app", "install")["DockerImageName"]


def test_files_come_out_as_they_are_in_the_commit(make_project, images):
    raw = bytes(range(256)) * 300
    odd = [
        "with space",
        "*star?",
        "quote'\"",
        "new\nline",
        "grüße",
        "-rf",
        "a\\b",
        "$(id)",
        "tab\there",
        "x" * 200,
        ".hidden",
    ]
    files = {f"src/odd/{name}": f"{name}\n" for name in odd}
    files |= {
        "src/raw.bin": raw,
        "src/crlf.txt": b"a\r\nb\r\n",
        "src/empty": b"",
        "src/no-line-end": b"text",
        "src/tool": Program("#!/bin/sh\necho tool\n"),
        "src/link": Link("tool"),
        "src/dangling": Link("/nowhere/at all"),
        "src/up": Link("../outside"),
        "src/deep/er/and/deeper/file": "deep\n",
        ".gitattributes": "*.txt text eol=lf\n*.bin diff\n",
    }
    project = make_project("image: app\nfrom: BUSYBOX\ngit:\n  - {add: /src, to: /app}\n", files)
    not_utf_8 = b"src/odd/\xff\xfe"
    project.write(not_utf_8, "no text\n")
    project.commit()

    found = images.files(project.build().reference("app"), "/app")
    contents = {name: entry.content for name, entry in found.items() if entry.kind == "file"}
    expected = {path.removeprefix("src/"): value for path, value in files.items() if path.startswith("src/")}
    assert contents == {
        name: text.encode() if isinstance(text, str) else text
        for name, text in expected.items()
        if isinstance(text, str | bytes)
    } | {"tool": b"#!/bin/sh\necho tool\n", "odd/\udcff\udcfe": b"no text\n"} | {"crlf.txt": _blob(project, "src/crlf.txt")}
    assert {name: entry.link for name, entry in found.items() if entry.kind == "symlink"} == {
        "link": "tool",
        "dangling": "/nowhere/at all",
        "up": "../outside",
    }
    assert found["tool"].mode == 0o755
    assert found["raw.bin"].mode == 0o644
    assert found["deep/er"].mode == 0o755
    assert {(entry.uid, entry.gid) for entry in found.values()} == {(0, 0)}


def _blob(project, path):
    import subprocess

    return subprocess.run(
        ["git", "show", f"HEAD:{path}"], cwd=project.directory, env=project.env, capture_output=True
    ).stdout


def test_a_patch_brings_files_to_what_the_new_commit_has(make_project, images):
    """Renames, modes, links, deleted files, files and directories and links in one another's place."""
    project = make_project(
        "image: app\nfrom: BUSYBOX\ngit:\n  - {add: /src, to: /app}\n",
        {
            "src/renamed": "the same\n" * 20,
            "src/becomes-program": "#!/bin/sh\n",
            "src/becomes-plain": Program("#!/bin/sh\n"),
            "src/raw": bytes(range(256)),
            "src/link": Link("one"),
            "src/file-to-link": "text",
            "src/link-to-file": Link("elsewhere"),
            "src/file-to-directory": "text",
            "src/directory-to-file/a": "a",
            "src/directory-to-file/b/c": "c",
            "src/link-to-directory": Link("elsewhere"),
            "src/directory-to-link/a": "a",
            "src/gone/and/its/directories": "gone",
            "src/half/gone": "gone",
            "src/half/stays": "stays",
            "src/stays": "stays\n",
        },
    )
    project.build()
    changes = {
        "src/becomes-program": Program("#!/bin/sh\n"),
        "src/becomes-plain": "#!/bin/sh\n",
        "src/raw": bytes(reversed(range(256))),
        "src/link": Link("two"),
        "src/file-to-link": Link("stays"),
        "src/link-to-file": "text now",
        "src/file-to-directory/x/y": "y",
        "src/directory-to-file": "a file now",
        "src/link-to-directory/z": "z",
        "src/directory-to-link": Link("half"),
        "src/new/and deep/é": "new",
    }
    for path, content in changes.items():
        project.write(path, content)
    project.git("mv", "src/renamed", "src/new name")
    project.remove("src/gone")
    project.remove("src/half/gone")
    project.commit()
    patched = project.build()
    assert patched.built == {"app": ["gitLatestPatch"]}

    # The same commit without a history to patch from is the oracle.
    project.configure("image: app\nfrom: BUSYBOX\nfromCacheVersion: anew\ngit:\n  - {add: /src, to: /app}\n")
    project.commit()
    anew = project.build()
    assert anew.built == {"app": ["from", "gitArchive"]}

    def without_times(reference):
        entries = images.files(reference, "/app")
        return {
            path: (entry.kind, entry.mode, entry.uid, entry.gid, entry.content, entry.link)
            for path, entry in entries.items()
        }

    assert without_times(patched.reference("app")) == without_times(anew.reference("app"))
    files = without_times(patched.reference("app"))
    assert "gone" not in files
    assert files["half/stays"][4] == b"stays"
    assert files["becomes-program"][1] == 0o755
    assert files["becomes-plain"][1] == 0o644
    assert files["directory-to-link"] == ("symlink", 0o777, 0, 0, b"", "half")


def test_a_failing_command_fails_the_build_and_saves_what_was_before(app, images):
    app.configure(CONFIGURATION.replace("  install: ", "  install: echo about to fail; exit 7; "))
    app.commit()
    failed = app.build(status=1)
    assert "about to fail" in failed.run.stderr
    failure = failed.report["Images"]["app"]["Failure"]
    assert (failure["Stage"], failure["Status"]) == ("install", 7)
    app.configure(CONFIGURATION)
    app.commit()
    assert app.build().built == {"app": ["install", "setup", "dockerInstructions"]}


def test_the_sample_hello(make_sample, images):
    project = make_sample("hello")
    first = project.build()
    assert images.run(first.reference("hello")) == (
        "4 greetings, as hello:\n"
        "  Bonjour FROM AN IMAGE MADE OF A COMMIT\n"
        "  Dobry den FROM AN IMAGE MADE OF A COMMIT\n"
        "  Hello FROM AN IMAGE MADE OF A COMMIT\n"
        "  Zdravo FROM AN IMAGE MADE OF A COMMIT\n"
    )
    assert images.config(first.reference("hello"))["User"] == "hello"
    assert project.build().built == {}

    project.change("greetings/north.txt", "Hej\n")
    second = project.build()
    assert set(second.built) == {"greetings", "hello"}
    assert "Hej FROM" in images.run(second.reference("hello"))


def test_the_sample_monorepo_builds_what_stands_alone_at_the_same_time(make_sample, images):
    project = make_sample("monorepo")
    first = project.build("--log-format", "json")
    assert set(first.built) == {"base", "protocol", "assets", "backend", "worker", "frontend", "docs", "bundle"}
    assert images.run(first.reference("frontend"), "cat", "static/all.css", "protocol/users.txt") == (
        "body { margin: 0 }\nnav { display: flex }\ngenerated from message User\n"
    )
    began, ended = {}, {}
    for name in ("base", "backend", "worker", "frontend", "docs", "bundle"):
        began[name], ended[name] = map(float, images.read(first.reference(name), f"/build-times/{name}").split())
    assert ended["base"] <= began["backend"]
    assert ended["backend"] <= began["worker"]
    assert max(ended[name] for name in ("worker", "frontend", "docs")) <= began["bundle"]
    # What stands alone does not wait for one another: by the events, for nobody knows how long a container takes to start.
    events = [json.loads(line) for line in first.run.stdout.splitlines()]
    started = [event.get("image") if event["event"] == "stage_started" else None for event in events]
    built = [event["result"]["image"] if event["event"] == "stage_built" else None for event in events]
    for one, other in (("docs", "backend"), ("backend", "docs")):
        assert started.index(one) < len(built) - built[::-1].index(other)

    digests = images.run(first.reference("bundle")).splitlines()
    expected = [
        f"{name.upper()}_DIGEST={first.report['Images'][name]['DockerImageDigest']}"
        for name in sorted(["backend", "docs", "frontend", "worker"])
    ]
    assert digests == expected

    project.change("docs/index.md", "# How to order nuts\n")
    assert set(project.build().built) == {"docs", "bundle"}


def test_the_sample_debian_installs_packages_once(make_sample, images):
    project = make_sample("debian")
    first = project.build()
    assert images.run(first.reference("inventory")) == '{\n  "bolts": 12,\n  "nuts": 7\n}\n'
    project.change("data/bolts.json", '{"name": "bolts", "count": 13}\n')
    second = project.build()
    assert second.built == {"inventory": ["setup", "dockerInstructions"]}
    assert '"bolts": 13' in images.run(second.reference("inventory"))
