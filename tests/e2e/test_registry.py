"""A registry as the shared cache: from another clone, with an empty home, on a machine that has never seen it."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import shutil

import pytest

from tests.conftest import PASSWORD
from tests.e2e.projects import APP, FILES, Project


@pytest.fixture(params=["open", "with basic auth"])
def repository(request, make_project):
    """A repository of a registry, and a project with credentials for it."""
    server = request.getfixturevalue("registry" if request.param == "open" else "registry_with_auth")
    project = make_project(APP, FILES)
    if request.param != "open":
        log_in(project, server)
    return f"{server.host}/{secrets.token_hex(4)}/app", project, server


def log_in(project, server):
    docker = project.home / "docker"
    docker.mkdir(exist_ok=True)
    auth = base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
    (docker / "config.json").write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))


def clone_of(project, tmp_path):
    """Another clone with an empty home, and with the same credentials."""
    other = Project.__new__(Project)
    other.__dict__.update(project.__dict__)
    other.directory = tmp_path / "second clone"
    project.git("clone", "--quiet", str(project.directory), str(other.directory))
    other.home = tmp_path / "empty home"
    (other.home / "docker").mkdir(parents=True)
    config = project.home / "docker/config.json"
    if config.exists():
        shutil.copy(config, other.home / "docker/config.json")
    other.env = {
        **project.env,
        "HOME": str(other.home),
        "CONVEYOR_HOME_DIR": str(other.home / "conveyor"),
        "DOCKER_CONFIG": str(other.home / "docker"),
    }
    return other


def test_what_one_clone_builds_another_finds(repository, images, tmp_path):
    address, project, _ = repository
    first = project.build("--repo", address)
    assert set(first.built) == {"tools", "app"}
    assert all(name.startswith(f"{address}:") for name in first.names())
    second = clone_of(project, tmp_path).build("--repo", address, "--require-built-images")
    assert second.built == {}
    assert second.names() == first.names()

    # The next stage is built on one that this engine may have forgotten.
    project.change("src/main.txt", "two\n")
    images.remove_repository(address)
    third = clone_of(project, tmp_path / "changed").build("--repo", address)
    assert third.built == {"app": ["gitLatestPatch", "dockerInstructions"]}
    assert project.docker("run", "--rm", third.reference("app")) == "two\n"


def test_the_local_store_is_the_first_secondary(repository):
    address, project, _ = repository
    local = project.build()
    pushed = project.build("--repo", address)
    assert pushed.built == {}
    assert [name.rpartition(":")[2] for name in pushed.names()] == [name.rpartition(":")[2] for name in local.names()]


def test_a_secondary_repository_is_read_and_never_written(repository, images):
    address, project, _ = repository
    first = project.build("--repo", address)
    images.remove_repository(project.name)
    second = project.build("--repo", f"{address}-2", "--secondary-repo", address)
    assert second.built == {}
    assert [name.rpartition(":")[2] for name in second.names()] == [name.rpartition(":")[2] for name in first.names()]


def test_custom_tags_name_the_last_stage(repository):
    address, project, _ = repository
    build = project.build("--repo", address, "--add-custom-tag", "%image%-v1")
    assert "app-v1" in build.run.stderr + json.dumps(build.report)


def test_a_registry_that_refuses_ends_with_status_4(registry_with_auth, make_project):
    project = make_project(APP, FILES)
    failed = project.conveyor("build", "--repo", f"{registry_with_auth.host}/x/app")
    assert failed.status == 4, failed.output
    assert "docker login" in failed.stderr


def test_a_registry_that_is_not_there_ends_with_status_4(make_project):
    project = make_project(APP, FILES)
    failed = project.conveyor("build", "--repo", "127.0.0.1:9/x/app")
    assert failed.status == 4, failed.output


def test_a_stage_with_a_damaged_layer_is_built_again(make_project, registry, images):
    text = APP.replace("shell: {install: cat", "shell: {install: head -c 100000 /dev/urandom > /random; cat")
    project = make_project(text, FILES)
    address = f"{registry.host}/{secrets.token_hex(4)}/app"
    first = project.build("--repo", address)
    _forget(images, first)
    large = [path for path in registry.storage.rglob("blobs/**/data") if 90_000 < path.stat().st_size < 300_000]
    for path in large:
        path.write_bytes(b"damaged")
    project.change("src/main.txt", "two\n")
    second = project.build("--repo", address)
    assert "is damaged" in second.run.stderr
    assert "install" in second.built["app"]
    assert project.docker("run", "--rm", second.reference("app")) == "two\n"


def _forget(images, build):
    """Have the engine forget the images of a build."""
    for image in build.report["Images"].values():
        for stage in reversed(image["Stages"]):
            with contextlib.suppress(Exception):
                images.client.remove_image(stage["DockerImageID"], force=True)
