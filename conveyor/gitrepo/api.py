"""What a commit holds: objects, trees, deltas, ancestry. Never the work tree.

Objects are asked of git itself (a long-lived `cat-file --batch` behind a lock, a pool for contents), with
`GIT_NO_REPLACE_OBJECTS=1` and without filters, hooks or fsmonitor of the repository. Trees are parsed here, read once and
kept by their id, so that many images of one commit share one walk, and two commits are compared subtree by subtree in time
that grows with what differs. Submodules are walked like directories, in their own object stores. Remote repositories are
read out of clones that the home keeps.

Paths are bytes, relative, without a leading slash, `/`-separated. Errors: `conveyor.errors.GitError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO, Literal, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from conveyor.gitrepo.lfs import LfsContents, Wanted
    from conveyor.gitrepo.matching import PathMatcher
    from conveyor.gitrepo.remote_source import RemoteSource


class Blob(Struct, frozen=True):
    """A file or link of a commit: `mode` is git's own (0o100644, 0o100755, 0o120000); `store` names the object store."""

    path: bytes  # relative to what the mapping adds; b"" where it adds a single file
    mode: int
    oid: str
    store: str = ""  # "" : the repository; else the path of a submodule

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == 0o120000


class Delta(Struct, frozen=True):
    """From one commit to another, by mapping: what must be laid, what must go.

    `changed` holds pairs of what stood there (None: nothing) and what stands there now; `removed` what is gone. Both are
    sorted by path. A mapping that changed from a file to a directory shows it as removed b"" and changed paths.
    """

    changed: tuple[tuple[Blob | None, Blob], ...]
    removed: tuple[Blob, ...]

    def __bool__(self) -> bool:
        return bool(self.changed or self.removed)


class Followed(Struct, frozen=True):
    """Where a path leads: the links on the way, each where it stands, and what is at the end (no blob: a directory)."""

    links: tuple[bytes, ...]
    path: bytes
    blob: Blob | None


class Selector(Struct, frozen=True):
    """The part of a commit that a mapping or a glob of stageDependencies means.

    `add` is relative to the root of the repository (b"": all of it); includes and excludes are globs relative to `add`, in
    werf's three forms. `within` narrows further by include globs of its own (stageDependencies): a path must match both.
    """

    add: bytes
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    within: tuple[str, ...] = ()


ChangeKind = Literal["modified", "untracked", "deleted", "staged", "submodule"]


class Change(Struct, frozen=True):
    """One line of git status: a path of the work tree that is not as the commit has it."""

    path: bytes
    kind: ChangeKind


class Contents(Protocol):
    """Contents of many blobs, read ahead of who takes them in their order."""

    def open(self, number: int) -> BinaryIO:
        """The content of a blob by its number among them; quick where nobody has opened one that comes after it."""

    def close(self) -> None:
        """End what reads ahead; contents can still be opened, one at a time. Closing twice is fine."""


