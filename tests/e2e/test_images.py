"""Several images: artifacts and who imports them, what runs at the same time, what a failure leaves."""

from __future__ import annotations

import re

import pytest

ARTIFACT = """\
artifact: tools
from: BUSYBOX
git:
  - {add: /tools, to: /src, stageDependencies: {setup: "**"}}
shell:
  setup: mkdir -p /out/sub && grep -v '^#' /src/list > /out/sub/list && ln -s sub/list /out/link && chmod 750 /out/sub
---
image: app
from: BUSYBOX
import:
  - artifact: tools
    add: /out
    to: /opt/tools
    after: install
shell:
  install: cat /proc/sys/kernel/random/uuid > /installed
  setup: cat /opt/tools/sub/list > /seen
"""


def test_an_artifact_with_equal_files_does_not_rebuild_who_imports_it(make_project, images):
    project = make_project(ARTIFACT, {"tools/list": "# one\nhammer\n"})
    first = project.build()
    project.change("tools/list", "# two\nhammer\n")
    second = project.build()
    assert second.built == {"tools": ["setup"]}
    assert second.reference("app") == first.reference("app")
    project.change("tools/list", "# two\nsaw\n")
    third = project.build()
    assert third.built == {"tools": ["setup"], "app": ["dependenciesAfterInstall", "setup"]}
    found = images.files(third.reference("app"), "/opt/tools")
    assert found["sub/list"].content == b"saw\n"
    assert found["link"].link == "sub/list"
    assert found["sub"].mode == 0o750
    assert images.read(third.reference("app"), "/seen") == "saw\n"


def test_imports_take_owners_and_globs(make_project, images):
    project = make_project(
        """\
artifact: tools
from: BUSYBOX
shell:
  setup: |
    mkdir -p /out/a/b /out/c
    echo 1 > /out/a/one.txt; echo 2 > /out/a/b/two.txt; echo 3 > /out/a/b/three.log; echo 4 > /out/c/four.txt
    chown 7:8 /out/a/one.txt; chmod 4755 /out/a/one.txt
---
image: app
from: BUSYBOX
import:
  - artifact: tools
    add: /out
    to: /all
    before: setup
    includePaths: ["**/*.txt"]
    excludePaths: [c]
  - artifact: tools
    add: /out/c/four.txt
    to: /renamed.txt
    owner: 33
    group: 44
    after: setup
shell:
  setup: ls -R /all > /listing
"""
    )
    build = project.build()
    found = images.files(build.reference("app"))
    names = {path for path in found if path.startswith("all") or path == "renamed.txt"}
    assert {path for path in names if found[path].kind == "file"} == {"all/a/one.txt", "all/a/b/two.txt", "renamed.txt"}
    assert "all/c" not in names
    assert (found["all/a/one.txt"].mode, found["all/a/one.txt"].uid, found["all/a/one.txt"].gid) == (0o4755, 7, 8)
    assert (found["renamed.txt"].uid, found["renamed.txt"].gid) == (33, 44)


def test_an_import_that_matches_nothing_is_an_error(make_project):
    project = make_project(ARTIFACT.replace("add: /out", "add: /nowhere"), {"tools/list": "hammer\n"})
    failed = project.build(status=1)
    assert "/nowhere" in failed.run.stderr
    assert set(failed.built) >= {"tools"}


# Each says how many commands run when it begins, and waits until as many as AT_ONCE have begun: who waits in vain fails.
SIX = "".join(
    f"""\
image: i{number}
from: BUSYBOX
mount: [{{fromPath: MEETING, to: /meeting}}]
{"import: [{image: i0, add: /stamp, to: /from0, before: setup}]" if number == 5 else ""}
shell:
  beforeInstall: >
    touch /meeting/begun-{number};
    echo $(ls /meeting | grep begun | wc -l) $(ls /meeting | grep ended | wc -l) > /meeting/counted-{number};
    i=0; until [ "$(ls /meeting | grep begun | wc -l)" -ge AT_ONCE ]; do i=$((i + 1)); [ $i -lt 600 ]; sleep 0.1; done;
    touch /meeting/ended-{number}
  {"setup: cut -d' ' -f1 /proc/uptime > /stamp" if number in (0, 5) else ""}
---
"""
    for number in range(6)
).removesuffix("---\n")


@pytest.fixture
def meeting(tmp_path):
    """A directory that all build containers see."""
    (tmp_path / "meeting").mkdir()
    return tmp_path / "meeting"


def configure_meeting(project, meeting, at_once, text=SIX):
    """The six images, of which so many are to run at once."""
    for path in meeting.iterdir():
        path.unlink()
    allowed = f"config: {{stapel: {{mount: {{allowFromPaths: [{meeting}]}}}}}}\n"
    project.write("werf-giterminism.yaml", f"giterminismConfigVersion: 1\n{allowed}")
    project.configure(text.replace("MEETING", str(meeting)).replace("AT_ONCE", str(at_once)))
    project.commit()


