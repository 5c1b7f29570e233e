import json
import os
import stat
from pathlib import Path

import pytest

from conveyor.build.report import check_report_path, env_lines, env_name, report_document, split_reference, write_report
from conveyor.build.results import BuildResult, Failure, ImageResult, MissingStage, StageResult, Why
from conveyor.errors import UsageError


def stage(name="install", **changes):
    values = {
        "image": "web/app",
        "stage": name,
        "digest": "d1d2",
        "name": "d1d2-17-0a0b",
        "reference": "registry.example:5000/shop:d1d2-17-0a0b",
        "image_id": "sha256:aa",
        "image_digest": "sha256:bb",
        "size_bytes": 1000,
        "parent_size_bytes": 900,
        "created_ms": 1_700_000_000_123,
        "commit": "c0ffee",
        "source": "primary",
        "why": None,
        "seconds": 0.0,
    }
    return StageResult(**(values | changes))


def image(name="web/app", **changes):
    values = {"name": name, "artifact": False, "final": True, "stages": (stage("from"), stage())}
    return ImageResult(**(values | changes))


def result(*images):
    return BuildResult("shop", "c0ffee", "registry.example:5000/shop", "docker", "linux/amd64", images, 1.234)


def test_a_complete_image():
    built = stage(source="built", why=Why("changed", ("commands",), "near"), seconds=2.345, size_bytes=2000)
    document = report_document(result(image(stages=(stage("from", source="secondary"), built))))
    assert isinstance(document["Runtime"].pop("InContainer"), bool)
    assert document == {
        "Runtime": {"Backend": "docker"},
        "Ok": True,
        "Project": "shop",
        "Commit": "c0ffee",
        "Repository": "registry.example:5000/shop",
        "BuildTime": "1.23",
        "Images": {
            "web/app": {
                "WerfImageName": "web/app",
                "ConfigType": "stapel",
                "Artifact": False,
                "Final": True,
                "DockerRepo": "registry.example:5000/shop",
                "DockerTag": "d1d2-17-0a0b",
                "DockerImageID": "sha256:aa",
                "DockerImageDigest": "sha256:bb",
                "DockerImageName": "registry.example:5000/shop:d1d2-17-0a0b",
                "TargetPlatform": "linux/amd64",
                "Rebuilt": True,
                "Size": 2000,
                "BuildTime": "2.35",
                "Commit": "c0ffee",
                "CustomTags": [],
                "Stages": [
                    {
                        "Name": "from",
                        "Digest": "d1d2",
                        "DockerRepo": "registry.example:5000/shop",
                        "DockerTag": "d1d2-17-0a0b",
                        "DockerImageID": "sha256:aa",
                        "DockerImageDigest": "sha256:bb",
                        "DockerImageName": "registry.example:5000/shop:d1d2-17-0a0b",
                        "CreatedAt": 1_700_000_000_123_000_000,
                        "Size": 1000,
                        "SourceType": "secondary",
                        "BaseImagePulled": False,
                        "Rebuilt": False,
                        "BuildTime": "0.00",
                        "Commit": "c0ffee",
                        "Reason": None,
                    },
                    {
                        "Name": "install",
                        "Digest": "d1d2",
                        "DockerRepo": "registry.example:5000/shop",
                        "DockerTag": "d1d2-17-0a0b",
                        "DockerImageID": "sha256:aa",
                        "DockerImageDigest": "sha256:bb",
                        "DockerImageName": "registry.example:5000/shop:d1d2-17-0a0b",
                        "CreatedAt": 1_700_000_000_123_000_000,
                        "Size": 2000,
                        "SourceType": "built",
                        "BaseImagePulled": False,
                        "Rebuilt": True,
                        "BuildTime": "2.35",
                        "Commit": "c0ffee",
                        "Reason": {"Kind": "changed", "Parts": ["commands"], "Nearest": "near"},
                    },
                ],
            }
        },
    }


def test_images_that_are_not_there():
    failure = Failure("a", "install", "stage_failed", "exit status 3", "look", 3, ("x",))
    missing = MissingStage("b", "setup", "d9", Why("first_build"), ("dockerInstructions",))
    images = report_document(result(image("a", failure=failure), image("b", missing=missing)))["Images"]
    assert images["a"]["DockerImageName"] == images["a"]["DockerTag"] == images["b"]["Commit"] == ""
    assert images["a"]["Size"] == 0
    assert len(images["a"]["Stages"]) == 2
    assert images["a"]["Failure"] == {
        "Stage": "install",
        "Reason": "stage_failed",
        "Message": "exit status 3",
        "Hint": "look",
        "Status": 3,
        "Tail": ["x"],
        "BlockedBy": "",
    }
    assert images["b"]["Missing"] == {
        "Stage": "setup",
        "Digest": "d9",
        "Reason": {"Kind": "first_build", "Parts": [], "Nearest": ""},
        "Unknown": ["dockerInstructions"],
    }
    assert "Failure" not in images["b"]