class Snapshot(Protocol):
    """A repository at the commit that a run takes of it: what any of its commits holds, no work tree. Thread-safe."""

    @property
    def head(self) -> str:
        """The commit that this run builds: HEAD, or the commit made of the work tree by `--dev`; what a mapping names."""

    @property
    def head_commits(self) -> tuple[str, ...]:
        """What a stage made now records: HEAD, or the two parents of a HEAD that will not stay (`--virtual-merge`)."""

    def merged(self, commits: tuple[str, ...]) -> str | None:
        """The commit with the files that these stand for: one itself, the merge of two; None where there is none."""

    def parents(self, commit: str) -> tuple[str, ...]:
        """The parents of a commit, the first one first."""

    def commit_time_s(self, commit: str) -> int:
        """The committer's time, seconds since the epoch."""

    def commit_zone(self, commit: str) -> str:
        """The committer's time zone as the commit has it: `+0300`."""

    def exists(self, commits: Iterable[str]) -> frozenset[str]:
        """Those that are commits known here."""

    def ancestors(self, commits: Iterable[str], of: str) -> frozenset[str]:
        """Those that are known here and are ancestors of `of`, or `of` itself. One rev-list for all of them."""

    def first_parents(self, commit: str, limit: int) -> tuple[str, ...]:
        """A commit and its first-parent ancestors, newest first, `limit` at most besides itself."""

    def read_file(self, commit: str, path: bytes) -> bytes | None:
        """The content at a path, links inside the repository followed (at most 40); None where there is no file."""

    def follow(self, commit: str, path: bytes) -> Followed | None:
        """Where a path leads, as `read_file` follows it; None where that is nothing, outside, or nowhere (circles)."""

    def files(self, commit: str, selector: Selector) -> tuple[Blob, ...]:
        """The matching files and links, sorted by path. `GitError` for a submodule that is not initialised."""

    def matches(self, commit: str, selector: Selector) -> bool:
        """Whether anything matches; cheaper than `files`."""

    def is_file(self, commit: str, path: bytes) -> bool:
        """Whether a file or link stands at a path."""

    def tree_digest(self, commit: str, selector: Selector) -> str:
        """A digest of path, mode and blob of all matching files: equal exactly when these are equal."""

    def delta(self, old: str, new: str, selector: Selector) -> Delta:
        """What changed between two commits inside the selection."""

    def can_compare(self, old: str, new: str, selector: Selector) -> bool:
        """Whether `delta` can be had: not where a submodule's commit is needed that is nowhere any more."""

    def sizes(self, blobs: Sequence[Blob]) -> Sequence[int]:
        """Sizes in bytes, in the order of the blobs."""

    def open(self, blob: Blob) -> BinaryIO:
        """The content of a blob, as stored: no filter is applied."""

    def contents(self, blobs: Sequence[Blob]) -> Contents:
        """The contents of blobs that will be opened in this order, in one thread. Nothing is read before the first."""

    def lfs_files(self, commit: str, selector: Selector) -> tuple[bytes, ...]:
        """Matching paths (relative to the root of the repository) that .gitattributes gives `filter=lfs`."""

    def lfs_wanted(self, commit: str, selector: Selector) -> Mapping[bytes, Wanted]:
        """By path (relative to `add`) the contents that pointers of Git LFS stand for."""

    def lfs_contents(self, commit: str) -> LfsContents:
        """Where such contents are had from."""

    def close(self) -> None:
        """End git's processes."""


class Remotes(Protocol):
    """The repositories that mappings name by their URLs, for the time of one run. Thread-safe."""

    def open_all(self, sources: Iterable[RemoteSource]) -> None:
        """Fetch several at the same time; what fails is told when it is opened."""

    def open(self, source: RemoteSource) -> Snapshot:
        """One of them at the commit that is named, fetched where it is not here: each is asked for once.

        `GitError` (`remote_failed`, `remote_stalled`, `remote_ref_missing`, `remote_commit_missing`).
        """

    def close(self) -> None:
        """End git's processes."""


class Repository(Snapshot, Protocol):
    """The repository that a project lies in, for the time of one run. Thread-safe."""

    @property
    def root(self) -> bytes:
        """The absolute path of the work tree."""

    @property
    def git_dir(self) -> bytes:
        """The absolute path of the common git directory."""

    def reach(self, commit: str, place: bytes, at: bytes, matcher: PathMatcher) -> Iterator[Blob]:
        """The files below a directory that are taken where it stands at `at`, and links that others may be reached over.

        Paths of the result begin with `at`.
        """

    def uncommitted(self) -> tuple[Change, ...]:
        """What git status says, asked once a run; paths relative to the root. Empty in `--dev`."""

    def select_changes(self, changes: Iterable[Change], selector: Selector) -> Iterator[Change]:
        """Those of `changes` that lie inside a selection (an untracked submodule or directory counts whole)."""

    def deepen(self) -> bool:
        """Fetch the whole history of a shallow clone from origin, once; whether it is complete now."""

    def is_shallow(self) -> bool:
        """Whether history is cut off."""
