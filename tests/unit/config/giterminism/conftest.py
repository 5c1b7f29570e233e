"""Small real repositories, and their files as a configuration reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from conveyor.config.giterminism.api import ALLOW_ALL, Permissions, Refusals
from conveyor.config.giterminism.files import ConfigFiles
from conveyor.errors import GiterminismError
from tests.unit.gitrepo.conftest import own_settings as own_settings
from tests.unit.gitrepo.repositories import Place, make_place

FILES = "config.goTemplateRendering.allowUncommittedFiles"


@pytest.fixture
def place(tmp_path) -> Place:
    """A repository with nothing committed."""
    return make_place(tmp_path / "repository")


@dataclass(frozen=True)
class Reading:
    """A run's reading: its files, and what it was refused."""

    files: ConfigFiles
    refusals: Refusals

    def read(self, path: str, directive=FILES, subject: str = "") -> str | None:
        content = self.files.read(path, directive, subject)
        return content.decode() if content is not None else None

    @property
    def refused(self) -> str:
        try:
            self.refusals.raise_any()
        except GiterminismError as error:
            return str(error)
        return ""


Open = Callable[..., Reading]


@pytest.fixture
def open_files(place) -> Iterator[Open]:
    """`open_files({directive: [patterns]}, directory=, loose=, dev=)`: what a new run reads."""
    opened = []

    def open_(given=None, *, directory: str = "", loose: bool = False, dev: bool = False) -> Reading:
        repo = place.open(dev=dev)
        opened.append(repo)
        permissions = Permissions(given={name: tuple(value) for name, value in (given or {}).items()})
        refusals = Refusals(ALLOW_ALL if loose else permissions)
        return Reading(ConfigFiles(repo, directory.encode(), place.path / directory, refusals), refusals)

    yield open_
    for repo in opened:
        repo.close()
