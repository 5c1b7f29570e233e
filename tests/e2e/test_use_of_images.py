"""What is done with images once they are built: their logs read, they are run, and given away; by both engines."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from samples.make_base import busybox_archive, find_busybox
from stapel.oci.archives import open_archive
from stapel.oci.registry import RegistryStore
from tests.e2e.projects import Project

TEXT = """
image: app
from: BUSYBOX
git:
- add: /
  to: /src
shell:
  beforeInstall: mkdir -p /etc; echo 'dev:x:100:101::/home/dev:/bin/sh' >>/etc/passwd
  install: printf 'installing \\033[2J\\n'; echo to stderr >&2
  setup: printf 'setting up'; FAIL
docker:
  USER: dev:55
  WORKDIR: /made
  ENV: {GIVEN: by the image}
  CMD: [/bin/sh, -c, 'id -u; id -g; pwd; echo $GIVEN; exit 5']
---
artifact: tools
from: BUSYBOX
shell:
  setup: echo for the tools
"""


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "sandbox"])
def project(request, tmp_path):
    if request.param == "docker":
        return request.getfixturevalue("make_project")(TEXT.replace("FAIL", "true"))
    project = Project(tmp_path / "app", "use-of-images", "busybox:1", tmp_path / "home")
    project.env["CONVEYOR_ENGINE"] = "sandbox"
    project.configure(TEXT.replace("FAIL", "true"))
    project.commit()
    (tmp_path / "busybox.tar").write_bytes(busybox_archive(find_busybox()))
    assert project.conveyor("image", "import", "busybox:1", str(tmp_path / "busybox.tar")).status == 0
    return project


def home(project):
    return Path(project.env["CONVEYOR_HOME_DIR"])


def test_logs_of_stages_that_are_used(project):
    missing = project.conveyor("logs")
    assert missing.status == 3
    assert "`conveyor build app` builds it" in missing.stderr
    project.build()
    assert project.build().built == {}
    whole = project.conveyor("logs").stdout
    assert whole.startswith("==> app/beforeInstall\n\n==> app/install\n")
    assert whole.endswith("\n==> app/setup\nsetting up\n")
    assert set(project.conveyor("logs", "app/install").stdout.splitlines()) == {"installing ", "to stderr"}
    assert project.conveyor("logs", "tools").status == 3  # nothing needs it, so it was not built
    assert "runs no commands" in project.conveyor("logs", "app/from").stderr
    assert "did you mean `setup`?" in project.conveyor("logs", "app/setupp").stderr
    assert list((home(project) / "logs/running").iterdir()) == []
    for path in (home(project) / "logs").glob("*-*"):
        path.unlink()
    gone = project.conveyor("logs", "app/setup")
    assert gone.status == 1
    assert "was not built on this machine, or its log was removed" in gone.stderr


def test_the_log_of_a_stage_that_failed(project):
    project.configure(TEXT.replace("FAIL", "exit 7"))
    project.commit()
    project.build(status=1)
    shown = project.conveyor("logs", "app")
    assert shown.stdout.endswith("==> app/setup\nsetting up\n")
    project.configure(TEXT.replace("FAIL", "seq 1 100; exit 7"))
    project.commit()
    failed = project.build(status=1).run.stderr
    assert "Last 20 lines of its log (`conveyor logs app/setup` shows all of it):" in failed
    shown = project.conveyor("logs", "app/setup")
    assert shown.stdout.startswith("setting up1\n2\n")
    assert "its last build here, which failed" in shown.stderr
    project.configure(TEXT.replace("FAIL", "true"))
    project.commit()
    project.build()
    assert "failed" not in project.conveyor("logs", "app").stderr


def test_an_image_is_run_as_it_says(project):
    assert project.conveyor("run", "app").status == 3
    built = project.build()
    assert ("conveyor run app" in built.run.stderr) == (project.env["CONVEYOR_ENGINE"] == "sandbox")
    ran = project.conveyor("run", "app")
    assert (ran.status, ran.stdout, ran.stderr) == (5, "100\n55\n/made\nby the image\n", "")
    typed = subprocess.run(
        project.command("run", "--", "/bin/sh", "-c", "cat; echo $HOME $0 >&2; touch /src/x || exit 3", "--"),
        cwd=project.directory,
        env=project.env,
        input=b"typed",
        capture_output=True,
    )
    assert (typed.returncode, typed.stdout, typed.stderr.splitlines()[0]) == (3, b"typed", b"/home/dev --")
    assert project.conveyor("run", "app", "--", "/no/such/program").status != 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_nothing(project, number):
    """Its first process is another user than root, which the kernel does not end with its parent."""
    project.build()
    mark = f"{os.getpid()}{number:02}"
    started = subprocess.Popen(
        project.command("run", "--", "/bin/sh", "-c", f"echo begun; sleep {mark}; echo never"),
        cwd=project.directory,
        env=project.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert started.stdout.readline() == b"begun\n"
    started.send_signal(number)
    assert started.wait(30) in (130, -signal.SIGKILL)
    if number == signal.SIGKILL:  # the next run ends what a killed one left
        assert project.conveyor("run", "--", "/bin/sh", "-c", "true").status == 0
        project.build()
    for _ in range(100):
        if subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True).returncode == 1:
            break
        time.sleep(0.1)
    else:
        pytest.fail("it still runs")


def test_what_a_run_changes_is_thrown_away(project):
    project.configure(TEXT.replace("FAIL", "true").replace("USER: dev:55", "USER: root"))
    project.commit()
    project.build()
    script = "test ! -e /src/new && echo >/src/new && rm /bin/busybox"
    for _ in range(2):
        assert project.conveyor("run", "app", "--", "/bin/sh", "-c", script).status == 0
    assert project.build().built == {}
    if project.env["CONVEYOR_ENGINE"] == "sandbox":
        assert list((home(project) / "sandbox/filling").iterdir()) == []


def test_an_image_is_exported(project, tmp_path):
    assert project.conveyor("export", "--to", f"oci:{tmp_path}/layout").status == 3
    project.build()
    files = {}
    for place in ("docker-archive", "oci-archive"):
        for name in ("one", "two"):
            files[name] = tmp_path / f"{place}-{name}.tar"
            exported = project.conveyor("export", "app", "--to", f"{place}:{files[name]}:shop:2")
            assert exported.status == 0, exported.stderr
        assert files["one"].read_bytes() == files["two"].read_bytes()
        with open_archive(files["one"]) as archive:
            view = archive.get("shop:2")
            assert not [label for label in view.config.labels if label.startswith("dev.conveyor.")]
            assert view.config.run["WorkingDir"] == "/made"
            for layer in view.layers():
                with view.open(layer) as content:
                    assert content.read()
    kept = project.conveyor("export", "--keep-labels", "--to", f"oci:{tmp_path}/layout")
    assert kept.status == 0, kept.stderr
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert [item["annotations"]["org.opencontainers.image.ref.name"] for item in index["manifests"]] == ["latest"]


def test_an_image_of_a_registry(project, registry, tmp_path):
    repo = ["--repo", f"{registry.host}/of-a-registry-{project.env['CONVEYOR_ENGINE']}", "--insecure-registry"]
    project.build(*repo)
    assert "setting up" in project.conveyor("logs", "app/setup", *repo).stdout
    other = {"CONVEYOR_HOME_DIR": str(tmp_path / "other-home")}
    ran = project.conveyor("run", *repo, env=other)
    assert (ran.status, ran.stdout) == (5, "100\n55\n/made\nby the image\n"), ran.stderr
    exported = project.conveyor("export", "--keep-labels", *repo, "--to", f"oci-archive:{tmp_path}/image.tar:1", env=other)
    assert exported.status == 0, exported.stderr
    with open_archive(tmp_path / "image.tar") as archive:
        stage = RegistryStore(f"{registry.host}/{repo[1].partition('/')[2]}", insecure=True)
        exported = archive.get("1").descriptor
        assert any(stage.get(name).descriptor == exported for name in stage.names())  # byte for byte as it is stored
    unknown = project.conveyor("logs", "app/setup", *repo, env=other)
    assert unknown.status == 1
    assert "the log is on the machine that built it" in unknown.stderr


@pytest.mark.docker
def test_an_image_is_exported_to_the_engine_and_to_a_registry(project, docker_engine, registry, images):
    project.build()
    name = f"exported-{project.directory.parent.name.lower().replace('_', '-')}"
    try:
        exported = project.conveyor("export", "--to", f"docker-daemon:{name}:2")
        assert exported.status == 0, exported.stderr
        ran = subprocess.run(["docker", "run", "--rm", f"{name}:2"], capture_output=True, text=True)
        assert (ran.returncode, ran.stdout) == (5, "100\n55\n/made\nby the image\n")
        labels = docker_engine.inspect_image(f"{name}:2")["Config"]["Labels"] or {}
        assert not [label for label in labels if label.startswith("dev.conveyor.")]
    finally:
        images.remove_repository(name)
    pushed = project.conveyor("export", "--to", f"docker://{registry.host}/{name}:2", "--insecure-registry")
    assert pushed.status == 0, pushed.stderr
    assert list(RegistryStore(f"{registry.host}/{name}", insecure=True).names()) == ["2"]
