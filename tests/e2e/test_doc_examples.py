"""The examples of the documentation, as a reader tries them: copied into an empty repository, committed and built."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from samples.make_base import busybox_archive, find_busybox
from tests.doc_examples import Example, read_examples
from tests.e2e.images import Images
from tests.e2e.projects import Project
from tests.git_servers import git_http

BASE = "busybox:1.36"
EXAMPLES = {example.name: example for example in read_examples()}

# Those that need more than a sandbox.
WITH_DOCKER = ["dockerfile-images.md: a Dockerfile", "dockerfile-images.md: all fields"]
WITH_REGISTRY = "directives/image.md: the newest image of a tag"
WITH_GIT = ["directives/git.md: files of other repositories", "includes.md: a configuration of parts"]
WITH_ANSIBLE = "directives/ansible.md: files and lines"

GIT_HOST = "https://git.example.com/"
# Repositories of that host: who may read them, and their files.
REPOSITORIES: dict[str, tuple[tuple[str, str] | None, dict[str, str]]] = {
    "shop/icons.git": (None, {"svg/cart.svg": "<svg/>\n", "png/cart.png": "not asked for\n"}),
    "shop/protocol.git": (("builder", "s3cret"), {"orders.proto": "message Order {}\n"}),
    "shop/texts.git": (("builder", "s3cret"), {"greeting.txt": "hello\n"}),
    "shop/fonts.git": (("guest", "guest"), {"serif.txt": "serif\n"}),
    "shop/common.git": (("builder", "s3cret"), {"werf/team.tmpl": '{{ define "team" }}shop{{ end }}'}),
    "shop/words.git": (None, {"greeting.txt": "hello\n"}),
    "shop/legal.git": (None, {"license.txt": "free\n"}),
}
# What the examples name by its commit.
COMMITS = {
    "shop/protocol.git": "9c77c9a4298cbf5a1260b5b1b64d0034900df39b",
    "shop/legal.git": "155b8c016829023991419f4bf063581829be89f3",
}

MakeExample = Callable[[Example], Project]


@pytest.fixture(scope="module")
def conveyor_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose store has the base of the examples, as if it had been pulled."""
    directory = tmp_path_factory.mktemp("examples")
    (directory / "busybox.tar").write_bytes(busybox_archive(find_busybox()))
    project = Project(directory / "none", "none", BASE, directory / "home")
    project.env["CONVEYOR_ENGINE"] = "sandbox"
    made = project.conveyor("image", "import", BASE, str(directory / "busybox.tar"))
    assert made.status == 0, made.output
    return directory / "home/conveyor"


@pytest.fixture
def make_example(conveyor_home: Path, tmp_path: Path) -> MakeExample:
    """A project of the files of an example."""

    def make(example: Example) -> Project:
        project = Project(tmp_path / "project", "example", BASE, tmp_path / "home")
        project.env |= {"CONVEYOR_HOME_DIR": str(conveyor_home), "CONVEYOR_ENGINE": "sandbox"}
        project.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{project.env['PATH']}"
        for path, text in example.files.items():
            project.write(path, text)
        project.commit()
        return project

    return make


def play(project: Project, example: Example) -> None:
    """Run what an example runs, and hold what is printed against what it says."""
    assert example.steps
    for step in example.steps:
        ran = project.shell(step.command)
        assert ran.status == 0, f"$ {step.command}\n{ran.output}"
        assert ran.stdout == step.output, f"$ {step.command}\n{ran.output}"


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {*WITH_DOCKER, *WITH_GIT, WITH_REGISTRY, WITH_ANSIBLE}))
def test_an_example_does_what_its_page_says(make_example: MakeExample, name: str) -> None:
    play(make_example(EXAMPLES[name]), EXAMPLES[name])


@pytest.mark.parametrize("name", WITH_DOCKER)
def test_an_example_with_a_dockerfile(make_example: MakeExample, images: Images, busybox_base: str, name: str) -> None:
    own_name = f"e2e-{secrets.token_hex(5)}"
    example = EXAMPLES[name].with_texts(
        {"example-dockerfiles": own_name, "example-dockerfile": own_name, BASE: busybox_base}
    )
    project = make_example(example)
    project.env["CONVEYOR_ENGINE"] = "auto"
    try:
        play(project, example)
    finally:
        images.remove_repository(own_name)


def test_an_example_with_a_registry(make_example: MakeExample, images: Images, busybox_base: str, registry) -> None:
    repository = f"{registry.host}/examples/base"
    images.client.tag(busybox_base, repository, "stable")
    images.client.push(repository, "stable")
    example = EXAMPLES[WITH_REGISTRY].with_texts({"registry.example.com/base": repository})
    play(make_example(example), example)


def test_an_example_with_ansible(make_example: MakeExample) -> None:
    """Its tasks are stages: found again, with a log, and failing where a task fails."""
    example = EXAMPLES[WITH_ANSIBLE]
    project = make_example(example)
    play(project, example)
    assert project.build().built == {}
    project.change("werf.yaml", example.files["werf.yaml"] + "    - fail: {msg: the end}\n")
    failed = project.build(status=1)
    assert "the end" in failed.run.stderr
    assert "exit status 2" in failed.run.stderr


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where the repositories of the examples are served here, by their addresses there."""
    directory = tmp_path_factory.mktemp("served")
    with contextlib.ExitStack() as stack:
        served = {}
        for name, (account, files) in REPOSITORIES.items():
            repository = Project(directory / name, "served", BASE, directory / "home")
            repository.git("config", "uploadpack.allowFilter", "true")
            for path, text in files.items():
                repository.write(path, text)
            assert repository.commit() == COMMITS.get(name, repository.git("rev-parse", "HEAD"))
            for tag in ("v1", "v2", "v1.4.0"):
                repository.git("tag", tag)
            served[GIT_HOST + name] = stack.enter_context(git_http(directory, account)).url(name)
        yield served


@pytest.mark.parametrize("name", WITH_GIT)
def test_an_example_with_other_repositories(make_example: MakeExample, addresses: dict[str, str], name: str) -> None:
    example = EXAMPLES[name].with_texts(addresses)
    play(make_example(example), example)
