"""The key of every kind of stage, against a golden file: a key that changes makes everybody build everything again."""

from __future__ import annotations

from pathlib import Path

from conveyor.config.models import DockerInstructions, MountPoint, Shell
from conveyor.keys.version import KEY_VERSION
from conveyor.stages.order import conveyor_of
from stapel.image_spec import ImageSpec
from tests.unit.build.worlds import HERE, dependency, image, imported, mapping
from tests.unit.stages.chains import Chains
from tests.unit.stapel.trees import Node, file

GOLDEN = Path(__file__).parent / "golden" / "keys.txt"
RULE = (
    "keys have changed: nobody's stored stages will be found again. Where that is not meant, find out what changed them. "
    "Where it is meant, raise KEY_VERSION in conveyor/keys/version.py, say so in CHANGELOG.md, and move the .actual file "
    "over the golden one"
)

SOURCE_FILES = {
    b"out/tool": file(b"#!/bin/sh\n", mode=0o755, uid=7, gid=8),
    b"out/data/table": file(b"1 2 3\n"),
    b"out/link": Node("symlink", link=b"tool", mode=0o777),
}
AT_PLACES = ("before install", "after install", "before setup", "after setup")

IMAGES = (
    image("tools", "docker.io/busybox", beforeInstall="make tools", artifact=True),
    image("bare", "scratch", git=(mapping("/bin", to="/"),)),
    image("latest", "debian:12", from_latest=True),
    image(
        "app",
        "debian:12",
        cache_version="v1",
        from_cache_version="f1",
        mounts=(MountPoint(HERE, "tmp_dir", "/tmp"), MountPoint(HERE, "from_path", "/var/cache", "~/cache")),
        shell=Shell(
            {
                "beforeInstall": ("apt-get update", "apt-get install -y make"),
                "install": ("make deps",),
                "beforeSetup": ("make assets",),
                "setup": ("make \u2764",),
            },
            cache_version="s1",
            stage_cache_versions={"setup": "x"},
        ),
        git=(
            mapping(
                "/src",
                to="/app",
                include=["**/*.c", "Makefile", "run"],
                exclude=["old"],
                owner="app",
                group="33",
                install=["Makefile"],
                beforeSetup=["**/*.c"],
                setup=["run"],
            ),
            mapping("/bin", to="/usr/local/bin"),
        ),
        imports=(
            *(imported("tools", place, to=f"/tools/{number}") for number, place in enumerate(AT_PLACES)),
            imported(
                "tools",
                add="/out/data",
                to="/data",
                owner="app",
                group="app",
                include=["table"],
                exclude=["x"],
                from_stage="beforeInstall",
            ),
        ),
        dependencies=tuple(
            dependency("tools", place, NAME="ImageName", TAG="ImageTag", REPO="ImageRepo", ID="ImageID", SUM="ImageDigest")
            for place in AT_PLACES
        ),
        docker=DockerInstructions(
            HERE,
            volume=("/data",),
            expose=("80", "53/udp"),
            env={"A": "1", "B": "$A"},
            label={"l": "x"},
            cmd=("serve",),
            entrypoint="exec tool",
            workdir="/app",
            user="app",
            healthcheck="CMD true",
            exact_values=True,
        ),
    ),
    image("on app", "image:app", install="true"),
    image("tasks", "scratch", shell=Shell(tasks={"setup": '[{"command": "make"}]'})),
    image("tasks of collections", "scratch", shell=Shell(tasks={"setup": '[{"npm": {"name": "x"}}]'})),
    image(
        "from outside",
        "scratch",
        imports=(
            imported("alpine", to="/a", external=True),
            imported("reg.example/b@sha256:" + "34" * 32, include=["x"], exclude=["y"], owner="1", group="2", external=True),
        ),
    ),
    image(
        "spec",
        "scratch",
        image_spec=ImageSpec(
            author="us",
            clear_history=True,
            clear_cmd=True,
            clear_entrypoint=True,
            clear_user=True,
            clear_working_dir=True,
            remove_labels=("a", "/b.*/"),
            remove_volumes=("/c",),
            remove_env=("D",),
            labels={"l": "%project%/%image%"},
            env={"A": "${B}"},
            volumes=("/data",),
            expose=("80", "53/udp"),
            user="app",
            working_dir="/app",
            stop_signal="SIGINT",
            cmd=(),
            entrypoint=("tool",),
            healthcheck={"Test": ("CMD", "true"), "Interval": 30_000_000_000, "Retries": 3},
        ),
    ),
)


