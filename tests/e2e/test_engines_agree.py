"""One project by both engines: the same digests, the same images but for one table, and each uses what the other built."""

import os
import stat

import pytest

from stapel.oci.apply import Form, apply_layer
from stapel.oci.registry import RegistryStore
from tests.e2e.projects import Link, Program

pytestmark = [pytest.mark.docker, pytest.mark.registry]

WERF = """\
image: lib
from: BASE
git:
- add: /lib
  to: /usr/src/lib
  owner: www-data
  group: users
  stageDependencies: {setup: "*.c"}
shell:
  beforeInstall:
  - mkdir -p /opt/out/deep && echo built >/opt/out/result && ln /opt/out/result /opt/out/twin && ln -s result /opt/out/alias
  - chmod 4755 /opt/out/result; chown 33:100 /opt/out/deep; chmod 1777 /opt/out/deep; chown 4000:5000 /opt/out/twin
  setup:
  - cat /usr/src/lib/code.c >/opt/out/code
  - rm -r /home; mkdir /home; echo new >/home/new; rm /usr/bin/yes; mkfifo /opt/out/fifo
---
image: app
from: BASE
git:
- add: /app
  to: /srv/app
  excludePaths: [left-out]
  stageDependencies: {install: requirements.txt}
import:
- image: lib
  add: /opt/out
  to: /opt/lib
  owner: "1234"
  group: users
  excludePaths: [fifo]
  after: install
dependencies:
- image: lib
  before: setup
  imports: [{type: ImageName, targetEnv: LIB}]
shell:
  beforeInstall: ["echo one >/one; head -c 9000000 /dev/zero >/large"]
  install: ["cat /srv/app/requirements.txt >/installed; id -u >/uid; pwd >/cwd; umask >/umask"]
  setup: ["rm /one; ls -R /srv >/listing"]
docker:
  WORKDIR: /srv/app
  ENV: {A: "b c", EMPTY: ""}
  CMD: [cat, /installed]
  USER: www-data
"""
FILES = {
    "lib/code.c": "int main;\n",
    "app/requirements.txt": "one\n",
    "app/bin/run": Program("#!/bin/sh\necho runs\n"),
    "app/link": Link("bin/run"),
    "app/dangling": Link("/nowhere"),
    "app/odd dir/$(x) 'y'": "odd",
    b"app/lat\xe9n": b"\xff\0\xfe",
    "app/empty": "",
    "app/left-out/x": "x",
}
# Paths in which images of the two engines may differ, and why. Nothing else may.
ALLOWED = {
    ".conveyor": "Docker leaves the places where it mounts the toolchain, empty",
    ".conveyor/stapel": "the same",
}


@pytest.fixture
def project(make_project, registry, images):
    base = f"{registry.host}/base/of-both:1"
    project = make_project(WERF.replace("BASE", base), FILES)
    project.docker("tag", project.base, base)
    project.docker("push", "--quiet", base)
    return project


def read_tree(store, name, directory):
    """Every path of an image: type, mode, owner, size, content, link, extended attributes, and which paths are one file."""
    image = store.get(name)
    root = os.open(directory, os.O_RDONLY)
    try:
        for layer in image.layers():
            with image.open(layer) as stream:
                apply_layer(stream, root, Form())
    finally:
        os.close(root)
    found, one_file = {}, {}
    for path in directory.rglob("*"):
        info = path.lstat()
        relative = str(path.relative_to(directory))
        regular = stat.S_ISREG(info.st_mode)
        names = os.listxattr(path, follow_symlinks=False)
        found[relative] = (
            stat.S_IFMT(info.st_mode),
            stat.S_IMODE(info.st_mode),
            (info.st_uid, info.st_gid),
            info.st_rdev,
            path.read_bytes() if regular else b"",
            str(path.readlink()) if path.is_symlink() else "",
            {name: os.getxattr(path, name, follow_symlinks=False) for name in names},
        )
        if regular and info.st_nlink > 1:
            one_file.setdefault(info.st_ino, set()).add(relative)
    return found, sorted(map(sorted, one_file.values()))


def as_configured(store, name):
    """The part `config` of an image without our label, which tells of the run."""
    config = store.get(name).config
    labels = {key: value for key, value in config.labels.items() if not key.startswith("dev.conveyor.")}
    return {key: value for key, value in config.run.items() if key != "Labels" and value} | {"Labels": labels}


def digests(build):
    return {name: [stage["Digest"] for stage in image["Stages"]] for name, image in build.report["Images"].items()}


def test_images_are_the_same(project, registry, tmp_path):
    builds, stores = {}, {}
    for engine in ("docker", "sandbox"):
        repo = f"{registry.host}/{project.name}-{engine}/stages"
        project.env["CONVEYOR_HOME_DIR"] = str(tmp_path / f"home-{engine}")
        builds[engine] = project.build("lib", "--engine", engine, "--repo", repo)
        stores[engine] = RegistryStore(repo)
    assert digests(builds["docker"]) == digests(builds["sandbox"])
    tags = {engine: build.reference("lib").rpartition(":")[2] for engine, build in builds.items()}
    docker, sandbox = (stores[engine].get(tags[engine]) for engine in builds)
    # The base, and the files of git.
    assert docker.config.diff_ids[:1] == sandbox.config.diff_ids[:1]
    assert docker.config.diff_ids[2] == sandbox.config.diff_ids[2]
    trees = {}
    for engine in builds:
        directory = tmp_path / engine
        directory.mkdir()
        trees[engine], links = read_tree(stores[engine], tags[engine], directory)
        assert ["opt/out/result", "opt/out/twin"] in links
    differing = {
        path
        for path in trees["docker"].keys() | trees["sandbox"].keys()
        if trees["docker"].get(path) != trees["sandbox"].get(path)
    }
    assert differing - ALLOWED.keys() == set()
    assert as_configured(stores["docker"], tags["docker"]) == as_configured(stores["sandbox"], tags["sandbox"])


@pytest.mark.parametrize(("first", "second"), [("docker", "sandbox"), ("sandbox", "docker")])
def test_what_one_has_built_the_other_uses(project, registry, tmp_path, first, second):
    repo = f"{registry.host}/{project.name}/stages"

    def build(engine, *arguments):
        project.env["CONVEYOR_HOME_DIR"] = str(tmp_path / f"home-{engine}")
        return project.build("--engine", engine, "--repo", repo, *arguments)

    built = build(first)
    assert built.built
    assert build(second, "--require-built-images").names() == built.names()
    project.change("app/requirements.txt", "two\n")
    patched = build(second)
    assert patched.built == {
        "app": ["install", "dependenciesAfterInstall", "dependenciesBeforeSetup", "setup", "dockerInstructions"]
    }
    assert build(first, "--require-built-images").names() == patched.names()
