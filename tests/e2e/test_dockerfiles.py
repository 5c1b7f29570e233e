"""Images with a Dockerfile, on the Docker Engine."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from stapel.docker.containers import HOME_LABEL
from stapel.runs import home_label
from tests.e2e.projects import Link, Program, Project

WERF = """\
image: app
dockerfile: docker/Dockerfile
context: service
target: run
args: {GREETING: hello, UNUSED: x}
cacheVersion: "1"
---
image: on app
fromImage: app
shell: {setup: "cat /etc/greeting > /copied"}
---
image: taker
from: BUSYBOX
import: [{image: app, add: /app, to: /taken, after: install}]
---
image: final
dockerfile: Dockerfile
dependencies:
- image: on app
  imports: [{type: ImageName, targetBuildArg: BASE}, {type: ImageID, targetBuildArg: ID}]
"""
DOCKERFILE = """\
FROM BUSYBOX AS build
ARG GREETING
COPY src/ /src/
RUN echo "$GREETING" > /out && cat /src/main.txt >> /out

FROM BUSYBOX AS unused
COPY tests /tests
RUN exit 1

FROM BUSYBOX AS run
ENV MODE=fast
COPY --from=build --chown=7:8 /out /etc/greeting
COPY --chown=www-data . /app/
WORKDIR /app
USER www-data
EXPOSE 80
LABEL made=here
ONBUILD RUN true
ENTRYPOINT ["cat"]
CMD ["/etc/greeting"]
"""
FILES = {
    "service/docker/Dockerfile": DOCKERFILE,
    "service/.dockerignore": "**/*.md\n!docs/keep.md\ntests\ndocker\n",
    "service/src/main.txt": "one\n",
    "service/src/readme.md": "left out\n",
    "service/docs/keep.md": "kept\n",
    "service/tests/test.txt": "test\n",
    "service/run.sh": Program("#!/bin/sh\n"),
    "service/link": Link("src/main.txt"),
    "Dockerfile": "ARG BASE\nFROM $BASE\nARG ID\nUSER root\nRUN echo $ID > /id\n",
    "other.txt": "other\n",
}


def write_project(make_project) -> Project:
    project = make_project(WERF, commit=False)
    for path, content in FILES.items():
        project.write(path, content.replace("BUSYBOX", project.base) if isinstance(content, str) else content)
    project.commit()
    return project


def build_by_docker(project: Project, images, tag: str) -> None:
    """The image that Docker's classic builder makes of the same files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as context:
        for path in ("src/main.txt", "docs/keep.md", "run.sh", "link", ".dockerignore"):
            context.add(project.directory / "service" / path, path, filter=_as_root)
        before, _, rest = DOCKERFILE.replace("BUSYBOX", project.base).partition(f"FROM {project.base} AS unused")
        text = (before + rest[rest.index("FROM") :]).encode()  # the classic builder builds what nobody needs
        member = tarfile.TarInfo("docker/Dockerfile")
        member.size = len(text)
        context.addfile(member, io.BytesIO(text))
    archive.seek(0)
    lines = list(
        images.client.build(
            fileobj=archive, custom_context=True, dockerfile="docker/Dockerfile", target="run", tag=tag,
            buildargs={"GREETING": "hello"}, decode=True,
        )
    )  # fmt: skip
    assert not [line for line in lines if "error" in line], lines


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def test_an_image_is_built_found_again_and_used_by_others(make_project, images):
    project = write_project(make_project)
    project.env["CONVEYOR_ENGINE"] = "auto"
    build = project.build()
    assert "the Docker Engine builds: image app has a Dockerfile" in build.run.stderr
    assert build.built["app"] == ["dockerfile"] and build.built["final"] == ["dockerfile"]

    # The same as docker's.
    oracle = f"{project.name}:oracle"
    build_by_docker(project, images, oracle)
    ours, theirs = images.config(build.reference("app")), images.config(oracle)
    assert "dev.conveyor.stage" in ours["Labels"] and ours["Labels"]["made"] == "here"
    kept = ("Env", "Cmd", "Entrypoint", "User", "WorkingDir", "ExposedPorts", "OnBuild", "Volumes")
    assert {key: ours.get(key) for key in kept} == {key: theirs.get(key) for key in kept}
    made, expected = (
        {path: (entry.kind, entry.mode, entry.uid, entry.gid, entry.content, entry.link) for path, entry in found.items()}
        for found in (images.files(build.reference("app")), images.files(oracle))
    )
    del expected["app/docker"]  # the classic builder reads the Dockerfile from the context
    assert made == expected
    assert made["etc/greeting"][2:5] == (7, 8, b"hello\none\n")
    assert set(images.files(build.reference("app"), "/app")) >= {"docs/keep.md", "link", "run.sh", "src/main.txt"}

    # What others make of it.
    assert images.read(build.reference("on app"), "/copied") == "hello\none\n"
    assert images.read(build.reference("taker"), "/taken/src/main.txt") == "one\n"
    identity = build.report["Images"]["on app"]["DockerImageID"]
    assert images.read(build.reference("final"), "/id") == f"{identity}\n"
    assert images.config(build.reference("final"))["Labels"].keys() == {"made", "made-of", "dev.conveyor.stage"}

    # Found again: nothing that the target does not take counts.
    project.write("other.txt", "changed\n")
    project.write("service/tests/test.txt", "changed\n")
    project.write("service/docs/new.md", "left out\n")
    dockerfile = FILES["service/docker/Dockerfile"].replace("BUSYBOX", project.base)
    project.write("service/docker/Dockerfile", dockerfile.replace("exit 1", "exit 2").replace("ENV", "# why\nENV"))
    project.commit()
    assert project.build().built == {}
    project.write("service/src/main.txt", "two\n")
    assert "used by image app (context)" in project.build(status=2).run.stderr
    project.commit()
    built = project.build("app")
    assert built.built == {"app": ["dockerfile"]} and "changed: files" in built.run.stderr


