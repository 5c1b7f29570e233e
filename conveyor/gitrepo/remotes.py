"""Remote repositories at the commits that mappings name, read out of the clones of the home."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import Address, Credentials
from conveyor.gitrepo.api import Selector, Snapshot
from conveyor.gitrepo.clone import Clone
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.fetched_submodules import FetchedSubmodules
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.objects import Objects
from conveyor.gitrepo.plain_trees import PlainTrees
from conveyor.gitrepo.reader import Reader
from conveyor.gitrepo.remote_source import Login, RemoteSource
from conveyor.gitrepo.submodules import Submodules

_AT_ONCE = 8  # servers that are asked at the same time


class FetchedSnapshot(Reader):
    """See `conveyor.gitrepo.api.Snapshot`: a commit of a clone."""

    def __init__(self, clone: Clone, head: str, clones: Clones) -> None:
        git_dir = os.fsencode(clone.git_dir)
        environment = git_environment()
        own = Objects("", git_dir, environment, clone.supply, clone.address)
        submodules = Submodules(b"", (git_dir,), environment, FetchedSubmodules(clones, clone.address), own)
        super().__init__(submodules, git_dir, PlainTrees(clones.home_dir, git_dir), clones.home_dir, clones.is_stopped)
        self._head = head

    @property
    def head(self) -> str:
        """See `Snapshot`."""
        return self._head

    @property
    def head_commits(self) -> tuple[str, ...]:
        """See `Snapshot`."""
        return (self._head,)

    def lfs_files(self, commit: str, selector: Selector) -> tuple[bytes, ...]:
        """See `Snapshot`."""
        if not self._plain_trees.has(self._submodules.own.tree_of(commit)):
            # All files of attributes at once: who reads them one by one would fetch them so.
            within = Selector(selector.add, selector.include, selector.exclude, ("**/.gitattributes",))
            self.sizes(self.files(commit, within))
        return super().lfs_files(commit, selector)

    def merged(self, commits: tuple[str, ...]) -> str | None:
        """See `Snapshot`."""
        return commits[0] if len(commits) == 1 else None


class _Opened(Struct):
    """A repository that somebody has asked for: others wait until it is here."""

    lock: threading.Lock
    snapshot: FetchedSnapshot | None = None
    error: GitError | None = None


class FetchedRemotes:
    """See `conveyor.gitrepo.api.Remotes`."""

    def __init__(self, clones: Clones, directory: str) -> None:
        """`directory`: where relative paths start, the project's."""
        self._clones = clones
        self._directory = directory
        self._lock = threading.Lock()
        self._opened: dict[RemoteSource, _Opened] = {}

    def open_all(self, sources: Iterable[RemoteSource]) -> None:
        """See `Remotes`."""
        distinct = dict.fromkeys(sources)
        if len(distinct) > 1:
            with ThreadPoolExecutor(_AT_ONCE, "fetch") as pool:
                try:
                    wait([pool.submit(self.open, source) for source in distinct])
                except BaseException:
                    self._clones.stop()
                    raise

    def open(self, source: RemoteSource) -> Snapshot:
        """See `Remotes`."""
        with self._lock:
            opened = self._opened.setdefault(source, _Opened(threading.Lock()))
        with opened.lock:
            if opened.error is not None:
                raise opened.error
            if opened.snapshot is None:
                try:
                    opened.snapshot = self._open(source)
                except GitError as error:
                    opened.error = error
                    raise
            return opened.snapshot

    def newest(self, source: RemoteSource) -> str:
        """The commit that a tag or a branch names now, asked of the server. `GitError` as `open`."""
        clone = self._clone(source)
        return clone.tag(source.ref, fresh=True) if source.kind == "tag" else self._commit(clone, source)

    def close(self) -> None:
        """See `Remotes`."""
        for opened in self._opened.values():
            if opened.snapshot is not None:
                opened.snapshot.close()

    def _open(self, source: RemoteSource) -> FetchedSnapshot:
        clone = self._clone(source)
        return FetchedSnapshot(clone, self._commit(clone, source), self._clones)

    def _commit(self, clone: Clone, source: RemoteSource) -> str:
        return {"tag": clone.tag, "branch": clone.branch, "commit": clone.commit}[source.kind](source.ref)

    def _clone(self, source: RemoteSource) -> Clone:
        address = self._absolute(source.address)
        if source.login is not None:
            address = replace(address, credentials=read_login(source.login, os.environ, self._directory))
        return self._clones.of(address)

    def _absolute(self, address: Address) -> Address:
        if not address.is_local or "://" in address.url:
            return address
        path = os.path.normpath(os.path.join(self._directory, os.path.expanduser(address.url)))
        return replace(address, url=path, name=path.removesuffix(".git"))


def read_login(login: Login, environment: Mapping[str, str], directory: str) -> Credentials:
    """User and password. A password that is not where it should be is their `problem`: it is told once a server is asked."""
    password, problem = login.password, ""
    if login.kind == "env":
        password = environment.get(login.password, "")
        problem = "" if login.password in environment else f"the environment variable {login.password} is not set"
    elif login.kind == "src":
        path = Path(directory, os.path.expanduser(login.password))
        try:
            password = path.read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            problem = f"the file {path} cannot be read: {error.strerror if isinstance(error, OSError) else 'it is no text'}"
    if not problem and ("\n" in password or "\0" in password):
        problem = "it holds a line end"
    return Credentials(login.username, password, f"basicAuth.password: {problem}" if problem else "")
