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


def top_blob(registry, address, stage):
    """The file of the last layer of a stage."""
    digest = RegistryStore(address).get(stage["DockerTag"]).layers()[-1].digest.partition(":")[2]
    return registry.storage / f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"


def listed(project, address):
    run = project.conveyor("stages", "ls", "--repo", address, "--format", "json")
    assert run.status == 0, run.output
    return {stage["name"]: stage for stage in map(json.loads, run.stdout.splitlines())}


@pytest.mark.parametrize("damage", ["absent", "other bytes"])
def test_a_broken_stage_is_marked_and_built_again_and_the_mark_can_be_taken_back(built, registry, images, damage):
    project, address, first = built
    broken = first.stage("app", "beforeInstall")
    path = top_blob(registry, address, broken)
    kept = path.read_bytes()
    forget(images, first)
    if damage == "absent":
        shutil.rmtree(path.parent)
    else:
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

    path.parent.mkdir(exist_ok=True)
    path.write_bytes(kept)
    lifted = project.conveyor("stages", "unreject", broken["DockerImageName"], "--repo", address)
    assert lifted.status == 0, lifted.output
    assert not any(stage["rejected"] for stage in listed(project, address).values())
    assert project.build("--repo", address).stage("app", "beforeInstall")["DockerTag"] == broken["DockerTag"]
    again = project.conveyor("stages", "unreject", broken["DockerTag"], "--repo", address)
    assert (again.status, "is not marked" in again.stderr) == (0, True)


def refuse_the_engine(request, forward):
    """The engine gives up at once, and conveyor moves the bytes itself."""
    return Reply(403) if request.headers.get("User-Agent", "").startswith("docker/") else None


@pytest.mark.parametrize("gone", [False, True])
def test_blobs_that_are_refused_or_gone_with_their_image_break_no_stage(built, images, gone):
    project, address, first = built
    host, _, path = address.partition("/")
    forget(images, first)
    project.change("src/main.txt", "two\n")

    def refuse(request, forward):
        if "/blobs/" in request.path and request.method == "GET":
            return Reply(404 if gone else 403)
        # With `gone` the manifests are found when they are selected, and are gone when their blobs are missed.
        return Reply(404) if gone and request.method == "HEAD" and "/manifests/sha256" in request.path else None

    with front_server(host) as front:
        front.rules += [refuse_the_engine, refuse]
        build = project.build("--repo", f"{front.host}/{path}", status=1 if gone else 4)
        front.rules.clear()
        assert not any(stage["rejected"] for stage in listed(project, address).values())
    assert build.report["Images"]["app"]["Failure"]["Reason"] == ("not_found" if gone else "refused")


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
