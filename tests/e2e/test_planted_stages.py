"""Stages that somebody has planted: their labels or names do not say what they are. None is used, and no build fails."""

from __future__ import annotations

import functools
import itertools
import json
import secrets

import pytest

from conveyor.keys.key import content_digest
from conveyor.storage.facts import LABEL

APP = """\
image: app
from: BUSYBOX
git: [{add: /src, to: /app}, {add: /more, to: /more}]
shell:
  beforeInstall: echo 1 > /before
  install: cat /app/main.txt > /installed
docker: {CMD: [cat, /installed]}
"""
FILES = {"src/main.txt": "one\n", "more/x": "x\n"}
UNKNOWN = "5" * 40


def of_commits(label, commits, head=""):
    """A label that agrees with itself, of other commits."""
    git = {mapping: {**item, "commits": list(commits)} for mapping, item in label["git"].items()}
    recorded = {mapping: tuple(commits) for mapping in git}
    return {**label, "git": git, "contentDigest": content_digest(label["digest"], recorded), "commit": head or commits[0]}


def without_git(label):
    return {**label, "git": {}, "contentDigest": content_digest(label["digest"], {})}


def of_other_mappings(label, commit):
    git = {"0123456789abcdef": {"commits": [commit], "tree": "0" * 56}}
    return {**label, "git": git, "contentDigest": content_digest(label["digest"], {"0123456789abcdef": (commit,)})}


def lies(label, others, foreign, head):
    """By what is false in them: labels of stages that must not be used as the one that has `label`."""
    yield "another digest", {**label, "digest": "f" * 56}
    for stage, other in others.items():
        yield f"the label of {stage}", other
        yield f"another stage: {stage}", {**label, "stage": stage}
    yield "another content digest", {**label, "contentDigest": "e" * 56}
    yield "other mappings", of_other_mappings(label, head)
    yield "a later version", {**label, "version": 2}
    yield "a part that is missing", {name: value for name, value in label.items() if name != "parents"}
    yield "a list", [label]
    yield "no JSON", json.dumps(label)[:-1]
    yield "nothing", ""
    yield "nested without end", "[" * 100_000
    yield "a huge number", json.dumps(label).replace('"version":', f'"version": {"9" * 10_000}, "was":')
    yield "many megabytes", {**label, "digest": "f" * (3 << 20)}
    yield "odd types", {**label, "git": {"a": []}, "parents": 5}
    yield "parents of other digests", {**label, "parents": [f"{'a' * 56}-1700000000000-00000000"]}
    if label["git"]:
        yield "no commits", without_git(label)
        yield "a commit of another branch", of_commits(label, [foreign])
        yield "an unknown commit", of_commits(label, [UNKNOWN])
        yield "HEAD and a commit of another branch", of_commits(label, [head, foreign])
        merge = of_commits(label, [head, head])
        other_files = {mapping: {**item, "tree": "0" * 56} for mapping, item in merge["git"].items()}
        yield "a merge that does not give its files", {**merge, "git": other_files}
        yield "what is no commit", of_commits(label, ["HEAD"], head)
        yield "commits that are none", of_commits(label, [], head)


