"""Clones of remote repositories, kept in the home: bare, without blobs until they are read, shared by all runs.

Invariants:

 1. A commit that is in a clone is there with all its history and trees. Fetches store whole packs only, which git makes
    visible by one rename, and a pack holds everything below what was asked for that the clone did not have.
 2. Blobs are not, but those that a build has read; more are fetched by their ids, many at once. The clone itself says
    nothing of that in its settings, so no program of git that only reads goes to the network.
 3. One process at a time writes, under a file lock; it looks again for what it wants once it has the lock.
    Readers take none.
 4. Whatever stops a writer leaves a clone that is as good as before; the next writer removes what is unfinished in it.
 5. Who has fetched makes one of many small packs (`conveyor.gitrepo.repacking`), under the same lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from sys import audit as trace
from typing import TYPE_CHECKING

from conveyor.errors import GitError
from conveyor.gitrepo.addresses import Address
from conveyor.gitrepo.clones import Clones
from conveyor.gitrepo.fetching import Said, ask_remote
from conveyor.gitrepo.invocation import git_environment
from conveyor.gitrepo.processes import CatFile, run_git

if TYPE_CHECKING:
    from filelock import FileLock

_LOOK_S = 1.0
_AT_ONCE = 4000  # ids in the arguments of one fetch
_QUIET = ("-c", "gc.auto=0", "-c", "maintenance.auto=false")
# Whole packs, however small: loose objects would become visible one by one.
_PACKS = ("-c", "fetch.unpackLimit=1", "-c", "transfer.unpackLimit=1", "-c", "fetch.writeCommitGraph=false")
_PARTIAL = ("-c", "remote.origin.promisor=true", "-c", "remote.origin.partialCloneFilter=blob:none")
_FETCH = ("fetch", "--progress", "--no-tags", "--prune", "--no-recurse-submodules")
_ALL_REFS = ("+refs/heads/*:refs/origin/heads/*", "+refs/tags/*:refs/origin/tags/*")


class Clone:
    """The clone of one address. Thread-safe, and safe beside other processes; made when something is fetched."""

    def __init__(self, address: Address, clones: Clones) -> None:
        """One of the clones of a run."""
        self.address = address
        name = _digest(address.name)
        self._place = Path(clones.home_dir).absolute() / "clones" / name
        self._lock_path = Path(clones.home_dir).absolute() / "locks" / f"clone-{name}.lock"
        self._clones = clones
        self._lock = threading.Lock()
        self._cat: CatFile | None = None

    @property
    def git_dir(self) -> Path:
        """The bare repository; there once something was fetched."""
        return self._place

    def has(self, oids: Sequence[str]) -> bool:
        """Whether all of these objects are here."""
        return not self._missing(oids)

    def tag(self, name: str, *, fresh: bool = False) -> str:
        """The commit of a tag, asked of the server once (`fresh`: again): a tag is not meant to move. `GitError`."""
        # By the address as it is written: two that have one name might yet be two repositories.
        ref = f"refs/asked/{_digest(self.address.url)}-{_digest(name)}"
        known = self._read_ref(ref)
        if known and not fresh:
            return known
        named, commit = self._resolve(f"refs/tags/{name}", f"the tag {name}")
        self._fetch_commit(named, commit, f"the tag {name}", keep_as=ref)
        return commit

    def branch(self, name: str) -> str:
        """The commit of a branch now, asked of the server each time; "": `master`, else the default branch. `GitError`."""
        named, commit = self._resolve(
            f"refs/heads/{name}" if name else "", f"the branch {name}" if name else "the default branch"
        )
        self._fetch_commit(named, commit, f"the branch {name}" if name else "the default branch")
        return commit

    def commit(self, oid: str) -> str:
        """The commit itself, fetched where it is not here. `GitError`."""
        self._fetch_commit(oid, oid, f"the commit {oid}")
        return oid

    def supply(self, oids: Sequence[str]) -> None:
        """Fetch blobs that are not here. `GitError`."""
        with self._locked():
            missing = self._missing(oids)
            if missing:
                self._clones.on_fetch(_count(len(missing)), self.address.url)
            for start in range(0, len(missing), _AT_ONCE):
                said = self._fetch(missing[start : start + _AT_ONCE], "-c", "fetch.negotiationAlgorithm=noop")
                if said.status and said.is_refusal:
                    self._fetch_whole()
                    break
                if said.status:
                    raise self._failure(_count(len(missing)), said)
            self._repack()
            if self._missing(missing):
                raise GitError(
                    f"{self.address.url} has not given all files that its commits name",
                    reason="object_missing",
                    hint="`git fsck` in that repository tells what is missing",
                )

    def close(self) -> None:
        """End git's processes."""
        with self._lock:
            if self._cat is not None:
                self._cat.close()
                self._cat = None

    # -- what is here

    def _missing(self, oids: Sequence[str]) -> list[str]:
        if not self._place.is_dir():
            return list(oids)
        return [oid for oid, found in zip(oids, self._reading().check(oids), strict=True) if found is None]

    def _kind(self, oid: str) -> str:
        """What an object is; "" where it is not here."""
        found = self._reading().check((oid,))[0] if self._place.is_dir() else None
        return found[0] if found is not None else ""

    def _reading(self) -> CatFile:
        with self._lock:
            if self._cat is None:
                self._cat = CatFile(os.fsencode(self._place), git_environment())
                with contextlib.suppress(OSError):
                    os.utime(self._place)  # by that, what keeps the home in bounds sees that it is used
            return self._cat

    def _read_ref(self, name: str) -> str:
        try:
            commit = (self._place / name).read_text().strip()
        except OSError:
            return ""
        return commit if self.has((commit,)) else ""

    # -- asking the server

    def _resolve(self, name: str, what: str) -> tuple[str, str]:
        """The object that a ref of the server names, and the commit that this is or leads to."""
        wanted = (name, f"{name}^{{}}") if name else ("refs/heads/master", "HEAD")
        said = ask_remote(
            self.address,
            ["ls-remote", "origin", *wanted],
            environment=self._clones.environment(self.address),
            is_stopped=self._clones.is_stopped,
        )
        if said.status:
            raise self._failure(what, said)
        lines = [line.partition("\t") for line in said.output.decode("utf-8", "replace").splitlines()]
        refs = {ref: oid for oid, _, ref in lines}
        found = next((refs[ref] for ref in (wanted if not name else wanted[:1]) if ref in refs), "")
        if not found:
            raise GitError(
                f"{self.address.url} has not {what}",
                reason="remote_ref_missing",
                hint=f"`git ls-remote {self.address.url}` lists what it has",
            )
        return found, refs.get(f"{name}^{{}}", found)

    def _fetch_commit(self, named: str, commit: str, what: str, *, keep_as: str = "") -> None:
        if self._kind(commit) == "commit" and not keep_as:
            return
        with self._locked():
            if self._kind(commit) != "commit":
                self._clones.on_fetch(what, self.address.url)
                self._prepare(len(commit))
                said = self._fetch([named])
                if said.status and said.is_refusal:
                    # The server gives only what its refs name: then the commit is below one of them, or nowhere.
                    said = self._fetch(_ALL_REFS)
                    if not said.status and not self.has((commit,)):
                        raise GitError(
                            f"{self.address.url} has not {what}, or no branch and no tag leads to it",
                            reason="remote_commit_missing",
                            hint="was it pushed? a commit that only a pull request has is not given by every server",
                        )
                if said.status:
                    raise self._failure(what, said)
                kind = self._kind(commit)
                if kind != "commit":
                    message = (
                        f"{what} of {self.address.url} is {f'a {kind}' if kind else 'not there'}, and a commit is asked for"
                    )
                    raise GitError(message, reason="remote_commit_missing")
                self._keep(f"refs/kept/{commit}", commit)
                self._repack()
            if keep_as:
                self._keep(keep_as, commit)

    def _fetch(self, wanted: Sequence[str], *settings: str) -> Said:
        is_whole = (self._place / "whole").exists()
        partial = () if is_whole else _PARTIAL
        filtered = () if is_whole else ("--filter=blob:none",)
        trace("clone.before-fetch")
        said = ask_remote(
            self.address,
            [*_QUIET, *_PACKS, *partial, *settings, *_FETCH, *filtered, "origin", *wanted],
            git_dir=str(self._place),
            environment=self._clones.environment(self.address),
            is_stopped=self._clones.is_stopped,
        )
        trace("clone.after-fetch")
        return said

    def _fetch_whole(self) -> None:
        """Fetch everything with its blobs, from a server that leaves them out and does not give them one by one."""
        aside = self._place / "whole.new"
        id_digits = 64 if "objectformat" in (self._place / "config").read_text().lower() else 40
        _make_repository(aside, id_digits)
        said = ask_remote(
            self.address,
            [*_QUIET, *_PACKS, *_FETCH, "origin", *_ALL_REFS],
            git_dir=str(aside),
            environment=self._clones.environment(self.address),
            is_stopped=self._clones.is_stopped,
        )
        if said.status:
            raise self._failure("all branches and tags", said)
        # Git finds a pack by its index, so this comes last.
        for path in sorted((aside / "objects" / "pack").iterdir(), key=lambda path: path.suffix == ".idx"):
            path.replace(self._place / "objects" / "pack" / path.name)
        (self._place / "whole").touch()
        shutil.rmtree(aside)

    def _repack(self) -> None:
        from conveyor.gitrepo.repacking import repack

        def run(arguments: Sequence[str], feed: bytes) -> Said:
            return ask_remote(
                self.address, arguments, git_dir=str(self._place), feed=feed, is_stopped=self._clones.is_stopped
            )

        repack(self._place, self._place / "repack.new", run)

    def _failure(self, what: str, said: Said) -> GitError:
        return GitError(
            f"git cannot fetch {what} of {self.address.url}: {said.complaints or f'it ended with status {said.status}'}",
            reason="remote_failed",
            hint=_advice(self.address, said),
        )

    # -- writing

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock

        try:
            self._lock_path.parent.mkdir(parents=True, exist_ok=True)
            # Each acquisition has its own descriptor, so threads exclude one another too.
            lock = FileLock(self._lock_path, thread_local=False)
            self._acquire(lock)
            try:
                self._remove_unfinished()
                yield
            finally:
                lock.release()
        except OSError as error:
            raise GitError(
                f"the clone of {self.address.url} cannot be written in {self._place}: {error.strerror or error}",
                reason="clone_not_written",
                hint="is the disk full, and the home yours? --home-dir names another one",
            ) from error

    def _acquire(self, lock: FileLock) -> None:
        """Wait for the lock, as long as somebody waits for us."""
        from filelock import Timeout

        is_told = False
        while True:
            try:
                lock.acquire(timeout=_LOOK_S)
            except Timeout:
                if self._clones.is_stopped():
                    raise GitError("fetching was stopped", reason="stopped") from None
                if not is_told:
                    self._clones.on_fetch("what another run is fetching", self.address.url)
                    is_told = True
            else:
                return

    def _prepare(self, id_digits: int) -> None:
        """Have a repository, made aside and named by one rename."""
        if self._place.is_dir():
            return
        aside = self._place.with_suffix(".new")
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(parents=True, exist_ok=True)
        _make_repository(aside, id_digits)
        trace("clone.before-rename")
        aside.rename(self._place)

    def _keep(self, ref: str, commit: str) -> None:
        """Name a commit: by such names git knows at the next fetch what is here already."""
        trace("clone.before-keep")
        done = run_git([f"--git-dir={self._place}", "update-ref", ref, commit])
        if done.returncode:
            said = done.stderr.decode("utf-8", "backslashreplace").strip()
            raise GitError(f"git cannot write {ref} in {self._place}: {said}", reason="git_failed")

    def _remove_unfinished(self) -> None:
        """Remove what a killed fetch has left. One that goes on without its parent fails, and harms nothing."""
        for pattern in ("refs/**/*.lock", "packed-refs.lock", "objects/pack/tmp_*", "shallow.lock"):
            for path in self._place.glob(pattern):
                path.unlink(missing_ok=True)
        for name in ("whole.new", "repack.new"):
            shutil.rmtree(self._place / name, ignore_errors=True)


