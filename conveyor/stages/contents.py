"""Sizes and contents of files of a commit as they are laid: of one that Git LFS keeps what its pointer stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from conveyor.gitrepo.api import Blob, Selector, Snapshot

if TYPE_CHECKING:
    from conveyor.gitrepo.lfs import Wanted


def sizes_of(repo: Snapshot, selector: Selector, blobs: Sequence[Blob]) -> Sequence[int]:
    """Sizes in bytes of files that a selection has at HEAD, in their order."""
    kept = _kept(repo, selector, blobs)
    sizes = repo.sizes(blobs)
    if not kept:
        return sizes
    return [kept[blob.path].pointer.size if blob.path in kept else size for blob, size in zip(blobs, sizes, strict=True)]


class FileContents:
    """Contents of files that a selection has at HEAD, to be opened in their order, in one thread.

    What Git LFS keeps and is not on this machine is fetched at once. `GitError` (`lfs_failed`).
    """

    def __init__(self, repo: Snapshot, selector: Selector, blobs: Sequence[Blob]) -> None:
        self._blobs = blobs
        self._kept = _kept(repo, selector, blobs)
        self._from_lfs = repo.lfs_contents(repo.head) if self._kept else None
        if self._from_lfs is not None:
            self._from_lfs.fetch([self._kept[blob.path] for blob in blobs if blob.path in self._kept])
        self._contents = repo.contents(blobs)

    def open(self, number: int) -> BinaryIO:
        """The content of a file by its number among them."""
        wanted = self._kept.get(self._blobs[number].path)
        if wanted is not None and self._from_lfs is not None:
            return self._from_lfs.open(wanted)
        return self._contents.open(number)

    def close(self) -> None:
        """End what reads ahead."""
        self._contents.close()


def _kept(repo: Snapshot, selector: Selector, blobs: Sequence[Blob]) -> Mapping[bytes, Wanted]:
    return repo.lfs_wanted(repo.head, selector) if blobs else {}
