"""`werf.yaml.example` is built as it stands, bases, addresses and places of this machine aside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import MakeProject
from tests.e2e.images import Images
from tests.git_servers import GitHttp, git_http
from tests.unit.gitrepo.repositories import make_place

ROOT = Path(__file__).parents[2]
DOCKERFILE = """\
FROM BUSYBOX AS build
ARG PORT
RUN echo "listen $PORT" > /listen && grep backend.local /etc/hosts

FROM BUSYBOX AS run
ARG BACKEND_IMAGE
COPY --from=build /listen /listen
COPY generated /generated
RUN echo "$BACKEND_IMAGE" > /backend
"""
FILES = {
    "frontend/package.json": "{}\n",
    "frontend/src/shop.css": "css\n",
    "frontend/src/deep/shop.css": "left alone\n",
    "frontend/src/shop.ts": "ts\n",
    "frontend/src/shop.test.ts": "test\n",
    "backend/requirements.txt": "one\ntwo\n",
    "backend/setup.cfg": "cfg\n",
    "backend/VERSION": "7\n",
    "backend/README.md": "left out\n",
    ".gitignore": "proxy/generated\n",
}
TOKENS = {"MIRROR_TOKEN": "token-of-the-test", "PROTOCOL_TOKEN": "another-token"}

pytestmark = pytest.mark.docker


@pytest.fixture
def git_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHttp]:
    """A server that has the repository of the example for who has its token."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "a")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "a@b")
    protocol = make_place(tmp_path / "served/protocol")
    protocol.git("config", "uploadpack.allowFilter", "true")
    protocol.write("schemas/shop.proto", "proto\n")
    protocol.commit()
    protocol.git("tag", "v1.4.2")
    with git_http(tmp_path / "served", ("builder", TOKENS["PROTOCOL_TOKEN"])) as server:
        yield server


def test_the_example_is_built_and_every_image_is_as_it_says(
    make_project: MakeProject, images: Images, git_server: GitHttp, tmp_path: Path
) -> None:
    mirror, license_file = tmp_path / "mirror", tmp_path / "license"
    mirror.mkdir()
    (mirror / "packages.txt").write_text("b\na\n")
    license_file.write_text("license-of-the-test\n")
    places = {
        "/srv/mirror": str(mirror),
        "/etc/shop/license": str(license_file),
        "https://git.example.com/shop/protocol.git": git_server.url("protocol"),
        "from: debian:12": "from: BUSYBOX",
        "image: busybox:1.36": "image: BUSYBOX",
        "project: shop": "project: NAME",
    }

    def example(name: str) -> str:
        text = (ROOT / name).read_text()
        for old, new in places.items():
            text = text.replace(old, new)
        return text

    project = make_project(
        example("werf.yaml.example"),
        {**FILES, "werf-giterminism.yaml": example("werf-giterminism.yaml.example")},
        commit=False,
    )
    project.write("proxy/Dockerfile", DOCKERFILE.replace("BUSYBOX", project.base))
    project.commit()
    project.write("proxy/generated/config", "generated\n")

    built = project.build("--engine", "docker", env=TOKENS)
    assert set(built.built) == {"base", "assets", "backend", "worker", "bundle", "proxy"}
    assert built.reference("backend") == built.reference("worker")

    backend = images.files(built.reference("backend"))
    assert backend["app/version.yaml"].content == b"version: 7\n"
    assert backend["app/installed"].content == b"2\n"
    assert backend["app/static/shop.css"].content == b"css\n"
    assert backend["app/static/shop.js"].content == b"ts\n"
    assert backend["usr/share/protocol/shop.proto"].content == b"proto\n"
    assert backend["opt/shop/packages.txt"].content == b"a\nb\n"
    assert "app/README.md" not in backend and not any(path.startswith("mnt/mirror/") for path in backend)
    assert (backend["app/VERSION"].gid, backend["app/static/shop.css"].uid > 0) == (33, True)
    config = images.config(built.reference("backend"))
    assert (config["User"], config["WorkingDir"], config["Cmd"]) == ("www-data", "/app", ["cat version.yaml"])
    assert config["Labels"]["org.opencontainers.image.vendor"] == "Shop"
    assert config["Healthcheck"]["Retries"] == 3
    assert any(entry.startswith("PATH=/app/bin:/") for entry in config["Env"])
    assert "token-of-the-test" not in project.docker("history", "--no-trunc", built.reference("backend"))

    bundle = images.files(built.reference("bundle"))
    assert bundle["images"].content.decode().splitlines()[0] == built.reference("backend")
    assert bundle["usr/local/bin/busybox"].content
    proxy = images.files(built.reference("proxy"))
    assert proxy["listen"].content == b"listen 8080\n"
    assert proxy["generated/config"].content == b"generated\n"
    assert proxy["backend"].content.decode().strip() == built.reference("backend")
