"""Git mappings: which files of the commit they mean, and the steps that lay them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial

from msgspec import Struct
from msgspec.structs import asdict

from conveyor.config.models import GitMapping, Image
from conveyor.gitrepo.api import Blob, Delta, Remotes, Repository, Selector, Snapshot
from conveyor.keys.encoding import Value
from conveyor.keys.key import hash_value
from conveyor.stages.api import Context
from conveyor.stages.contents import FileContents, sizes_of
from conveyor.storage.facts import MappingFacts
from stapel.api import File, Lay

_LINK = 0o120000


class Mapped(Struct, frozen=True):
    """A mapping of an image with its id: the digest of its definition, which names it in facts.

    `repo`: where its files are, at the commit that this run takes.
    """

    id: str
    mapping: GitMapping
    selector: Selector
    repo: Snapshot


class Definition(Struct, frozen=True):
    """What a mapping means, as it enters keys: two projects of one repository must not share stages.

    Of a remote repository its name, however the URL is written; what it is taken at is recorded, as a local commit is.
    """

    url: str | None
    add: bytes
    to: str
    owner: str
    group: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]

    def value(self) -> Mapping[str, Value]:
        """For a key."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def selector(self) -> Selector:
        """The files that it takes of a commit."""
        return Selector(self.add, self.include, self.exclude)


def define(mapping: GitMapping, prefix: bytes) -> Definition:
    """The definition of a mapping."""
    url = mapping.remote.address.name if mapping.remote is not None else None
    paths = mapping.paths
    return Definition(url, add_path(mapping, prefix), mapping.to, mapping.owner, mapping.group, paths.include, paths.exclude)


@lru_cache(maxsize=4096)  # every stage of an image asks for those of all its mappings
def _id(definition: Definition) -> str:
    return hash_value(definition.value())[:16]


def add_path(mapping: GitMapping, prefix: bytes) -> bytes:
    """What a mapping adds, relative to the root of the repository."""
    above = prefix if mapping.remote is None else b""
    return b"/".join(part for part in (above, mapping.add.strip("/").encode()) if part)


def mapped(image: Image, prefix: bytes, repo: Repository, remotes: Remotes | None) -> tuple[Mapped, ...]:
    """The mappings of an image, in order of configuration. `GitError` where a remote repository cannot be had."""
    return tuple(map_one(mapping, prefix, repo, remotes) for mapping in image.git)


def map_one(mapping: GitMapping, prefix: bytes, repo: Repository, remotes: Remotes | None) -> Mapped:
    """One mapping. `GitError` as `mapped`."""
    definition = define(mapping, prefix)
    return Mapped(_id(definition), mapping, definition.selector(), _repository_of(mapping, repo, remotes))


def mapped_of(context: Context) -> tuple[Mapped, ...]:
    """The mappings of the image that is looked at."""
    return mapped(context.image, context.prefix, context.repo, context.remotes)


def current_facts(context: Context) -> dict[str, MappingFacts]:
    """What a stage made from the current commit records."""
    return {
        item.id: MappingFacts(item.repo.head_commits, item.repo.tree_digest(item.repo.head, item.selector))
        for item in mapped_of(context)
    }


def deltas(context: Context) -> list[tuple[Mapped, Delta]]:
    """What changed in each mapping since the stage below; mappings without a change are left out."""
    found = []
    for item in mapped_of(context):
        base = context.below.bases[item.id]
        if base != item.repo.head:
            delta = item.repo.delta(base, item.repo.head, item.selector)
            if delta:
                found.append((item, delta))
    return found


def commit_time_s(item: Mapped) -> int:
    """When what a mapping takes was committed: the time of files that are laid and of nothing else."""
    return item.repo.commit_time_s(item.repo.head)


def lay_commit(item: Mapped) -> Lay:
    """All files of a mapping."""
    mapping = item.mapping
    return Lay(
        files=partial(_files, item),
        root=_below_root(mapping.to),
        owner=mapping.owner,
        group=mapping.group,
        mtime_s=commit_time_s(item),
    )


def lay_delta(item: Mapped, delta: Delta, base: str, mtime_s: int | None) -> Lay:
    """What changed since the commit `base`, and what must still be there of what it replaces."""
    to = item.mapping.to
    blobs = [new for _, new in delta.changed]
    expected: dict[bytes, str] = {}
    if not item.mapping.overwrites_changed:
        replaced = [*(old for old, _ in delta.changed if old is not None), *delta.removed]
        kept = item.repo.lfs_wanted(base, item.selector) if replaced else {}
        for old in replaced:
            wanted = kept.get(old.path)
            expected[_target(to, old.path)] = f"sha256:{wanted.pointer.sha256}" if wanted is not None else old.oid
    return Lay(
        files=partial(_lay_blobs, item, blobs),
        remove=[_target(to, old.path) for old in delta.removed],
        root=_below_root(to),
        owner=item.mapping.owner,
        group=item.mapping.group,
        mtime_s=mtime_s,
        expected=expected,
    )


def describe_delta(delta: Delta) -> list[Value]:
    """A delta as a part of a key: path, old and new mode and blob."""
    changed: list[Value] = [
        [new.path, old.mode if old else None, old.oid if old else None, new.mode, new.oid] for old, new in delta.changed
    ]
    return changed + [[old.path, old.mode, old.oid, None, None] for old in delta.removed]


def delta_size_bytes(found: Sequence[tuple[Mapped, Delta]]) -> int:
    """The sum of the sizes of added and changed blobs."""
    return sum(sum(sizes_of(item.repo, item.selector, [new for _, new in delta.changed])) for item, delta in found)


def _repository_of(mapping: GitMapping, repo: Repository, remotes: Remotes | None) -> Snapshot:
    if mapping.remote is None:
        return repo
    assert remotes is not None, "a project with remote mappings is opened with remote repositories"
    return remotes.open(mapping.remote)


def _files(item: Mapped) -> Iterator[File]:
    return _lay_blobs(item, item.repo.files(item.repo.head, item.selector))


def _lay_blobs(item: Mapped, blobs: Sequence[Blob]) -> Iterator[File]:
    mapping, repo = item.mapping, item.repo
    # As by their components: no other byte is less than that which stands between these.
    ordered = sorted(blobs, key=lambda blob: blob.path.replace(b"/", b"\0"))
    sizes = sizes_of(repo, item.selector, ordered)
    contents = FileContents(repo, item.selector, ordered)
    to = mapping.to.strip("/").encode()
    owner, group = mapping.owner, mapping.group
    try:
        for number, blob in enumerate(ordered):
            path = _below(to, blob.path)
            if blob.is_link:
                with repo.open(blob) as content:
                    link = content.read()
                yield File(path, "symlink", 0o777, owner=owner, group=group, link=link)
            else:
                mode = 0o755 if blob.mode & 0o100 else 0o644
                yield File(path, "file", mode, sizes[number], 0, 0, owner, group, open=partial(contents.open, number))
    finally:
        contents.close()


def _target(to: str, path: bytes) -> bytes:
    return _below(to.strip("/").encode(), path)


def _below(to: bytes, path: bytes) -> bytes:
    return to + b"/" + path if to and path else to or path


def _below_root(to: str) -> bytes:
    return posixpath.normpath(to).strip("/").encode()