def make_commits(source) -> tuple[str, str, str]:
    """One after another: the files, a large change, a small one."""
    first = {
        b"src/Makefile": b"all:\n",
        b"src/main.c": b"int main;\n",
        b"src/old/main.c": b"int old;\n",
        b"src/run": (0o100755, b"#!/bin/sh\n"),
        b"bin/start": (0o100755, b"#!/bin/sh\nexec run\n"),
        b"bin/also": (0o120000, b"start"),
    }
    large = {**first, b"bin/large": b"0123456789abcdef" * 65536}
    small = {**large, b"bin/late": b"late\n", b"bin/also": (0o100644, b"no link\n")}
    del small[b"bin/start"]
    one = source.commit(first, time_s=1_600_000_000)
    two = source.commit(large, one, time_s=1_600_000_100)
    return one, two, source.commit(small, two, time_s=1_600_000_200)


def show(commits, chains) -> str:
    """Every stage with the parts of its key, where it was resolved first."""
    lines = [f"key version {KEY_VERSION}"]
    seen = set()
    for commit, resolved in zip(commits, chains, strict=True):
        lines += ["", f"commit {commit}"]
        for name, chain in resolved.items():
            for stage, looked in chain.items():
                if (name, stage, looked.digest) not in seen:
                    seen.add((name, stage, looked.digest))
                    lines += ["", f"{name}/{stage}  {looked.digest}"]
                    lines += [f"    {digest}  {part}" for part, digest in looked.key.part_digests()]
    return "\n".join(lines) + "\n"


def resolve_all(world):
    world.registry_digests = {"debian:12": "sha256:" + "12" * 32}
    commits = make_commits(world.source)
    chains = Chains(world, {"tools": SOURCE_FILES})
    return commits, [chains.resolve(IMAGES, commit) for commit in commits]


def test_keys_are_those_of_the_golden_file(world):
    actual = show(*resolve_all(world))
    expected = GOLDEN.read_text(encoding="utf-8") if GOLDEN.exists() else ""
    beside = GOLDEN.with_name(GOLDEN.name + ".actual")
    if actual != expected:
        beside.parent.mkdir(exist_ok=True)
        beside.write_text(actual, encoding="utf-8")
        lines = set(expected.splitlines())
        first = next((line for line in actual.splitlines() if line not in lines), "lines are missing")
        raise AssertionError(f"{beside} differs from {GOLDEN}, first in {first!r}: {RULE}")
    beside.unlink(missing_ok=True)


def test_every_kind_of_stage_and_every_named_part_is_in_the_golden_file(world):
    _, resolved = resolve_all(world)
    stages = {stage for chains in resolved for chain in chains.values() for stage in chain}
    assert stages == {kind.name for item in IMAGES for kind in conveyor_of(item)}
    parts = {
        part.name
        for chains in resolved
        for chain in chains.values()
        for looked in chain.values()
        for part in looked.key.parts
    }
    assert parts == {
        *("base", "fromLatest", "cacheVersion", "fromCacheVersion", "mounts"),
        *("commands", "ansible", "collections", "stageDependencies", "imports", "dependencies"),
        *("mappings", "delta MiB", "delta"),
        *("volume", "expose", "env", "label", "cmd", "entrypoint", "workdir", "user", "healthcheck", "exactValues"),
        *("author", "clearHistory", "clearCmd", "clearEntrypoint", "clearUser", "clearWorkingDir", "removeLabels"),
        *("removeVolumes", "removeEnv", "labels", "volumes", "workingDir", "stopSignal"),
    }


def test_the_keys_of_two_runs_are_the_same(world, source, tmp_path):
    first, again = resolve_all(world), resolve_all(type(world)(source, "", tmp_path / "again"))
    assert show(*first) == show(*again)