def test_a_registry_keeps_them_and_gives_them_as_bases(make_project, images, registry):
    project = make_project(
        "image: app\ndockerfile: Dockerfile\n---\nimage: on app\ndockerfile: top/Dockerfile\n"
        "secrets: [{id: s, value: hidden}]\n"
        "dependencies: [{image: app, imports: [{type: ImageName, targetBuildArg: BASE}]}]\n",
        {"top/Dockerfile": "ARG BASE\nFROM $BASE\nRUN --mount=type=secret,id=s cat /run/secrets/s; cp /own /copy\n"},
        commit=False,
    )
    project.write("werf-giterminism.yaml", "giterminismConfigVersion: 1\nconfig: {secrets: {allowValueIds: [s]}}\n")
    project.write("Dockerfile", f"FROM {project.base}\nRUN echo {project.name} > /own\n")
    project.commit()
    repo = f"{registry.host}/{project.name}"
    built = project.build("--repo", repo)
    assert built.built == {"app": ["dockerfile"], "on app": ["dockerfile"]}
    assert "hidden" not in built.run.output and "***" in built.run.output
    assert built.reference("on app").startswith(f"{repo}:")
    project.docker("pull", "--quiet", built.reference("on app"))
    assert images.read(built.reference("on app"), "/copy") == f"{project.name}\n"
    images.remove_host(registry.host)  # another machine
    project.env["CONVEYOR_HOME_DIR"] += "-other"
    project.change("top/Dockerfile", "ARG BASE\nFROM $BASE\nRUN rm /own\n")
    assert project.build("--repo", repo).built == {"on app": ["dockerfile"]}


def test_what_goes_wrong_is_told_with_its_place(make_project, images):
    project = make_project("image: app\ndockerfile: Dockerfile\nstaged: true\n", commit=False)
    project.write("Dockerfile", f"FROM {project.base}\nCOPY a /\nRUN echo before; exit 3\n")
    project.write("a", "a\n")
    project.commit()
    failed = project.build(status=1).run.stderr
    assert "werf.yaml:4:1: `staged: true` of image app is not supported yet" in failed
    assert "app/dockerfile" in failed and "before" in failed
    assert "exit status 3" in failed and "[3/3] RUN echo before; exit 3" in failed
    mine = f"{HOME_LABEL}={home_label(Path(project.env['CONVEYOR_HOME_DIR']).resolve())}"
    assert not images.client.images(filters={"dangling": True, "label": [mine]})

    project.write("a", "changed\n")
    refused = project.build(status=2).run.stderr
    assert 'the file "a" must be committed' in refused and "used by image app (context)" in refused

    project.change("Dockerfile", f"FROM {project.base}\n\nRUNN x\n")
    refused = project.build(status=2).run.stderr
    assert "Dockerfile:3:1: unknown instruction: RUNN" in refused and "did you mean `RUN`?" in refused
    refused = project.build("--engine", "sandbox", status=2).run.stderr
    assert "which the sandbox does not build" in refused and "--engine docker" in refused
