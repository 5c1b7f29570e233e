"""A registry that has lost or damaged blobs, or that may not be written to: what a build makes of it, and who is told."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil

import pytest

from stapel.oci.registry import RegistryStore
from tests.servers import Reply, front_server

APP = """\
image: app
from: BUSYBOX
git: [{add: /src, to: /app}]
shell:
  beforeInstall: head -c 1000 /dev/urandom > /one
  install: head -c 1000 /dev/urandom > /two
  setup: cat /one /two > /three
"""
FILES = {"src/main.txt": "one\n"}


@pytest.fixture
def built(make_project, registry):
    """A project whose stages are in a registry, the address, and how it was built."""
    project = make_project(APP, FILES)
    address = f"{registry.host}/{secrets.token_hex(4)}/app"
    return project, address, project.build("--repo", address)


def forget(images, build):
    """Have the engine forget the images of a build."""
    for stage in reversed(build.report["Images"]["app"]["Stages"]):
        with contextlib.suppress(Exception):
            images.client.remove_image(stage["DockerImageID"], force=True)


def blob_file(registry, address, stage, index):
    """The file of a layer of a stage."""
    digest = RegistryStore(address).get(stage["DockerTag"]).layers()[index].digest.partition(":")[2]
    return registry.storage / f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"


def listed(project, address):
    run = project.conveyor("stages", "ls", "--repo", address, "--format", "json")
    assert run.status == 0, run.output
    return {stage["name"]: stage for stage in map(json.loads, run.stdout.splitlines())}


def test_a_broken_stage_is_marked_and_built_again_and_the_mark_can_be_taken_back(built, registry, images):
    project, address, first = built
    broken = first.stage("app", "beforeInstall")
    path = blob_file(registry, address, broken, -1)
    kept = path.read_bytes()
    forget(images, first)
    path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    project.change("src/main.txt", "two\n")

    second = project.build("--repo", address)
    # All above it had the blob too; the lowest was marked, and so one resolution was enough.
    assert second.built == {"app": ["beforeInstall", "gitArchive", "install", "setup"]}
    assert second.stage("app", "beforeInstall")["Reason"]["Kind"] == "rejected"
    assert second.run.stderr.count("is resolved again") == 1
    stages = listed(project, address)
    assert [name for name, stage in stages.items() if stage["rejected"]] == [broken["DockerTag"]]
    assert stages[first.stage("app", "setup")["DockerTag"]]["rejectedParents"] == [broken["DockerTag"]]
    table = project.conveyor("stages", "ls", "--repo", address).stdout.splitlines()
    assert next(line for line in table if broken["DockerTag"] in line).endswith("  rejected")
    assert sum(line.endswith("stands on a rejected stage") for line in table) == 3

    # The next machine finds what was made anew; nothing is read of what is marked.
    forget(images, second)
    assert project.build("--repo", address, "--require-built-images").names() == second.names()

    path.write_bytes(kept)
    lifted = project.conveyor("stages", "unreject", broken["DockerImageName"], "--repo", address)
    assert lifted.status == 0, lifted.output
    assert not any(stage["rejected"] for stage in listed(project, address).values())
    assert project.build("--repo", address).stage("app", "beforeInstall")["DockerTag"] == broken["DockerTag"]
    again = project.conveyor("stages", "unreject", broken["DockerTag"], "--repo", address)
    assert (again.status, "is not marked" in again.stderr) == (0, True)


@pytest.mark.parametrize("damage", ["absent", "other bytes"])
def test_a_layer_that_is_the_same_each_time_is_uploaded_again_or_told_to_be_damaged(
    request, built, registry, images, damage
):
    project, address, first = built
    broken = first.stage("app", "gitArchive")
    path = blob_file(registry, address, broken, -1)
    kept = path.read_bytes()
    request.addfinalizer(lambda: path.write_bytes(kept))  # others have the same files, and so the same blob
    forget(images, first)
    if damage == "absent":
        shutil.rmtree(path.parent)
    else:
        path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    # The files and the time of the commit are the same, and so is the layer; the commands above it are others.
    project.configure(APP.replace("install: head", "install: date > /date; head"))
    project._clock_s -= 60
    project.commit()
    second = project.build("--repo", address, status=0 if damage == "absent" else 4)
    assert listed(project, address)[broken["DockerTag"]]["rejected"]
    if damage == "absent":
        assert path.read_bytes() == kept
        assert second.built == {"app": ["gitArchive", "install", "setup"]}
        return
    failure = second.report["Images"]["app"]["Failure"]
    assert (failure["Stage"], failure["Reason"]) == ("gitArchive", "storage_damaged")
    assert path.parent.name in failure["Hint"]
    # Nothing was named that has the damaged layer.
    names = [name for name, stage in listed(project, address).items() if stage["stage"] == "gitArchive"]
    assert names == [broken["DockerTag"]]


def refuse_the_engine(request, forward):
    """The engine gives up at once, and conveyor moves the bytes itself."""
    return Reply(403) if request.headers.get("User-Agent", "").startswith("docker/") else None


def test_blobs_that_are_refused_break_no_stage(built, images):
    project, address, first = built
    host, _, path = address.partition("/")
    forget(images, first)
    project.change("src/main.txt", "two\n")
    with front_server(host) as front:
        front.rules.append(refuse_the_engine)
        front.rules.append(lambda request, forward: Reply(403) if "/blobs/" in request.path else None)
        failed = project.build("--repo", f"{front.host}/{path}", status=4)
    assert failed.report["Images"]["app"]["Failure"]["Reason"] == "refused"
    assert not any(stage["rejected"] for stage in listed(project, address).values())


def test_who_may_only_read_builds_what_is_stored_and_is_told_what_is_missing(built, images):
    project, address, first = built
    host, _, path = address.partition("/")
    with front_server(host) as front:
        front.rules.append(lambda request, forward: Reply(403) if request.method not in ("GET", "HEAD") else None)
        read_only = f"{front.host}/{path}"
        stored = project.build("--repo", read_only)
        assert stored.built == {}
        assert [name.rpartition(":")[2] for name in stored.names()] == [name.rpartition(":")[2] for name in first.names()]
        project.change("src/main.txt", "two\n")
        failed = project.build("--repo", read_only, status=4)
        assert f"writing to {read_only} is refused" in failed.run.stderr
        assert "docker login" in failed.run.stderr
        assert failed.report["Images"]["app"]["Failure"]["Reason"] == "write_refused"
        unreject = project.conveyor("stages", "unreject", first.stage("app", "setup")["DockerTag"], "--repo", read_only)
        assert unreject.status == 0, unreject.output


def test_an_image_that_was_collected_before_it_had_its_name_is_put_again(make_project, registry):
    project = make_project(APP, FILES)
    lost = []

    def collect(request, forward):
        tag = request.path.rpartition("/manifests/")[2]
        if request.method == "PUT" and len(tag) == 79 and not lost:
            lost.append(tag)
            return Reply(400, {}, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry"}]}')
        return None

    with front_server(registry.host) as front:
        front.rules += [refuse_the_engine, collect]
        address = f"{front.host}/{secrets.token_hex(4)}/app"
        build = project.build("--repo", address)
        assert lost
        assert lost[0].partition("-")[0] == build.stage("app", "from")["Digest"]
        assert project.build("--repo", address, "--require-built-images").names() == build.names()
