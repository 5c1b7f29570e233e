"""Projects for whole builds."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.images import Images
from tests.e2e.projects import Content, Project

if TYPE_CHECKING:
    import docker

MakeProject = Callable[..., Project]


@pytest.fixture(autouse=True)
def _forget_registry(request: pytest.FixtureRequest) -> Iterator[None]:
    """What the engine has under names of the test's registry goes with the test: every build lists the engine's images."""
    if not {"registry", "images"} <= set(request.fixturenames):
        yield
        return
    images, registry = request.getfixturevalue("images"), request.getfixturevalue("registry")
    yield
    images.remove_host(registry.host)


@pytest.fixture
def images(docker_engine: docker.APIClient) -> Images:
    """What the engine has."""
    return Images(docker_engine)


@pytest.fixture
def make_project(tmp_path: Path, images: Images, busybox_base: str) -> Iterator[MakeProject]:
    """`make_project(werf_yaml, files)`: a git repository with one commit, and what conveyor needs to build it.

    In the text `NAME` is the project's name, which nobody else has, and `BUSYBOX` the base image. All images of the project
    and its containers go with the test.
    """
    names: list[str] = []

    def make(werf_yaml: str = "", files: dict[str, Content] | None = None, *, commit: bool = True) -> Project:
        name = f"e2e-{secrets.token_hex(5)}"
        names.append(name)
        project = Project(tmp_path / name, name, busybox_base, tmp_path / "home")
        if werf_yaml:
            project.configure(werf_yaml)
        for path, content in (files or {}).items():
            project.write(path, content)
        if commit:
            project.commit("The first commit")
        return project

    yield make
    for name in names:
        images.remove_repository(name)


@pytest.fixture
def make_sample(make_project: MakeProject, request: pytest.FixtureRequest) -> Callable[[str], Project]:
    """`make_sample("hello")`: a sample as a project of its own, on the bases of the tests."""

    def make(name: str) -> Project:
        project = make_project(commit=False)
        project.copy_sample(Path(__file__).parents[2] / "samples" / name)
        text = (project.directory / "werf.yaml").read_text()
        if "conveyor-sample/debian:12" in text:
            text = text.replace("conveyor-sample/debian:12", request.getfixturevalue("debian_base"))
        text = text.replace("conveyor-sample/busybox:latest", project.base)
        text = text.replace(f"project: conveyor-sample-{name}", f"project: {project.name}")
        project.configure(text)
        project.commit(f"The sample {name}")
        return project

    return make
