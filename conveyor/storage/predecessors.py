"""The latest stored stages of each stage of an image: with them a stage that has to be built is compared, to say why.

A directory for a stage of an image, an empty file in it for a stored stage: to read the labels of all stages of a store
for that would cost more than all else that a build of one stage costs.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from conveyor.keys.key import hash_value
from conveyor.storage.names import StageName, parse_stage_name

KEPT = 16


class Predecessors:
    """What is remembered below a directory, by any number of processes; what cannot be written is not remembered."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def names(self, project: str, image: str, stage: str) -> list[StageName]:
        """The stages that were noted last, newest first. They may be gone by now."""
        return _names(self._of(project, image, stage))

    def note(self, project: str, image: str, stage: str, name: StageName) -> None:
        """Note a stage, and forget those that have become too many."""
        directory = self._of(project, image, stage)
        with suppress(OSError):
            directory.mkdir(parents=True, exist_ok=True)
            (directory / str(name)).touch()
            for old in _names(directory)[KEPT:]:
                (directory / str(old)).unlink()

    def _of(self, project: str, image: str, stage: str) -> Path:
        return self._directory / hash_value([project, image, stage])[:16]


def _names(directory: Path) -> list[StageName]:
    try:
        texts = os.listdir(directory)
    except OSError:
        return []
    return sorted(filter(None, map(parse_stage_name, texts)), reverse=True)
