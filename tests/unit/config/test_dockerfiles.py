"""Images with a Dockerfile, as `werf.yaml` has them."""

import pytest

from conveyor.config.dockerfile_model import Dockerfile
from conveyor.config.graph import graph_document
from conveyor.config.models import Injection
from conveyor.config.reading import parse_project

HEAD = "configVersion: 1\nproject: demo\nbuild: {cacheVersion: all, staged: true}\n---\n"
WHOLE = """\
image: [app, worker]
dockerfile: docker/./Dockerfile
context: ./service/
contextAddFiles: [built/app.jar, ./built]
target: run
args: {VERSION: "1.10"}
addHost: db:192.0.2.1
network: host
staged: false
final: false
dependencies:
- image: base
  imports: [{type: ImageName, targetBuildArg: BASE}, {type: ImageDigest, targetBuildArg: SUM}]
---
image: base
from: alpine:3
---
image: on top
fromImage: app
"""


def test_every_field():
    project = parse_project((HEAD + WHOLE).encode(), "werf.yaml")
    app, worker, base, top = project.images
    assert [image.name for image in project.images] == ["app", "worker", "base", "on top"]
    assert app.dockerfile == Dockerfile(
        path="docker/Dockerfile",
        context="service",
        context_add_files=("built/app.jar", "built"),
        target="run",
        args={"VERSION": "1.10"},
        add_hosts=("db:192.0.2.1",),
        staged=False,
    )
    assert worker.dockerfile == app.dockerfile and base.dockerfile is None
    assert (app.network, app.final, app.cache_version, app.needs()) == ("host", False, "all", ("base",))
    assert app.dependencies[0].imports == (
        Injection("ImageName", target_build_arg="BASE"),
        Injection("ImageDigest", target_build_arg="SUM"),
    )
    assert top.needs() == ("app",)
    assert graph_document(project, ["app"]) == [{"image": "app", "dependsOn": {"dependencies": ["base"]}}, {"image": "base"}]


def test_the_least():
    project = parse_project((HEAD + "image: ~\ndockerfile: Dockerfile\n").encode(), "werf.yaml")
    assert project.images[0].name == ""
    assert project.images[0].dockerfile == Dockerfile("Dockerfile", staged=True)


def test_a_document_without_the_field_image_gives_no_image():
    assert parse_project((HEAD + "dockerfile: Dockerfile\n").encode(), "werf.yaml").images == ()


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1.10", "1.1"),
        ("0777", "511"),
        ("0x10", "16"),
        ("1e3", "1000"),
        ("1e6", "1e+06"),
        ("1.5e21", "1.5e+21"),
        ("123456789.5", "1.234567895e+08"),
        ("1e-7", "1e-07"),
        ("0.00001", "1e-05"),
        ("yes", "true"),
        ("off", "false"),
        ("~", "<nil>"),
        ('""', ""),
        ('"1.10"', "1.10"),
        ("2020-01-01", "2020-01-01"),
        ("-5", "-5"),
        (".inf", "+Inf"),
        ("2.0", "2"),
    ],
)
def test_an_argument_is_resolved_and_printed(written, value):
    text = f"{HEAD}image: app\ndockerfile: Dockerfile\nargs: {{A: {written}}}\n"
    dockerfile = parse_project(text.encode(), "werf.yaml").images[0].dockerfile
    assert dockerfile is not None
    assert dockerfile.args == {"A": value}
