"""More than one storage: secondaries in order, caches, a final repository, copies between them; the real registry."""

from __future__ import annotations

import json
import secrets
import urllib.request

import pytest

from stapel.oci.registry import RegistryStore
from tests.e2e.test_broken import forget, refuse_the_engine
from tests.servers import Reply, free_port, front_server

APP = """\
image: app
from: BUSYBOX
git: [{add: /src, to: /app}]
shell: {beforeInstall: head -c 1000 /dev/urandom > /one, install: cat /one > /two}
docker: {CMD: [cat, /app/main.txt]}
"""
FILES = {"src/main.txt": "one\n"}


@pytest.fixture
def project(make_project):
    return make_project(APP, FILES)


@pytest.fixture
def repository(registry):
    """Makes addresses of repositories that nobody else has."""
    group = secrets.token_hex(4)
    return lambda name: f"{registry.host}/{group}/{name}"


def tags(address):
    host, _, path = address.partition("/")
    with urllib.request.urlopen(f"http://{host}/v2/{path}/tags/list") as answer:
        return {tag for tag in json.load(answer)["tags"] if not tag.startswith("upload-")}


def stage_tags(address):
    return {tag for tag in tags(address) if len(tag) == 79 and not tag.startswith(("meta-", "custom-"))}


def tag_of(name):
    return name.rpartition(":")[2]


def test_three_secondaries_of_which_one_does_not_answer_and_one_is_broken(project, repository, registry, images):
    good, broken, primary = repository("good"), repository("broken"), repository("primary")
    first = project.build("--repo", good)
    assert project.conveyor("stages", "copy", "--from", good, "--to", broken).status == 0
    assert stage_tags(broken) == stage_tags(good)
    forget(images, first)
    images.remove_repository(project.name)
    host, _, path = broken.partition("/")
    with front_server(host) as front:
        front.rules.append(
            lambda request, forward: Reply(404) if "/blobs/" in request.path and request.method == "GET" else None
        )
        nobody = f"127.0.0.1:{free_port()}/no/app"
        arguments = [part for address in (nobody, f"{front.host}/{path}", good) for part in ("--secondary-repo", address)]
        second = project.build("--repo", primary, *arguments)
    assert second.built == {}
    assert [tag_of(name) for name in second.names()] == [tag_of(name) for name in first.names()]
    assert second.run.stderr.count(f"{nobody} cannot be asked") == 1
    assert "and left out" in second.run.stderr or "and is left out" in second.run.stderr
    assert not [tag for tag in tags(broken) | tags(primary) if "rejected" in tag]


def test_a_cache_is_filled_and_gives_the_bytes_and_fails_nothing(project, repository, registry, images):
    primary, cache = repository("primary"), repository("cache")
    first = project.build("--repo", primary, "--cache-repo", cache)
    assert stage_tags(cache) == stage_tags(primary)
    forget(images, first)
    project.change("src/main.txt", "two\n")
    host, _, path = primary.partition("/")
    with front_server(host) as front:
        # The bytes of stages are not to be had from the primary: all that is read of it is what selection reads.
        large = [layer.digest for layer in RegistryStore(primary).get(first.stage("app", "install")["DockerTag"]).layers()]
        front.rules += [
            refuse_the_engine,
            lambda request, forward: (
                Reply(403) if request.method == "GET" and any(request.path.endswith(digest) for digest in large) else None
            ),
        ]
        second = project.build("--repo", f"{front.host}/{path}", "--cache-repo", cache)
    assert second.built == {"app": ["gitLatestPatch", "dockerInstructions"]}
    assert project.docker("run", "--rm", second.reference("app").replace(front.host, host)) == "two\n"

    project.change("src/main.txt", "three\n")
    third = project.build("--repo", primary, "--cache-repo", f"127.0.0.1:{free_port()}/no/cache")
    assert third.run.stderr.count("nor any other in this run") in (1, 2)
    refused = project.conveyor("build", "--cache-repo", cache)
    assert (refused.status, "needs --repo" in refused.stderr) == (2, True)


@pytest.mark.parametrize("stored", ["in a registry", "in the engine"])
def test_final_images_and_their_tags_are_in_the_final_repository(project, repository, images, stored):
    primary = ["--repo", repository("primary")] if stored == "in a registry" else []
    final = repository("final")
    build = project.build(*primary, "--final-repo", final, "--add-custom-tag", "%image%-v1")
    last = build.report["Images"]["app"]["Stages"][-1]["DockerTag"]
    assert tags(final) == {last, "app-v1"}
    assert build.reference("app") == f"{final}:{last}"
    images.client.pull(f"{final}:app-v1")
    assert project.docker("run", "--rm", f"{final}:app-v1") == "one\n"
    with front_server(final.partition("/")[0]) as front:
        front.rules.append(lambda request, forward: Reply(403) if request.method not in ("GET", "HEAD") else None)
        read_only = f"{front.host}/{final.partition('/')[2]}"
        again = project.build(*primary, "--final-repo", read_only, "--add-custom-tag", "%image%-v1")
        assert again.built == {}
        project.change("src/main.txt", "two\n")
        failed = project.build(*primary, "--final-repo", read_only, status=4)
        assert "is not published" in failed.run.stderr


def test_what_was_built_at_a_commit_is_recorded_once(project, repository):
    primary = repository("primary")
    commit = project.git("rev-parse", "HEAD")
    project.build("--repo", primary, "--add-custom-tag", "v1")
    records = {tag for tag in tags(primary) if tag.startswith(("meta-", "managed-image-", "custom-tag-"))}
    assert "managed-image-app" in records
    assert len([tag for tag in records if f"_{commit}_" in tag]) == 1
    assert len([tag for tag in records if tag.startswith("custom-tag-") and tag.endswith("_v1")]) == 1
    project.write("src/new.txt", "new\n")
    project.build("--repo", primary, "--dev")
    assert {tag for tag in tags(primary) if tag.startswith("meta-")} == {tag for tag in records if tag.startswith("meta-")}


def test_stages_go_from_the_engine_to_a_registry_to_another_and_back(project, repository, images):
    there, other = repository("there"), repository("other")
    local = project.build()
    names = {tag_of(name) for name in local.names()}

    def copy(*arguments, status=0):
        run = project.conveyor("stages", "copy", *arguments)
        assert run.status == status, run.output
        return run.stderr

    assert "5 copied" in copy("--from", ":local", "--to", there)
    assert stage_tags(there) == names
    assert "0 copied, 5 there before" in copy("--from", ":local", "--to", there)
    assert "5 copied" in copy("--from", there, "--to", f"docker://{other}")
    assert stage_tags(other) == names
    images.remove_repository(project.name)
    assert project.build("--repo", other, "--require-built-images").built == {}

    # What was built with a registry has digits of a manifest in its name, which the engine does not know.
    project.change("src/main.txt", "two\n")
    built = project.build("--repo", other)
    images.remove_repository(project.name)
    forget(images, built)
    assert "copied" in copy("--from", other, "--to", ":local", "--no-all")
    assert [tag_of(name) for name in project.build("--require-built-images").names()] == [
        tag_of(name) for name in built.names()
    ]
    assert "not all stages of HEAD" in copy("--from", there, "--to", ":local", "--no-all", status=3)
    assert "one and the same" in copy("--from", there, "--to", there, status=2)
