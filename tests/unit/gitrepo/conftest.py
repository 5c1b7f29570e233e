"""Repositories that no setting of the machine reaches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.gitrepo.repositories import Place, make_place

_WHO = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in (("NAME", "a"), ("EMAIL", "a@b"))}


@pytest.fixture(autouse=True, scope="session")
def own_settings() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        for name, value in _WHO.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def place(tmp_path) -> Place:
    """An empty repository."""
    return make_place(tmp_path / "repository")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Place:
    """A repository for many commits of one module's tests."""
    return make_place(tmp_path_factory.mktemp("shared") / "repository")