def _make_repository(path: Path, id_digits: int) -> None:
    hashed = ("--object-format=sha256",) if id_digits == 64 else ()
    # Refs are read as files here, whatever a later git prefers.
    environment = git_environment({"GIT_DEFAULT_REF_FORMAT": "files"})
    done = run_git(["init", "--quiet", "--bare", "--template=", *hashed, str(path)], environment=environment)
    if done.returncode:
        said = done.stderr.decode("utf-8", "backslashreplace").strip()
        raise GitError(f"git cannot make {path}: {said}", reason="git_failed", hint="is the disk full?")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _count(files: int) -> str:
    return f"{files} files" if files > 1 else "a file"


def _advice(address: Address, said: Said) -> str:
    complaints = said.complaints
    if "Host key verification failed" in complaints:
        return "add the host's key to ~/.ssh/known_hosts: `ssh-keyscan HOST >> ~/.ssh/known_hosts`, and compare it"
    if "Permission denied (" in complaints:
        return "is the key in the SSH agent? `ssh-add -l` lists its keys; --ssh-key names a file"
    if re.search("Authentication failed|could not read Username|terminal prompts disabled", complaints):
        return "give a name and a password or token by `basicAuth` in the mapping, or by a credential helper of git"
    if "safe.directory" in complaints:
        return "the repository belongs to another user: the command that git shows lets it be read"
    return f"try `git ls-remote {address.url}`"
