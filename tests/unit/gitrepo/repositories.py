"""Repositories for the tests of this room, made and asked by git itself: it is the oracle."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from conveyor.gitrepo.api import Blob, Repository
from conveyor.gitrepo.repository import open_repository

Entry = tuple[int, bytes]  # mode and content, or the commit of a submodule


@dataclass(frozen=True)
class Place:
    """A repository with a work tree."""

    path: Path

    def git(self, *arguments: str | bytes, feed: bytes = b"", **variables: str) -> bytes:
        """Run git and give its output; fail where it does."""
        ran = subprocess.run(
            ["git", "-C", self.path, *arguments], input=feed, capture_output=True, env={**os.environ, **variables}
        )
        assert ran.returncode == 0, (arguments, ran.stderr.decode(errors="replace"))
        return ran.stdout

    def write(self, path: str | bytes, content: str | bytes = "content\n") -> Path:
        """Write a file of the work tree."""
        file = self.path / os.fsdecode(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    def commit(self, message: str = "a commit", **variables: str) -> str:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message, **variables)
        return self.head()

    def head(self, name: str = "HEAD") -> str:
        """The id of a commit."""
        return self.git("rev-parse", name).decode().strip()

    def commit_files(self, files: Mapping[bytes, Entry], *, parents: Iterable[str] = (), time_s: int = 1_600_000_000) -> str:
        """A commit of exactly these files, without a work tree; the branch goes there."""
        lines = [b"commit refs/heads/main\ncommitter a <a@b> %d +0000\ndata 0\n" % time_s]
        for number, parent in enumerate(parents):
            lines.append(b"%s %s\n" % (b"merge" if number else b"from", parent.encode()))
        if not lines[1:]:
            lines.insert(0, b"reset refs/heads/main\n")
        lines.append(b"deleteall\n")
        for path, (mode, content) in files.items():
            quoted = b'"' + b"".join(b"\\%03o" % byte for byte in path) + b'"'
            if mode == 0o160000:
                lines.append(b"M 160000 %s %s\n" % (content, quoted))
            else:
                lines.append(b"M %o inline %s\ndata %d\n%s\n" % (mode, quoted, len(content), content))
        self.git("fast-import", "--quiet", "--force", "--date-format=raw", feed=b"".join(lines))
        return self.head("refs/heads/main")

    def open(self, *, dev: bool = False, directory: str = "") -> Repository:
        """The repository as the build sees it."""
        home = self.path.parent / f"{self.path.name}-home"
        return open_repository(str(self.path / directory), dev=dev, home_dir=str(home))

    def listed(self, commit: str) -> dict[bytes, tuple[int, str]]:
        """Mode and id of all files of a commit, as `git ls-tree` says."""
        found = {}
        for line in self.git("ls-tree", "-r", "-z", commit).split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, oid = about.split()
            found[path] = (int(mode, 8), oid.decode())
        return found


def make_place(path: Path, *arguments: str) -> Place:
    """An empty repository."""
    path.mkdir(parents=True)
    place = Place(path)
    place.git("init", "--quiet", "--initial-branch=main", *arguments)
    return place


def as_listed(blobs: Iterable[Blob]) -> dict[bytes, tuple[int, str]]:
    """Blobs in the form of `Place.listed`."""
    return {blob.path: (blob.mode, blob.oid) for blob in blobs}