def most_at_once(meeting):
    """By what the commands saw when they began: what had ended was counted last."""
    counted = [path.read_text().split() for path in meeting.glob("counted-*")]
    assert len(counted) == 6
    return max(int(begun) - int(ended) for begun, ended in counted)


@pytest.mark.parametrize(
    ("options", "at_once"),
    [
        pytest.param(["--parallel-tasks-limit", "3"], 3, id="three"),
        pytest.param(["--parallel=false"], 1, id="one"),
        pytest.param(["--parallel-tasks-limit", "0"], 6, id="no limit"),
    ],
)
def test_images_overlap_and_never_more_than_the_limit(make_project, meeting, options, at_once):
    project = make_project(SIX)
    configure_meeting(project, meeting, at_once)
    project.build(*options)  # so many have met
    assert most_at_once(meeting) <= at_once


def test_early_stages_of_an_importer_run_before_its_source_is_done(make_project, images, meeting):
    """The source is not done before they have run."""
    allowed = f"config: {{stapel: {{mount: {{allowFromPaths: [{meeting}]}}}}}}\n"
    project = make_project(
        f"""\
image: source
from: BUSYBOX
mount: [{{fromPath: {meeting}, to: /meeting}}]
shell:
  beforeInstall: i=0; until [ -e /meeting/early ]; do i=$((i + 1)); [ $i -lt 600 ]; sleep 0.1; done
  setup: echo done > /done
---
image: importer
from: BUSYBOX
mount: [{{fromPath: {meeting}, to: /meeting}}]
import: [{{image: source, add: /done, to: /source-done, before: setup}}]
shell:
  beforeInstall: touch /meeting/early
  setup: cp /source-done /late
""",
        {"werf-giterminism.yaml": f"giterminismConfigVersion: 1\n{allowed}"},
    )
    assert images.read(project.build().reference("importer"), "/late") == "done\n"


def test_what_other_images_finished_is_found_after_a_failure(make_project, meeting):
    project = make_project(SIX)
    configure_meeting(project, meeting, 1, SIX.replace("setup: cut", "setup: false; cut", 1))
    failed = project.build(status=1)
    assert "i0" in failed.run.stderr
    assert failed.report["Images"]["i0"]["Failure"]["Stage"] == "setup"
    assert failed.report["Images"]["i5"]["Failure"]["BlockedBy"] == "i0"
    assert failed.built
    configure_meeting(project, meeting, 1)
    second = project.build()
    again = {(name, stage) for name, stages in second.built.items() for stage in stages}
    assert not again & {(name, stage) for name, stages in failed.built.items() for stage in stages}
    assert second.built["i0"] == ["setup"]


def test_dependencies_reach_commands(make_project, images):
    project = make_project(
        """\
image: one
from: BUSYBOX
shell: {setup: echo one > /one}
---
image: two
from: BUSYBOX
dependencies:
  - image: one
    before: setup
    imports:
      - {type: ImageName, targetEnv: ONE_NAME}
      - {type: ImageID, targetEnv: ONE_ID}
      - {type: ImageDigest, targetEnv: ONE_DIGEST}
      - {type: ImageRepo, targetEnv: ONE_REPO}
      - {type: ImageTag, targetEnv: ONE_TAG}
shell: {setup: env | grep ^ONE_ | sort > /names}
"""
    )
    build = project.build()
    found = dict(line.split("=", 1) for line in images.read(build.reference("two"), "/names").splitlines())
    name = build.reference("one")
    assert found["ONE_NAME"] == name
    assert f"{found['ONE_REPO']}:{found['ONE_TAG']}" == name
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", found["ONE_ID"])


def test_final_images_hold_nothing_of_ours(make_project, images):
    project = make_project(
        "image: app\nfrom: BUSYBOX\ngit: [{add: /src, to: /app}]\nshell: {setup: [echo x > /x]}\ndocker: {ENV: {A: b}}\n",
        {"src/a": "a"},
    )
    reference = project.build().reference("app")
    inspected = images.client.inspect_image(reference)
    base = images.client.inspect_image(project.base)
    config = inspected["Config"]
    assert config.get("User", "") == (base["Config"].get("User") or "")
    assert config.get("WorkingDir", "") == (base["Config"].get("WorkingDir") or "")
    assert set(config["Env"]) == {*base["Config"]["Env"], "A=b"}
    own = {label for label in config["Labels"] if label not in (base["Config"]["Labels"] or {})}
    assert own and all(label.startswith("dev.conveyor.") for label in own)
    said = str([config, inspected.get("ContainerConfig"), inspected.get("Comment"), inspected.get("Author")])
    assert "stapel" not in said
    assert "ssh" not in said.lower()
    history = images.client.history(reference)
    assert all("stapel" not in str(entry) and "base64" not in str(entry) for entry in history)
    assert not [path for path in images.files(reference) if path.startswith(".conveyor") and path not in EMPTY]


EMPTY = {".conveyor", ".conveyor/stapel", ".conveyor/tmp", ".conveyor/tmp/ssh-auth-sock"}
