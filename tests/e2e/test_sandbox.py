"""Whole builds without a daemon, and stages that both engines share."""

import shutil
import subprocess
from pathlib import Path

import pytest

from samples.make_base import busybox_archive, find_busybox
from stapel.oci.registry import RegistryStore
from tests.e2e.projects import Project

SANDBOX = {"CONVEYOR_ENGINE": "sandbox"}


@pytest.fixture
def make_hello(tmp_path):
    """The sample `hello` as a project, and its base in the sandbox's store."""

    def make():
        project = Project(
            tmp_path / "hello", f"sandbox-{tmp_path.name.lower().replace('_', '-')}", "busybox:1", tmp_path / "home"
        )
        project.env.update(SANDBOX)
        project.copy_sample(Path(__file__).parents[2] / "samples/hello")
        text = (project.directory / "werf.yaml").read_text()
        text = text.replace("conveyor-sample/busybox:latest", "busybox:1")
        project.configure(text.replace("project: conveyor-sample-hello", f"project: {project.name}"))
        project.commit("The sample")
        (tmp_path / "busybox.tar").write_bytes(busybox_archive(find_busybox()))
        assert project.conveyor("image", "import", "busybox:1", str(tmp_path / "busybox.tar")).status == 0
        return project

    return make


def test_a_project_is_built_once_and_found_again(make_hello):
    project = make_hello()
    first = project.build()
    assert len(first.built["hello"]) + len(first.built["greetings"]) == 10
    assert project.build().built == {}
    assert project.build("--require-built-images").built == {}
    project.change("app/words.txt", "other\nwords\n")
    assert project.build().built == {"hello": ["install", "dependenciesAfterInstall", "setup", "dockerInstructions"]}
    store = Path(project.env["CONVEYOR_HOME_DIR"]) / "sandbox"
    assert list((store / "filling").iterdir()) == list((store / "pins").iterdir()) == []
    assert subprocess.run(["pgrep", "-f", f"stapel.sandbox.inside.*{store}"], capture_output=True).returncode == 1


def test_a_failing_stage_tells_its_log_and_its_status(make_hello):
    project = make_hello()
    text = (project.directory / "werf.yaml").read_text()
    project.change("werf.yaml", text.replace("setup: wc -l", "setup: echo told >&2; exit 7; wc -l"))
    built = project.build(status=1)
    assert "told" in built.run.stderr
    assert "exit status 7" in built.run.stderr


def test_the_store_can_be_thrown_away_and_is_built_again(make_hello):
    project = make_hello()
    project.build()
    shutil.rmtree(Path(project.env["CONVEYOR_HOME_DIR"]) / "sandbox/names" / project.name)
    assert len(project.build().built["hello"]) > 3


@pytest.mark.registry
def test_layers_are_pushed_by_zstd_where_that_is_asked_for(make_hello, registry, tmp_path):
    project = make_hello()
    repository = f"{registry.host}/{project.name}"
    project.env["CONVEYOR_REPO"] = repository
    first = project.build("--layer-compression", "zstd")
    image = RegistryStore(repository).get(first.reference("hello").rpartition(":")[2])
    assert {layer.media_type for layer in image.layers()} == {"application/vnd.oci.image.layer.v1.tar+zstd"}
    project.env["CONVEYOR_HOME_DIR"] = str(tmp_path / "another home")
    again = project.build("--require-built-images")
    assert again.names() == first.names()
    assert project.conveyor("run", "greetings", "--", "true").status == 0


def test_a_base_that_only_the_docker_engine_has_is_taken_from_there(make_project):
    project = make_project("image: app\nfrom: BUSYBOX\nshell: {setup: cat /etc/passwd >/accounts}\n")
    project.env.update(SANDBOX)
    assert project.build().built == {"app": ["from", "setup"]}
    assert "root:x:0:0" in project.conveyor("run", "app", "--", "cat", "/accounts").stdout