class Planter:
    """Puts images into the engine's store, or by the engine into a repository of a registry."""

    def __init__(self, images, build, address):
        self.client = images.client
        self.address = address
        self.counter = itertools.count(1)
        self.planted = {}
        self.containers = []
        self.is_remote = "/" in address
        self.references = {stage["Name"]: stage["DockerImageName"] for stage in build.report["Images"]["app"]["Stages"]}
        for reference in self.references.values() if self.is_remote else ():
            self.client.pull(reference)
        self.labels = {
            stage: json.loads(images.config(reference)["Labels"][LABEL]) for stage, reference in self.references.items()
        }

    def make(self, stage, label):
        """An image with a file that must never be seen, and this label; its id."""
        config = {"Labels": {LABEL: label if isinstance(label, str) else json.dumps(label)}, "Cmd": ["cat", "/installed"]}
        return self.client.commit(self.poisoned(stage), conf=config)["Id"]

    @functools.cache  # noqa: B019 - as long as the test
    def poisoned(self, stage):
        """A container that has run in a stage and left what nobody wants."""
        command = ["/bin/sh", "-c", "echo bad > /installed; echo > /planted"]
        container = self.client.create_container(self.references[stage], command=command)
        self.containers.append(container)
        self.client.start(container)
        assert self.client.wait(container)["StatusCode"] == 0
        return container

    def plant(self, stage, what, label, *, earlier_ms=None, suffix="", name=""):
        """Name such an image as an older stage of the digest that `stage` has."""
        image = self.make(stage, label)
        digest, timestamp, _ = self.references[stage].rpartition(":")[2].split("-")
        earlier_ms = next(self.counter) if earlier_ms is None else earlier_ms
        name = name or f"{digest}-{int(timestamp) - earlier_ms:013d}-{suffix or image[7:15]}"
        self.client.tag(image, self.address, name)
        if self.is_remote:
            for line in self.client.push(self.address, name, stream=True, decode=True):
                assert "error" not in line, line
            self.client.remove_image(f"{self.address}:{name}", force=True)
        self.planted[f"{self.address}:{name}"] = f"{stage}: {what}"

    def plant_all(self, stages, foreign, head):
        for stage in stages:
            label = self.labels[stage]
            others = {other: said for other, said in self.labels.items() if other != stage}
            some = dict(itertools.islice(others.items(), 1))
            for what, lie in lies(label, some, foreign, head):
                self.plant(stage, what, lie)
            self.plant(stage, "a name of other bytes", label, suffix="00000000")
            if label["git"]:
                self.plant(stage, "the time of the true one", of_commits(label, [foreign]), earlier_ms=0)


@pytest.fixture
def planted(make_project, images):
    """`planted(address)`: a project that was built there (\"\": in the engine), and plants beside all of its stages."""

    def make(address=""):
        project = make_project(APP, FILES)
        project.git("checkout", "-q", "-b", "foreign")
        foreign = project.change("src/foreign.txt", "foreign\n")
        project.git("checkout", "-q", "main")
        head = project.git("rev-parse", "HEAD")
        honest = project.build(*(("--repo", address) if address else ()))
        planter = Planter(images, honest, address or project.name)
        try:
            planter.plant_all(("gitArchive",) if address else ("gitArchive", "install"), foreign, head)
        finally:
            for container in planter.containers:
                images.client.remove_container(container, force=True)
        return project, honest, planter

    return make


def empty_home(project):
    return {"CONVEYOR_HOME_DIR": str(project.home / secrets.token_hex(4))}


def check(planter, build, project, images):
    used = [planter.planted[name] for name in build.names() if name in planter.planted]
    assert used == []
    assert "Traceback" not in build.run.output
    assert project.docker("run", "--rm", build.reference("app")) == "one\n"
    assert "planted" not in images.files(build.reference("app"))


def test_planted_stages_of_the_engine_are_not_used(planted, images):
    project, honest, planter = planted()
    found = project.build("--require-built-images")
    assert found.names() == honest.names()
    check(planter, found, project, images)
    for name in reversed(honest.names()):
        images.client.remove_image(name, force=True)
    again = project.build()
    assert again.stages("app") == honest.stages("app")
    assert len(again.built["app"]) == len(honest.names())
    check(planter, again, project, images)


def test_planted_stages_of_a_registry_are_not_used(planted, images, registry):
    address = f"{registry.host}/{secrets.token_hex(4)}/app"
    project, honest, planter = planted(address)
    images.remove_repository(address)
    images.remove_repository(project.name)
    found = project.build("--repo", address, "--require-built-images", env=empty_home(project))
    assert found.names() == honest.names()
    check(planter, found, project, images)
