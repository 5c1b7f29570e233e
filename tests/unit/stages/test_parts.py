"""Every part of a key is changed once, in the configuration or in the commit, and exactly that part is named.

A row says which stages differ in which parts of their own. The first of them must be explained by just these parts, all
before it must be stored already, and all others that come after must differ in what is below them alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from conveyor.config.models import Base, DockerInstructions, Image, MountPoint, PathFilter, Shell
from conveyor.keys.key import differing_parts
from conveyor.stages.order import conveyor_of
from tests.unit.build.worlds import HERE, dependency, image, imported, mapping, with_shell
from tests.unit.stages.chains import Chain, Chains
from tests.unit.stapel.trees import Node, file

BELOW = {"previous stage", "previous commits"}
MIB = b"0123456789abcdef" * 65536

FILES = {
    b"src/Makefile": b"all:\n",
    b"src/deps/lock": b"1\n",
    b"src/assets/style": b"red\n",
    b"src/run": (0o100755, b"#!/bin/sh\n"),
    b"src/main.c": b"int main;\n",
    b"bin/start": b"#!/bin/sh\n",
    b"doc/page": b"text\n",
}
OUT = {b"out/tool": file(b"tool\n", mode=0o755, uid=7, gid=8), b"out/data/table": file(b"1 2 3\n"), b"other": file(b"x")}

TOOLS = image("tools", beforeInstall="make tools", install="more tools")
BASE = image("base", beforeInstall="a base", mounts=(MountPoint(HERE, "tmp_dir", "/base"),))
APP = image(
    "app",
    "debian:12",
    from_cache_version="f1",
    shell=Shell(
        {
            "beforeInstall": ("one", "two"),
            "install": ("make deps",),
            "beforeSetup": ("make assets",),
            "setup": ("make",),
        },
        stage_cache_versions={"install": "i1"},
    ),
    git=(
        mapping(
            "/src",
            to="/app",
            exclude=["*.o"],
            owner="app",
            group="app",
            install=["deps"],
            beforeSetup=["assets"],
            setup=["run", "Makefile"],
        ),
        mapping("/bin", to="/usr/local/bin", include=["start"]),
    ),
    imports=(
        imported("tools", "before install", to="/tools"),
        imported("tools", "after install", to="/tools", owner="app"),
        imported("tools", "before setup", to="/tools", group="app"),
        imported("tools", "after setup", to="/tools", include=["data"]),
    ),
    dependencies=(
        dependency("tools", "before install", ONE="ImageName"),
        dependency("tools", "after install", TWO="ImageTag"),
        dependency("tools", "before setup", THREE="ImageRepo", FOUR="ImageID"),
        dependency("tools", "after setup", FIVE="ImageDigest"),
    ),
    mounts=(MountPoint(HERE, "tmp_dir", "/tmp"), MountPoint(HERE, "from_path", "/var/cache", "~/cache")),
    docker=DockerInstructions(HERE, env={"A": "1", "B": "2"}, label={"k": "v", "l": "w"}),
)
PLACES = ("dependenciesBeforeInstall", "dependenciesAfterInstall", "dependenciesBeforeSetup", "dependenciesAfterSetup")
DOCKER = DockerInstructions(
    HERE,
    volume=("/data",),
    expose=("80",),
    env={"A": "1"},
    label={"k": "v"},
    cmd=("serve",),
    entrypoint=("tool",),
    workdir="/app",
    user="app",
    healthcheck="CMD true",
    exact_values=True,
)

Expected = Mapping[str, tuple[str, ...]]


def of_app(change: Callable[[Image], Image]) -> Callable[[tuple[Image, ...]], tuple[Image, ...]]:
    return lambda images: tuple(change(item) if item.name == "app" else item for item in images)


def fields(**changes: Any):
    return of_app(lambda app: replace(app, **changes))


def shell(**changes: Any):
    return of_app(lambda app: with_shell(app, **changes))


def commands(stage: str, *texts: str):
    return of_app(lambda app: with_shell(app, commands={**app.shell.commands, stage: texts}))


def in_mapping(number: int, **changes: Any):
    return of_app(lambda app: replace(app, git=_at(app.git, number, **changes)))


def in_import(number: int, **changes: Any):
    return of_app(lambda app: replace(app, imports=_at(app.imports, number, **changes)))


def in_dependency(number: int, *injections: tuple[str, str]):
    def change(app: Image) -> Image:
        given = {target: kind for kind, target in injections}
        old = app.dependencies[number]
        new = dependency(old.image, f"{old.when} {old.stage}", **given)
        return replace(app, dependencies=(*app.dependencies[:number], new, *app.dependencies[number + 1 :]))

    return of_app(change)


def in_mount(number: int, **changes: Any):
    return of_app(lambda app: replace(app, mounts=_at(app.mounts, number, **changes)))


def watched(stage: str, *patterns: str):
    return of_app(
        lambda app: replace(app, git=_at(app.git, 0, stage_dependencies={**app.git[0].stage_dependencies, stage: patterns}))
    )


def in_docker(**changes: Any):
    return of_app(lambda app: replace(app, docker=replace(app.docker, **changes)))


def _at(items: tuple[Any, ...], number: int, **changes: Any) -> tuple[Any, ...]:
    return tuple(replace(item, **changes) if index == number else item for index, item in enumerate(items))


CONFIGURATION: dict[str, tuple[Callable[[tuple[Image, ...]], tuple[Image, ...]], Expected]] = {
    # from
    "base": (fields(base=Base("external", "debian:13")), {"from": ("base",)}),
    "base from another registry": (fields(base=Base("external", "r.example/debian:12")), {"from": ("base",)}),
    "base by digest": (fields(base=Base("external", "debian@sha256:" + "0" * 64)), {"from": ("base",)}),
    "scratch": (fields(base=Base("scratch")), {"from": ("base",)}),
    "fromLatest": (fields(from_latest=True), {"from": ("fromLatest",)}),
    "fromCacheVersion": (fields(from_cache_version="f2"), {"from": ("fromCacheVersion",)}),
    "no fromCacheVersion": (fields(from_cache_version=""), {"from": ("fromCacheVersion",)}),
    "cacheVersion of the image": (fields(cache_version="v1"), {"from": ("cacheVersion",)}),
    "mount elsewhere": (in_mount(0, to="/tmp2"), {"from": ("mounts",)}),
    "mount of another kind": (in_mount(0, kind="build_dir"), {"from": ("mounts",)}),
    "mount of another directory": (in_mount(1, source="~/other"), {"from": ("mounts",)}),
    "no mount": (fields(mounts=APP.mounts[:1]), {"from": ("mounts",)}),
    "mounts in another order": (fields(mounts=APP.mounts[::-1]), {"from": ("mounts",)}),
    # user stages
    **{
        f"commands of {stage}": (commands(stage, "another"), {stage: ("commands",)})
        for stage in ("beforeInstall", "install", "beforeSetup", "setup")
    },
    "two commands are not one": (commands("beforeInstall", "one\ntwo"), {"beforeInstall": ("commands",)}),
    "commands in another order": (commands("beforeInstall", "two", "one"), {"beforeInstall": ("commands",)}),
    **{
        f"cacheVersion of {stage}": (shell(stage_cache_versions={"install": "i1", stage: "x"}), {stage: ("cacheVersion",)})
        for stage in ("beforeInstall", "install", "beforeSetup", "setup")
    },
    "cacheVersion of all user stages": (
        shell(cache_version="x"),
        dict.fromkeys(("beforeInstall", "install", "beforeSetup", "setup"), ("cacheVersion",)),
    ),
    # imports
    **{
        f"{stage}: import to": (in_import(number, to="/elsewhere"), {stage: ("imports",)})
        for number, stage in enumerate(PLACES)
    },
    "import add": (in_import(0, add="/other"), {PLACES[0]: ("imports",)}),
    "import owner": (in_import(0, owner="app"), {PLACES[0]: ("imports",)}),
    "another import owner": (in_import(1, owner="web"), {PLACES[1]: ("imports",)}),
    "import group": (in_import(0, group="app"), {PLACES[0]: ("imports",)}),
    "another import group": (in_import(2, group="web"), {PLACES[2]: ("imports",)}),
    "import includePaths": (in_import(0, paths=PathFilter(("data",))), {PLACES[0]: ("imports",)}),
    "import excludePaths": (in_import(0, paths=PathFilter((), ("data",))), {PLACES[0]: ("imports",)}),
    "no import": (fields(imports=APP.imports[1:]), {PLACES[0]: ("imports",)}),
    "one more import": (
        fields(imports=(*APP.imports, imported("tools", "after setup", to="/more"))),
        {PLACES[3]: ("imports",)},
    ),
    # dependencies
    **{
        f"{stage}: injected type": (in_dependency(number, *injections), {stage: ("dependencies",)})
        for number, (stage, injections) in enumerate(
            zip(
                PLACES,
                (
                    [("ImageTag", "ONE")],
                    [("ImageName", "TWO")],
                    [("ImageRepo", "THREE"), ("ImageName", "FOUR")],
                    [("ImageID", "FIVE")],
                ),
                strict=True,
            )
        )
    },
    "injected into another variable": (in_dependency(0, ("ImageName", "OTHER")), {PLACES[0]: ("dependencies",)}),
    "injected once more": (in_dependency(0, ("ImageName", "ONE"), ("ImageTag", "TAG")), {PLACES[0]: ("dependencies",)}),
    "no dependency": (fields(dependencies=APP.dependencies[1:]), {PLACES[0]: ("dependencies",)}),
    # mappings
    "mapping to": (in_mapping(0, to="/elsewhere"), {"gitArchive": ("mappings",)}),
    "mapping owner": (in_mapping(0, owner="web"), {"gitArchive": ("mappings",)}),
    "mapping group": (in_mapping(0, group="web"), {"gitArchive": ("mappings",)}),
    "mapping includePaths": (in_mapping(1, paths=PathFilter(("st*",))), {"gitArchive": ("mappings",)}),
    "mapping excludePaths": (in_mapping(1, paths=PathFilter(("start",), ("stop",))), {"gitArchive": ("mappings",)}),
    "mapping add": (in_mapping(1, add="/doc", paths=PathFilter()), {"gitArchive": ("mappings",)}),
    "mappings in another order": (
        fields(git=(mapping("/bin", to="/usr/local/bin", include=["start"]), APP.git[0])),
        {"gitArchive": ("mappings",)},
    ),
    "one more mapping": (fields(git=(*APP.git, mapping("/doc", to="/doc"))), {"gitArchive": ("mappings",)}),
    # stageDependencies
    **{
        f"stageDependencies of {stage}": (watched(stage, "main.c"), {stage: ("stageDependencies",)})
        for stage in ("install", "beforeSetup", "setup")
    },
    "no stageDependencies": (watched("setup"), {"setup": ("stageDependencies",)}),
    "stageDependencies of another mapping": (
        in_mapping(1, stage_dependencies={"install": ("start",)}),
        {"install": ("stageDependencies",)},
    ),
    # dockerInstructions
    **{
        f"docker {name}": (
            in_docker(**{name: getattr(DOCKER, name), **({"env": {"A": "0", "B": "2"}} if name == "env" else {})}),
            {"dockerInstructions": ({"exact_values": "exactValues"}.get(name, name),)},
        )
        for name in (
            *("volume", "expose", "env", "label", "cmd", "entrypoint"),
            *("workdir", "user", "healthcheck", "exact_values"),
        )
    },
    "docker cmd in the shell form": (in_docker(cmd="serve"), {"dockerInstructions": ("cmd",)}),
    "docker cmd that is empty": (in_docker(cmd=()), {"dockerInstructions": ("cmd",)}),
    "docker entrypoint that is empty": (in_docker(entrypoint=()), {"dockerInstructions": ("entrypoint",)}),
    "no docker env": (in_docker(env={}), {"dockerInstructions": ("env",)}),
}


def change_file(path: bytes, content: bytes = b"changed\n", mode: int = 0o100644):
    return lambda files: {**files, path: (mode, content)}


def chmod(path: bytes):
    return lambda files: {**files, path: (0o100755, files[path])}


def rename(old: bytes, new: bytes):
    return lambda files: {(new if path == old else path): entry for path, entry in files.items()}


def remove(path: bytes):
    return lambda files: {name: entry for name, entry in files.items() if name != path}


def link(path: bytes):
    return lambda files: {**files, path: (0o120000, b"main.c")}


INSTALL = {"install": ("stageDependencies",)}
COMMITS: dict[str, tuple[Callable[[dict], dict], Expected]] = {
    "content": (change_file(b"src/deps/lock"), INSTALL),
    "mode": (chmod(b"src/deps/lock"), INSTALL),
    "name": (rename(b"src/deps/lock", b"src/deps/frozen"), INSTALL),
    "a file more": (change_file(b"src/deps/more"), INSTALL),
    "a file less, and the directory with it": (remove(b"src/deps/lock"), INSTALL),
    "a link": (link(b"src/deps/lock"), INSTALL),
    "beforeSetup": (change_file(b"src/assets/style"), {"beforeSetup": ("stageDependencies",)}),
    "setup": (change_file(b"src/run", b"exec\n", 0o100755), {"setup": ("stageDependencies",)}),
    "setup, the other pattern": (chmod(b"src/Makefile"), {"setup": ("stageDependencies",)}),
    "two stages": (
        lambda files: change_file(b"src/run")(change_file(b"src/deps/lock")(files)),
        {"install": ("stageDependencies",), "setup": ("stageDependencies",)},
    ),
}

PATCHES: dict[str, Callable[[dict], dict]] = {
    "content": change_file(b"src/main.c"),
    "mode": chmod(b"src/main.c"),
    "name": rename(b"src/main.c", b"src/other.c"),
    "a file more": change_file(b"src/more.c"),
    "a file less": remove(b"src/main.c"),
    "a link": lambda files: {**files, b"src/main.c": (0o120000, b"run")},
    "the other mapping": change_file(b"bin/start"),
}


@dataclass
class Versions:
    """Chains in one storage, and commits that follow one another."""

    chains: Chains
    images: tuple[Image, ...]
    commit: str

    def resolve(self, images: tuple[Image, ...] | None = None, commit: str = "") -> Chain:
        return self.chains.resolve(images or self.images, commit or self.commit)["app"]


@pytest.fixture(scope="module")
def first_commit(source) -> str:
    return source.commit(FILES)


@pytest.fixture
def versions(world, first_commit) -> Versions:
    world.registry_digests = {"debian:12": "sha256:" + "12" * 32, "busybox:1": "sha256:" + "34" * 32}
    return Versions(Chains(world, {"tools": OUT}), (TOOLS, BASE, APP), first_commit)


def check(before: Chain, after: Chain, expected: Expected) -> None:
    """`after` differs from `before` as `expected` says, and is explained so."""
    order = [kind.name for kind in conveyor_of(APP)]
    first = min(expected, key=order.index)
    for stage in order:
        if order.index(stage) < order.index(first):
            assert (stage in before) == (stage in after), stage
            if stage in after:
                assert after[stage].found is not None, f"{stage} was stored before"
                assert after[stage].digest == before[stage].digest
        elif stage in before and stage in after:
            assert after[stage].found is None, f"{stage} comes after what has changed"
            assert after[stage].why is not None
            differing = differing_parts(after[stage].key.part_digests(), before[stage].key.part_digests())
            assert after[stage].why.parts == differing
            assert after[stage].why.kind == "changed"
            own = tuple(part for part in differing if part not in BELOW)
            assert own == expected.get(stage, ()), stage
            assert set(differing) - set(own) <= (BELOW if stage != first else set()), stage
            assert ("previous stage" in differing) == (stage != first), stage
    assert set(expected) <= after.keys()


def test_without_a_change_all_is_there(versions):
    before, after = versions.resolve(), versions.resolve()
    assert list(before) == [kind.name for kind in conveyor_of(APP) if kind.name not in ("gitCache", "gitLatestPatch")]
    assert all(looked.found is None for looked in before.values())
    assert all(looked.found is not None for looked in after.values())


@pytest.mark.parametrize("name", CONFIGURATION)
def test_a_change_of_the_configuration_is_named(versions, name):
    change, expected = CONFIGURATION[name]
    before = versions.resolve()
    check(before, versions.resolve(change(versions.images)), expected)


@pytest.mark.parametrize("name", COMMITS)
def test_a_change_of_files_that_a_stage_depends_on_is_named(versions, name):
    change, expected = COMMITS[name]
    before = versions.resolve()
    commit = versions.chains.world.source.commit(change(FILES), versions.commit)
    after = versions.resolve(commit=commit)
    check(before, after, expected)
    assert "gitLatestPatch" not in after


@pytest.mark.parametrize("name", PATCHES)
def test_a_change_of_any_other_file_is_a_patch(versions, name):
    source = versions.chains.world.source
    before = versions.resolve()
    after = versions.resolve(commit=source.commit(PATCHES[name](FILES), versions.commit))
    assert [stage for stage, looked in after.items() if looked.found is None] == ["gitLatestPatch", "dockerInstructions"]
    assert after["gitLatestPatch"].why.kind == "first_build"
    assert before.keys() | {"gitLatestPatch"} == after.keys()


@pytest.mark.parametrize("name", [name for name in PATCHES if name != "content"])
def test_another_patch_is_named_delta(versions, name):
    source = versions.chains.world.source
    versions.resolve()
    one = versions.resolve(commit=source.commit(PATCHES["content"](FILES), versions.commit))
    two = versions.resolve(commit=source.commit(PATCHES[name](FILES), versions.commit))
    check(one, two, {"gitLatestPatch": ("delta",)})


def test_growth_by_a_mebibyte_is_named(versions):
    source = versions.chains.world.source
    versions.resolve()
    grown = [source.commit({**FILES, b"src/large": MIB}, versions.commit)]
    grown.append(source.commit({**FILES, b"src/large": MIB, b"src/larger": MIB}, grown[0]))
    one, two = versions.resolve(commit=grown[0]), versions.resolve(commit=grown[1])
    assert one["gitCache"].why.kind == "first_build"
    assert "gitLatestPatch" not in one
    check(one, two, {"gitCache": ("delta MiB",)})


def test_a_cache_is_used_until_the_next_mebibyte(versions):
    source = versions.chains.world.source
    versions.resolve()
    one = versions.resolve(commit=(large := source.commit({**FILES, b"src/large": MIB}, versions.commit)))
    two = versions.resolve(commit=source.commit({**FILES, b"src/large": MIB, b"src/late": b"x"}, large))
    assert two["gitCache"].found is not None
    assert two["gitCache"].digest == one["gitCache"].digest
    assert two["gitLatestPatch"].found is None


def test_a_delta_below_a_mebibyte_makes_no_cache(versions):
    source = versions.chains.world.source
    versions.resolve()
    small = versions.resolve(commit=source.commit({**FILES, b"src/large": MIB[1:]}, versions.commit))
    assert "gitCache" not in small
    assert "gitLatestPatch" in small


def test_the_platform_is_named(versions):
    versions.resolve()
    versions.chains.world.platform = "linux/arm64"
    after = versions.resolve()
    assert after["from"].why.parts == ("platform",)
    assert after["beforeInstall"].why.parts == ("platform", "previous stage")


def test_files_of_another_image_are_named(versions):
    before = versions.resolve()
    changes = {
        "content": {b"out/tool": file(b"other\n", mode=0o755, uid=7, gid=8)},
        "mode": {b"out/tool": file(b"tool\n", mode=0o700, uid=7, gid=8)},
        "owner": {b"out/tool": file(b"tool\n", mode=0o755, uid=9, gid=8)},
        "a link": {b"out/tool": Node("symlink", link=b"data", mode=0o777)},
        "one more": {b"out/new": file()},
    }
    for number, changed in enumerate(changes.values()):
        tools = with_shell(TOOLS, cache_version=str(number))
        versions.chains.files = {"tools": {**OUT, **changed}}
        after = versions.resolve((tools, BASE, replace(APP, dependencies=())))
        own = differing_parts(after[PLACES[0]].key.part_digests(), before[PLACES[0]].key.part_digests())
        assert own == ("imports", "dependencies")
        assert after["beforeInstall"].found is not None


def test_the_same_files_of_another_build_of_their_image_change_nothing(versions):
    plain = replace(APP, dependencies=())
    before = versions.resolve((TOOLS, BASE, plain))
    after = versions.resolve((with_shell(TOOLS, cache_version="again"), BASE, plain))
    assert {stage: looked.digest for stage, looked in before.items()} == {s: looked.digest for s, looked in after.items()}


def test_an_injected_value_is_named(versions):
    before = versions.resolve()
    tools = with_shell(TOOLS, cache_version="again")  # the same files under another name
    differing = {PLACES[0]: ("dependencies",), PLACES[1]: ("dependencies",), PLACES[3]: ("dependencies",)}
    check(before, versions.resolve((tools, BASE, APP)), {**differing, PLACES[2]: ("dependencies",)})


def test_the_repository_is_no_injected_change(versions):
    app = replace(APP, dependencies=(dependency("tools", "before install", REPO="ImageRepo"),))
    before = versions.resolve((TOOLS, BASE, app))
    after = versions.resolve((with_shell(TOOLS, cache_version="again"), BASE, app))
    assert after[PLACES[0]].digest == before[PLACES[0]].digest


def test_another_content_of_the_projects_base_is_named(versions):
    app = replace(APP, base=Base("image", "base"))
    before = versions.resolve((TOOLS, BASE, app))
    check(before, versions.resolve((TOOLS, with_shell(BASE, cache_version="again"), app)), {"from": ("base",)})


def test_a_mount_of_the_projects_base_is_named(versions):
    app = replace(APP, base=Base("image", "base"))
    before = versions.resolve((TOOLS, BASE, app))
    after = versions.resolve((TOOLS, replace(BASE, mounts=()), app))
    check(before, after, {"from": ("base", "mounts")})


def test_another_commit_of_the_projects_base_is_named(versions):
    source = versions.chains.world.source
    base = replace(BASE, git=(mapping("/doc", to="/doc"),))
    app = replace(APP, base=Base("image", "base"))
    before = versions.resolve((TOOLS, base, app))
    after = versions.resolve((TOOLS, base, app), source.commit({**FILES, b"doc/page": b"new\n"}, versions.commit))
    check(before, after, {"from": ("base",)})


def test_another_digest_of_the_registry_is_named(versions):
    app = replace(APP, from_latest=True)
    before = versions.resolve((TOOLS, BASE, app))
    versions.chains.world.registry_digests["debian:12"] = "sha256:" + "56" * 32
    check(before, versions.resolve((TOOLS, BASE, app)), {"from": ("fromLatest",)})


SAME: dict[str, Callable[[tuple[Image, ...]], tuple[Image, ...]]] = {
    "base written in full": fields(base=Base("external", "docker.io/library/debian:12")),
    "final": fields(final=False),
    "network": fields(network="none"),
    "place": of_app(lambda app: replace(app, place=replace(HERE, line=99))),
    "place of a mapping": in_mapping(0, place=replace(HERE, line=99)),
    "place of an import": in_import(0, place=replace(HERE, line=99)),
    "place of a mount": in_mount(0, place=replace(HERE, line=99)),
    "place of the instructions": in_docker(place=replace(HERE, line=99)),
    "order of variables": in_docker(env={"B": "2", "A": "1"}),
    "order of labels": in_docker(label={"l": "w", "k": "v"}),
    "order of the stages' commands": of_app(
        lambda app: with_shell(app, commands=dict(reversed(tuple(app.shell.commands.items()))))
    ),
    "imports of several places in another order": fields(imports=APP.imports[::-1]),
    "a stage of the source with the same files": in_import(0, from_stage="beforeInstall"),
    "other patterns for the same files": watched("install", "deps/**"),
    "filters of an import that leave the same files": in_import(3, paths=PathFilter(("data", "absent"))),
    "a name": lambda images: tuple(replace(item, name="app2") if item.name == "app" else item for item in images),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_in_no_key_changes_nothing(versions, name):
    versions.resolve()
    images = SAME[name](versions.images)
    after = versions.chains.resolve(images, versions.commit)[images[-1].name]
    assert [stage for stage, looked in after.items() if looked.found is None] == []


def test_files_outside_of_all_mappings_change_nothing(versions):
    source = versions.chains.world.source
    versions.resolve()
    commit = source.commit({**FILES, b"doc/page": b"new\n", b"bin/stop": b"new\n", b"src/x.o": b"new\n"}, versions.commit)
    assert all(looked.found is not None for looked in versions.resolve(commit=commit).values())


def test_every_part_that_a_stage_names_is_in_a_table(versions):
    changed = {part for _, expected in CONFIGURATION.values() for parts in expected.values() for part in parts}
    changed |= {"delta", "delta MiB"}  # by commits alone
    full = replace(APP, cache_version="v", from_latest=True, docker=DOCKER)
    source = versions.chains.world.source
    versions.resolve((TOOLS, BASE, full))
    large = source.commit({**FILES, b"src/large": MIB}, versions.commit)
    chains = [versions.resolve((TOOLS, BASE, full), large)]
    chains.append(versions.resolve((TOOLS, BASE, full), source.commit({**FILES, b"src/large": MIB, b"src/x": b""}, large)))
    named = {part.name for chain in chains for looked in chain.values() for part in looked.key.parts}
    assert named == changed
