"""The stage `dockerfile`: what its key is made of, and what the engine is asked."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from conveyor.build.dockerfile_preflight import check_dockerfiles
from conveyor.build.look import look
from conveyor.build.rooms import Introspection
from conveyor.build.task import Task
from conveyor.config.dockerfile_model import Dockerfile
from conveyor.config.giterminism.api import Permissions, Refusals
from conveyor.config.giterminism.files import ConfigFiles
from conveyor.config.models import Dependency, Injection
from conveyor.errors import ConfigError, StageFailed
from conveyor.events.api import Warned
from conveyor.gitrepo.api import Change
from conveyor.stages.api import Workshop
from conveyor.stages.dockerfile import DockerfileStage
from stapel.oci.api import ImageConfig
from tests.unit.build.worlds import HERE, image, sources
from tests.unit.stages.chains import Chains
from tests.unit.stages.test_golden_keys import RULE, show

GOLDEN = Path(__file__).parent / "golden" / "dockerfile_keys.txt"

DOCKERFILE = b"""\
# syntax=docker/dockerfile:1
ARG VERSION=1
FROM busybox:$VERSION AS build
ARG GREETING
COPY src /src
RUN make $GREETING
FROM scratch AS unused
COPY tests /
FROM scratch
COPY --from=build /out /
COPY run link /
"""
FILES = {
    b"app/Dockerfile": DOCKERFILE,
    b"app/.dockerignore": b"**/*.md\n",
    b"app/src/main.c": b"main\n",
    b"app/src/readme.md": b"left out\n",
    b"app/tests/one": b"1\n",
    b"app/run": (0o100755, b"#!/bin/sh\n"),
    b"app/link": (0o120000, b"other/target"),
    b"app/other/target": b"target\n",
    b"app/other/more": b"more\n",
    b"outside": b"outside\n",
    b"plain/Dockerfile": b"ARG BASE\nFROM $BASE\nRUN say $BASE\n",
}


def with_dockerfile(name: str, path: str = "Dockerfile", context: str = "app", *, dependencies=(), **fields):
    settings = {key: fields.pop(key) for key in ("target", "args", "add_hosts", "context_add_files") if key in fields}
    return replace(
        image(name, "scratch", **fields),
        dockerfile=Dockerfile(path, context, **settings),
        dependencies=dependencies,
    )


def takes(source: str, **args: str) -> tuple[Dependency, ...]:
    injections = tuple(Injection(kind, target_build_arg=name) for name, kind in args.items())
    return (Dependency(HERE, source, None, None, injections),)


APP = with_dockerfile("app", args={"GREETING": "hello", "NOT_DECLARED": "x"})
IMAGES = (
    APP,
    with_dockerfile("tests", target="unused", network="none", cache_version="v", add_hosts=("db:192.0.2.1",)),
    with_dockerfile("from app", context="plain", dependencies=takes("app", BASE="ImageName")),
    image("on app", "image:app", install="true"),
)


def parts_of(world, files=None, item=APP) -> dict[str, object]:
    commit = world.source.commit({**FILES, **(files or {})})
    looked = look(world.rooms((item,), commit), Task(item, DockerfileStage(), None, None, {}))
    return {part.name: part.value for part in looked.key.parts}


def test_keys_are_those_of_the_golden_file(world):
    commit = world.source.commit(FILES)
    actual = show([commit], [Chains(world).resolve(IMAGES, commit)])
    beside = GOLDEN.with_name(GOLDEN.name + ".actual")
    if not GOLDEN.exists() or actual != GOLDEN.read_text(encoding="utf-8"):
        beside.write_text(actual, encoding="utf-8")
        raise AssertionError(f"{beside} differs from {GOLDEN}: {RULE}")
    beside.unlink(missing_ok=True)


def test_the_parts_of_a_key(world):
    parts = parts_of(world)
    assert parts["args"] == {"0": {"GREETING": "hello"}}
    assert [path for path, _, _ in parts["files"]] == [b"link", b"other/target", b"run", b"src/main.c"]
    assert parts.keys() == {"dockerfile", "args", "files"}


@pytest.mark.parametrize(
    ("path", "content", "changed"),
    [
        (b"app/src/main.c", b"changed\n", {"files"}),
        (b"app/src/new.c", b"new\n", {"files"}),
        (b"app/src/main.c", (0o100755, b"main\n"), {"files"}),
        (b"app/other/target", b"changed\n", {"files"}),
        (b"app/link", (0o120000, b"other/more"), {"files"}),
        (b"app/.dockerignore", b"", {"files"}),
        (b"app/Dockerfile.dockerignore", b"src\n", {"files"}),
        (b"app/Dockerfile", DOCKERFILE.replace(b"RUN make", b"RUN make all"), {"dockerfile"}),
        (b"app/Dockerfile", DOCKERFILE.replace(b"VERSION=1", b"VERSION=2"), {"dockerfile"}),
        (b"app/Dockerfile", DOCKERFILE.replace(b"ARG GREETING\n", b""), {"dockerfile", "args"}),
        (b"app/Dockerfile", b"# why\n" + DOCKERFILE.replace(b"# syntax", b"# comment"), {"dockerfile"}),
        (b"app/Dockerfile", DOCKERFILE.replace(b"COPY tests /", b"RUN anything"), set()),
        (b"app/Dockerfile", DOCKERFILE.replace(b"RUN make", b"# why\nRUN make"), set()),
        (b"app/src/new.md", b"left out\n", set()),
        (b"app/tests/one", b"changed\n", set()),
        (b"app/other/more", b"changed\n", set()),
        (b"app/unrelated", b"new\n", set()),
        (b"outside", b"changed\n", set()),
    ],
)
def test_what_changes_a_key(world, path, content, changed):
    before, after = parts_of(world), parts_of(world, {path: content})
    assert {name for name in {**before, **after} if before.get(name) != after.get(name)} == changed


def test_what_the_engine_is_asked(world):
    item = with_dockerfile("app", args={"GREETING": "hello"}, target="2", network="host", add_hosts=("a:1",))
    commit = world.source.commit(FILES)
    looked = look(world.rooms((item,), commit), Task(item, DockerfileStage(), None, None, {}))
    with ExitStack() as resources:
        workshop = Workshop(world.engine, resources, (), None, 1_600_000_000, world.engine.base)
        build = looked.decision.dockerfile(workshop)
        assert [file.path for file in build.files] == [b"link", b"other/target", b"run", b"src/main.c"]
        assert [(file.kind, file.mode) for file in build.files][0::2] == [("symlink", 0o777), ("file", 0o755)]
        assert build.files[1].open().read() == b"target\n" and build.files[3].open().read() == b"main\n"
    assert (build.target, build.network, build.add_hosts, build.bases) == ("2", "host", ("a:1",), (("busybox:1", ""),))
    assert build.args == {"GREETING": "hello"} and build.dockerfile == DOCKERFILE
    build.check_bases({"busybox:1": ImageConfig({"config": {"Env": ["A=b"]}})})
    with pytest.raises(StageFailed, match="takes files of the context that the Dockerfile does not name: `conf`") as caught:
        build.check_bases({"busybox:1": ImageConfig({"config": {"OnBuild": ["COPY conf /etc"]}})})
    assert caught.value.reason == "base_takes_files" and "ONBUILD" in caught.value.hint


def test_files_of_lfs_are_sent_with_their_contents(world, monkeypatch):
    content = b"large\n" * 500
    oid = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n".encode()
    commit = world.source.commit({**FILES, b".gitattributes": b"*.c filter=lfs\n", b"app/src/main.c": pointer})
    rooms = world.rooms((APP,), commit)
    config_files = ConfigFiles(rooms.repo, b"", world.path, Refusals(Permissions()))
    monkeypatch.setattr("conveyor.build.kept_contents.is_lfs_installed", lambda: False)
    (problem,) = check_dockerfiles((APP,), rooms.repo, b"", config_files, (), None)
    assert "app/src/main.c is kept by Git LFS" in problem.message
    kept = Path(world.source.at(commit).git_dir.decode()) / "lfs/objects" / oid[:2] / oid[2:4] / oid
    kept.parent.mkdir(parents=True)
    kept.write_bytes(content)
    assert check_dockerfiles((APP,), rooms.repo, b"", config_files, (), None) == []
    looked = look(rooms, Task(APP, DockerfileStage(), None, None, {}))
    with ExitStack() as resources:
        build = looked.decision.dockerfile(Workshop(world.engine, resources, (), None, 1_600_000_000, world.engine.base))
        (sent,) = (file for file in build.files if file.path == b"src/main.c")
        assert (sent.size, sent.open().read()) == (len(content), content)


def test_images_are_built_and_found_again(world):
    commit = world.source.commit(FILES)
    world.engine.bases = {"busybox:1": {}}
    app, top = APP, image("on app", "image:app", install="say hello")
    built = world.build(app, top, commit=commit)
    assert sources(built["app"]) == {"dockerfile": "built"} and sources(built["on app"])["install"] == "built"
    labels = world.store.describe(built["app"].last.name).labels
    assert labels.keys() == {"own", "dev.conveyor.stage"}
    assert set(world.build(app, top, commit=commit)) == {"app", "on app"}
    assert sources(world.build(app, commit=commit)["app"]) == {"dockerfile": "primary"}
    later = world.source.commit({**FILES, b"outside": b"changed\n"}, commit)
    assert sources(world.build(app, commit=later)["app"]) == {"dockerfile": "primary"}
    assert not world.engine.dockerfiles[-1].is_anew
    world.build(replace(app, cache_version="2"), commit=commit)
    assert world.engine.dockerfiles[-1].is_anew
    failed = world.build(with_dockerfile("b", target="nowhere"), commit=commit)["b"].failure
    assert failed.exit_status == 2 and "target stage `nowhere` could not be found" in failed.message


def test_what_is_added_from_the_work_tree(world):
    root = Path(world.source.at(world.source.commit(FILES)).root.decode())
    (root / "app/built").mkdir(parents=True)
    (root / "app/built/data.md").write_text("one\n")
    (root / "app/src").mkdir()
    (root / "app/src/main.c").write_text("from the work tree\n")
    text = DOCKERFILE.replace(b"COPY run link /", b"COPY built /")
    item = with_dockerfile("app", context_add_files=("built", "src/main.c"))
    first = parts_of(world, {b"app/Dockerfile": text}, item)["files"]
    assert [path for path, _, _ in first] == [b"built/data.md", b"src/main.c"]
    assert all(oid.startswith("sha256:") for _, _, oid in first)
    (root / "app/built/data.md").write_text("two\n")
    assert parts_of(world, {b"app/Dockerfile": text}, item)["files"][0] != first[0]
    (root / "app/built/data.md").unlink()
    (root / "app/built").rmdir()
    with pytest.raises(ConfigError, match='contextAddFile "built" was not found'):
        parts_of(world, {b"app/Dockerfile": text}, item)


class _Changed:
    """A repository with changes of the work tree."""

    def __init__(self, repo, *paths: bytes) -> None:
        self._repo = repo
        self._paths = paths

    def uncommitted(self):
        return tuple(Change(path, "untracked" if path.endswith(b"/") else "modified") for path in self._paths)

    def __getattr__(self, name):
        return getattr(self._repo, name)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (b"app/src/main.c", '"app/src/main.c" must be committed: it has changes that are not committed; used by image app'),
        (b"app/src/new/", "app/src/new"),
        (b"app/Dockerfile", 'unable to read dockerfile: the file "app/Dockerfile" must be committed'),
        (b"app/.dockerignore", "unable to read dockerignore file: "),
        (b"app/src/new.md", ""),
        (b"app/tests/one", ""),
        (b"app/other/more", ""),
        (b"outside", ""),
    ],
)
def test_changes_that_are_not_committed_are_refused_where_they_are_used(world, path, told):
    repo = _Changed(world.source.at(world.source.commit(FILES)), path)
    refusals = Refusals(Permissions())
    files = ConfigFiles(repo, b"", Path(repo.root.decode()), refusals)
    assert check_dockerfiles((APP,), repo, b"", files, (), refusals) == []
    assert bool(refusals) == bool(told)
    if told:
        with pytest.raises(Exception, match="must be committed") as caught:
            refusals.raise_any()
        assert told in str(caught.value)


def test_mistakes_of_all_dockerfiles_are_told_at_once(world):
    repo = world.source.at(
        world.source.commit({**FILES, b"bad/Dockerfile": b"FROM a\n\nRUNN x\n", b"bad/.dockerignore": b"[\n"})
    )
    refusals = Refusals(Permissions())
    files = ConfigFiles(repo, b"", Path(repo.root.decode()), refusals)
    images = [with_dockerfile("a", context="bad"), with_dockerfile("b", "None"), with_dockerfile("c", target="x")]
    images.append(with_dockerfile("d", context="plain", dependencies=takes("a", BASE="ImageName")))
    found = [str(problem) for problem in check_dockerfiles(images, repo, b"", files, (), refusals)]
    assert "bad/Dockerfile:3:1: unknown instruction: RUNN\n    did you mean `RUN`?" in found[0]
    assert "there is no file app/None" in found[1] and "target stage `x`" in found[2] and len(found) == 3


def test_no_shell_is_opened_where_an_instruction_fails_and_a_line_says_so(world):
    world.introspection = Introspection(when="error")
    commit = world.source.commit({b"d/Dockerfile": b"FROM busybox:1\nRUN fail 3\n"})
    found = world.build(with_dockerfile("app", context="d"), commit=commit)
    assert found["app"].failure.status == 3
    assert world.engine.shells == []
    assert [event.message for event in world.seen(Warned)] == [
        "app/dockerfile: no shell is opened, for BuildKit keeps nothing of what has failed"
    ]