@pytest.mark.parametrize(
    ("reference", "repository", "tag"),
    [
        ("shop:tag", "shop", "tag"),
        ("localhost:5000/shop", "localhost:5000/shop", ""),
        ("localhost:5000/a/b:t-1.2", "localhost:5000/a/b", "t-1.2"),
        ("shop", "shop", ""),
        ("h:1/shop:t@sha256:abc", "h:1/shop", "t"),
        ("h:1/shop@sha256:abc", "h:1/shop", ""),
    ],
)
def test_split_reference(reference, repository, tag):
    assert split_reference(reference) == (repository, tag)


@pytest.mark.parametrize(
    ("image_name", "prefix"),
    [("", "CONVEYOR_"), ("web/app-x.y_z", "CONVEYOR_WEB_APP_X_Y_Z_"), ("2nd", "CONVEYOR_2ND_"), ("a b", "CONVEYOR_A_B_")],
)
def test_env_name(image_name, prefix):
    assert env_name(image_name) == prefix


def test_env_lines_hold_what_is_final_and_there():
    lines = env_lines(
        result(
            image("web/app"),
            image("tool", artifact=True),
            image("base", final=False),
            image("bad", failure=Failure("bad", "install", "x", "y")),
            image(""),
        )
    )
    assert lines == [
        "CONVEYOR_WEB_APP_DOCKER_IMAGE_NAME=registry.example:5000/shop:d1d2-17-0a0b",
        "CONVEYOR_WEB_APP_DOCKER_IMAGE_ID=sha256:aa",
        "CONVEYOR_WEB_APP_DOCKER_IMAGE_DIGEST=sha256:bb",
        "CONVEYOR_WEB_APP_DOCKER_REPO=registry.example:5000/shop",
        "CONVEYOR_WEB_APP_DOCKER_TAG=d1d2-17-0a0b",
        "CONVEYOR_WEB_APP_WERF_IMAGE_NAME=web/app",
        "CONVEYOR_WEB_APP_FINAL=true",
        "CONVEYOR_DOCKER_IMAGE_NAME=registry.example:5000/shop:d1d2-17-0a0b",
        "CONVEYOR_DOCKER_IMAGE_ID=sha256:aa",
        "CONVEYOR_DOCKER_IMAGE_DIGEST=sha256:bb",
        "CONVEYOR_DOCKER_REPO=registry.example:5000/shop",
        "CONVEYOR_DOCKER_TAG=d1d2-17-0a0b",
        "CONVEYOR_WERF_IMAGE_NAME=",
        "CONVEYOR_FINAL=true",
    ]


def test_two_images_with_one_name_in_the_environment():
    with pytest.raises(UsageError, match="a-b and a/b"):
        env_lines(result(image("a-b"), image("a/b")))
    with pytest.raises(UsageError, match="a-b and a/b"):
        check_report_path(Path("x.env"), ["a-b", "a/b"])
    check_report_path(Path("x.json"), ["a-b", "a/b"])


@pytest.mark.parametrize("name", ["r.json", "r", "R.JSON", ".json", ".conveyor-build-report"])
def test_json_paths(tmp_path, name):
    write_report(result(image()), tmp_path / name)
    assert json.loads((tmp_path / name).read_text())["Project"] == "shop"


@pytest.mark.parametrize("name", ["r.env", "deploy.ENV", ".env"])
def test_env_paths(tmp_path, name):
    write_report(result(image("")), tmp_path / name)
    text = (tmp_path / name).read_text()
    assert text.startswith("CONVEYOR_DOCKER_IMAGE_NAME=")
    assert text.endswith("\n")


@pytest.mark.parametrize("name", ["r.yaml", "r.json.gz", "r.txt"])
def test_other_paths(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.(yaml|gz|txt)"):
        check_report_path(tmp_path / name)
    with pytest.raises(UsageError):
        write_report(result(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_directory(tmp_path):
    with pytest.raises(UsageError, match="directory"):
        check_report_path(tmp_path)


def test_a_report_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "deep" / "er" / "r.json"
    write_report(result(image()), target)
    inode = target.stat().st_ino
    before = os.umask(0o077)
    try:
        write_report(result(), target)
    finally:
        os.umask(before)
    assert json.loads(target.read_text())["Images"] == {}
    assert target.stat().st_ino != inode
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert [path.name for path in target.parent.iterdir()] == ["r.json"]


def test_a_link_stays(tmp_path):
    (tmp_path / "link.json").symlink_to("real.json")
    write_report(result(image()), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real.json").read_text())["Ok"] is True


def test_a_pipe_is_written_to(tmp_path):
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_report(result(image()), pipe)
        assert json.loads(os.read(reader, 65536))["Ok"] is True
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        write_report(result(), tmp_path / "file" / "r.json")


def test_names_that_are_no_text_are_still_json(tmp_path):
    failure = Failure(
        "a", "install", "git_file_changed", "changed: " + os.fsdecode(b"caf\xe9") + " \u20ac", tail=("\x1b[1m",)
    )
    write_report(result(image("a", failure=failure)), tmp_path / "r.json")
    message = json.loads((tmp_path / "r.json").read_bytes())["Images"]["a"]["Failure"]["Message"]
    assert os.fsencode(message) == b"changed: caf" + b"\xe9" + " \u20ac".encode()
