"""Contents that Git LFS keeps: found in what a checkout has, else fetched by `git lfs` into the home.

They are named by their digests, so it does not matter where one comes from; each is verified while it is read.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import Address, configured_address
from conveyor.gitrepo.fetching import ask_remote
from conveyor.gitrepo.objects import Objects
from conveyor.gitrepo.processes import run_git

MOST_POINTER_BYTES = 1024
_VERSIONS = (b"version https://git-lfs.github.com/spec/", b"version https://hawser.github.com/spec/")
_POINTER = re.compile(rb"version [^\n]+\noid sha256:([0-9a-f]{64})\nsize (\d+)\n?")
_ABOUT_LOGS = ("Errors logged to", "Use `git lfs logs")
_AT_ONCE = 8
_TIMEOUT_S = 3600.0  # git lfs itself gives up a server that is silent


class Pointer(NamedTuple):
    """What stands in git in place of a content: its sha256 and its size in bytes."""

    sha256: str
    size: int


class Wanted(NamedTuple):
    """A content: the file of it, the store that names it."""

    path: bytes
    pointer: Pointer
    store: Objects


def parse_pointer(data: bytes) -> Pointer | None:
    """The pointer that a blob is; None where it is something else. `GitError` for one that cannot be followed."""
    if not data.startswith(_VERSIONS):
        return None
    found = _POINTER.fullmatch(data)
    if found is None:
        raise GitError(
            "a pointer of Git LFS has more in it than an id and a size", reason="lfs_failed", hint="extensions are not used"
        )
    return Pointer(found[1].decode(), int(found[2]))


def is_lfs_installed() -> bool:
    """Whether git can be asked for contents."""
    return run_git(["lfs", "version"]).returncode == 0


class LfsContents:
    """The contents of a home, and those that checkouts have. Thread-safe."""

    def __init__(self, home_dir: str, url: str = "", is_stopped: Callable[[], bool] | None = None) -> None:
        """`url`: where contents are fetched from, as the commit's `.lfsconfig` says; "": from the repository's server."""
        self._storage = Path(home_dir).absolute() / "lfs"
        self._url = url
        self._is_stopped = is_stopped

    def has(self, wanted: Wanted) -> bool:
        """Whether a content is on this machine."""
        return self._find(wanted) is not None

    def fetch(self, wanted: Sequence[Wanted]) -> None:
        """Have contents on this machine. `GitError` (`lfs_failed`)."""
        missing = list({item.pointer: item for item in wanted if not self.has(item)}.values())
        if len(missing) == 1:
            self._fetch(missing[0])
        elif missing:
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(_AT_ONCE, "lfs") as pool:
                list(pool.map(self._fetch, missing))

    def open(self, wanted: Wanted) -> BinaryIO:
        """A content, fetched where it is not here; a read fails where it is another one. `GitError` (`lfs_failed`)."""
        self.fetch((wanted,))
        path = self._find(wanted)
        if path is None:
            raise _gone(wanted, "it was removed while it was read")
        return cast(BinaryIO, _Verified(path.open("rb"), wanted))

    def _find(self, wanted: Wanted) -> Path | None:
        sha256, size = wanted.pointer
        below = Path("objects", sha256[:2], sha256[2:4], sha256)
        common = Path(os.fsdecode(wanted.store.git_dir))
        pointed = common / "commondir"
        if pointed.is_file():
            common = common / pointed.read_text().strip()
        for storage in (self._storage, common / "lfs"):
            try:
                if (storage / below).stat().st_size == size:
                    return storage / below
            except OSError:
                continue
        return None

    def _fetch(self, wanted: Wanted) -> None:
        store = wanted.store
        address = store.origin or configured_address(store.git_dir, b"remote.origin.url")
        if address is None and not self._url:
            raise _gone(wanted, "the repository has no `origin` to fetch it from")
        settings = ["-c", f"lfs.storage={self._storage}"]
        settings += ["-c", f"lfs.url={self._url}"] if self._url else []
        said = ask_remote(
            address or Address("", ""),
            [*settings, "lfs", "smudge", "--", os.fsdecode(wanted.path)],
            git_dir=os.fsdecode(store.git_dir),
            feed=b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize %d\n"
            % (wanted.pointer.sha256.encode(), wanted.pointer.size),
            environment={"GIT_LFS_SKIP_SMUDGE": "0", "GIT_LFS_PROGRESS": ""},
            timeout_s=_TIMEOUT_S,
            keeps_output=False,
            is_stopped=self._is_stopped,
        )
        if self._find(wanted) is None:
            lines = [line for line in said.complaints.split("\n") if not line.startswith(_ABOUT_LOGS)]
            raise _gone(wanted, "\n".join(lines) or f"git lfs ended with status {said.status}")


class _Verified:
    """A file of which the digest is known before: another content is an error at its end."""

    def __init__(self, file: BinaryIO, wanted: Wanted) -> None:
        self._file, self._wanted = file, wanted
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all that is left where it is negative."""
        data = self._file.read(size)
        self._digest.update(data)
        if (size < 0 or len(data) < size) and self._digest.hexdigest() != self._wanted.pointer.sha256:
            raise _gone(self._wanted, f"{self._file.name} is damaged: remove it")
        return data

    def readable(self) -> bool:
        """True."""
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> _Verified:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _gone(wanted: Wanted, why: str) -> GitError:
    shown = wanted.path.decode("utf-8", "backslashreplace")
    return GitError(
        f"{shown} is kept by Git LFS, and its content cannot be had: {why}",
        reason="lfs_failed",
        hint="`git lfs fetch` in a clone shows more; or leave the file out by excludePaths",
    )
