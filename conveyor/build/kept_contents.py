"""Files of Git LFS whose contents are not here, where nothing can fetch them: known before anything is built."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from conveyor.errors import Place, Problem
from conveyor.gitrepo.api import Snapshot
from conveyor.gitrepo.lfs import Wanted, is_lfs_installed


def find_missing(repo: Snapshot, files: Iterable[Wanted], place: Place, way_out: str) -> Iterator[Problem]:
    """A problem for each of them, at the place of what takes it."""
    contents = repo.lfs_contents(repo.head)
    missing = [file for file in files if not contents.has(file)]
    if missing and not is_lfs_installed():
        for file in missing:
            shown = repr(file.path.decode("utf-8", "backslashreplace")).strip("'")
            yield Problem(
                place,
                f"{shown} is kept by Git LFS (filter=lfs), its content is not here, and git lfs is not installed",
                f"install it (apt-get install git-lfs); or {way_out}, or store it in git itself",
            )
