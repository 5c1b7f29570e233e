"""Worlds for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.build.worlds import Source, World, make_source
from tests.unit.gitrepo.conftest import own_settings

__all__ = ["own_settings"]  # no setting of the machine reaches the repositories


@pytest.fixture(scope="session")
def source(tmp_path_factory, own_settings) -> Iterator[Source]:
    """A repository for the commits of all tests."""
    made = make_source(tmp_path_factory.mktemp("source") / "repository")
    yield made
    made.close()


@pytest.fixture(scope="session")
def commit(source) -> str:
    """A commit of a few files."""
    return source.commit({b"a": b"a\n", b"b": b"b\n", b"dir/c": b"c\n"})


@pytest.fixture
def world(source, commit, tmp_path) -> World:
    return World(source, commit, tmp_path)
