"""Mappings of other repositories: each at its own commit, with its own history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from conveyor.gitrepo.addresses import parse_address
from conveyor.gitrepo.remote_source import RemoteSource
from conveyor.stages.git_mapping import mapped
from tests.unit.build.worlds import Source, World, image, make_source, mapping, sources


class OneRemote:
    """Every mapping's repository is one and the same; what it is taken at is its `ref`."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def open_all(self, sources: Iterable[RemoteSource]) -> None:
        """They are here."""

    def open(self, source: RemoteSource) -> Any:
        return self._source.at(source.ref)

    def close(self) -> None:
        """Nothing was opened here."""


@pytest.fixture
def other(tmp_path):
    source = make_source(tmp_path / "other")
    yield source
    source.close()


def remote(commit: str, url: str = "https://example.org/a.git", **fields: Any):
    return mapping("/", "/other", remote=RemoteSource(parse_address(url), "commit", commit), **fields)


def build(world: World, other: Source, *mappings, commit: str = ""):
    images = (image("app", git=mappings),)
    rooms = replace(world.rooms(images, commit), remotes=OneRemote(other))
    return world.build(*images, rooms=rooms)["app"]


def test_a_later_commit_lays_the_delta_and_an_earlier_one_is_built_anew(world, other):
    first = other.commit({b"a": b"1\n", b"b": b"1\n"})
    second = other.commit({b"a": b"2\n"}, first)
    aside = other.commit({b"a": b"3\n"})
    built = build(world, other, remote(second))
    assert sources(built) == {"from": "built", "gitArchive": "built"}
    assert sources(build(world, other, remote(second))) == {"from": "primary", "gitArchive": "primary"}
    assert sources(build(world, other, remote(first)))["gitArchive"] == "built"
    third = other.commit({b"a": b"2\n", b"c": b"4\n"}, second)
    assert sources(build(world, other, remote(third))) == {
        "from": "primary",
        "gitArchive": "primary",
        "gitLatestPatch": "built",
    }
    assert sources(build(world, other, remote(aside)))["gitArchive"] == "built"


def test_other_commits_of_the_project_do_not_touch_it(world, other):
    first = other.commit({b"a": b"1\n"})
    build(world, other, remote(first))
    later = world.source.commit({b"unrelated": b"x\n"}, world.commit)
    assert set(sources(build(world, other, remote(first), commit=later)).values()) == {"primary"}


def test_ancestry_is_that_of_each_mappings_repository(world):
    """A commit that the other repository has as an ancestor is none of the project, though both know it."""
    source = world.source
    base = source.commit({b"a": b"1\n"})
    branch = source.commit({b"a": b"branch\n"}, base)
    main = source.commit({b"a": b"main\n"}, base)
    build(world, source, mapping("/", "/app"), remote(main), commit=branch)
    again = build(world, source, mapping("/", "/app"), remote(branch), commit=main)
    assert sources(again)["gitArchive"] == "built"
    merge = source.commit({b"a": b"both\n"}, branch, main)
    assert sources(build(world, source, mapping("/", "/app"), remote(merge), commit=merge))["gitArchive"] == "primary"


def test_equal_files_stand_for_ancestry_in_each_repository(world, other):
    first = other.commit({b"a": b"1\n"})
    build(world, other, mapping("/", "/app"), remote(first))
    amended = other.commit({b"a": b"1\n"}, time_s=1_600_000_777)
    world.same_tree = True
    assert set(sources(build(world, other, mapping("/", "/app"), remote(amended))).values()) == {"primary"}
    world.same_tree = False
    assert sources(build(world, other, mapping("/", "/app"), remote(amended)))["gitArchive"] == "built"


def test_the_definition_is_the_name_of_the_repository_and_not_how_it_is_written(world, other):
    first = other.commit({b"a": b"1\n"})
    rooms = replace(world.rooms(()), remotes=OneRemote(other))

    def ids(*urls: str) -> set[str]:
        images = [image("app", git=(remote(first, url),)) for url in urls]
        return {mapped(item, b"", rooms.repo, rooms.remotes)[0].id for item in images}

    # Another id is another key: see the golden files of keys.
    written = ("https://example.org/a.git", "https://t0ken@EXAMPLE.org/a", "git@example.org:a.git")
    assert ids(*written) == {"07c0ae151cb5021d"}
    assert len(ids("https://example.org/a.git", "https://example.org/b.git", "https://example.net/a.git")) == 3
    local = mapped(image("app", git=(mapping("/", "/other"),)), b"", rooms.repo, None)[0].id
    assert local not in ids("https://example.org/a.git")


def test_a_stage_of_a_submodules_commit_that_is_nowhere_is_unsuitable(world, tmp_path):
    """Its files cannot be compared with those of HEAD: another is built, and the build goes on."""
    source = world.source
    inner = make_source(source.place.path / "sub")
    (source.place.path / ".git" / "info" / "exclude").write_text("sub\n")
    settings = b'[submodule "sub"]\n\tpath = sub\n\turl = https://127.0.0.1:1/sub\n'
    lost = inner.commit({b"s": b"1\n"})

    def commit(inner_commit: str, *parents: str) -> str:
        files = {b".gitmodules": settings, b"sub": (0o160000, inner_commit.encode()), b"a": b"1\n"}
        return source.commit(files, *parents)

    old = commit(lost)
    built = build(world, source, mapping("/", "/app"), commit=old)
    source.close()
    inner.place.git("update-ref", "-d", "refs/heads/main")
    inner.place.git("reflog", "expire", "--all", "--expire=now")
    inner.place.git("repack", "-adfq")
    inner.place.git("prune", "--expire=now")
    new_inner = inner.commit({b"s": b"2\n"})
    new = commit(new_inner, old)
    fresh = Source(source.place)  # opened anew: what git told before is forgotten
    world.source = fresh
    again = build(world, fresh, mapping("/", "/app"), commit=new)
    fresh.close()
    assert sources(built)["gitArchive"] == "built"
    assert sources(again) == {"from": "primary", "gitArchive": "built"}
