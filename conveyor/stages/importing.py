"""Imports: the digest of the files that an import means, and the step that lays them.

The digest covers, relative to `add`: path, kind, mode, link target, content, device, capabilities, and the owner unless the
import overrides it; not times. It is recorded under the digest of the stored source stage (two builds of one key may
differ), so that an importer's key is known without its source's files; it is computed again from the bytes that are laid.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO, cast

from msgspec import Struct, field
from msgspec.structs import replace

from conveyor.config.models import Import
from conveyor.errors import StageFailed
from conveyor.gitrepo.matching import PathMatcher, compile_matcher
from conveyor.keys.encoding import Value, encode
from conveyor.keys.key import hash_value
from conveyor.stages.api import Context, Need, Taken, Workshop
from stapel.api import File, Lay, Tree
from stapel.errors import Unreachable
from stapel.oci.reference import normalise

_CAPABILITY = "security.capability"
_CHUNK_BYTES = 1 << 20
_LINKS_FOLLOWED = 40


class _Laid(Struct):
    """What was read of an import while it was laid: each file with the digest of its content, by path."""

    files: dict[bytes, tuple[File, str]] = field(default_factory=dict)


def source_of(item: Import) -> Need:
    """The stage that an import of another image of the project takes from."""
    return Need(item.image, item.from_stage)


def import_digest(context: Context, item: Import, stage: str) -> str:
    """The digest of the imported files, recorded or read from the source's files.

    `StageFailed` (reason `import_matches_nothing`) where there are none.
    """
    taken = context.others.take(source_of(item))
    source = _record_source(item, taken)
    recorded = context.others.recorded_import(source)
    if recorded is not None:
        return recorded

    def read() -> str | None:
        with context.engine.tree(held) as tree:
            return _digest({file.path: (file, _hash_content(file)) for file in _files(tree, item)}, item)

    held = taken.hold()
    try:
        try:
            digest = read()
        except Unreachable as error:
            if not error.temporary:
                raise
            digest = read()  # a stream that broke off cannot be gone on with
    finally:
        held.close()
    if digest is None:
        raise _matches_nothing(context, item, stage, taken.reference)
    context.others.record_import(source, digest)
    return digest


def describe_external(item: Import) -> list[Value]:
    """What stands in a key for an import from outside: what is named, not what is found under the name, as for a base."""
    return ["external", normalise(item.image), item.add, item.paths.include, item.paths.exclude]


def lay_external(context: Context, item: Import, stage: str, workshop: Workshop) -> tuple[Lay, Callable[[], None]]:
    """The step of an import from outside, and the check that it has laid something (`import_matches_nothing`)."""
    laid = _Laid()
    held = workshop.base(item.image)
    workshop.resources.callback(held.close)
    tree = workshop.resources.enter_context(context.engine.tree(held))

    def check() -> None:
        if not laid.files:
            raise _matches_nothing(context, item, stage, item.image)

    return _lay(tree, item, laid, workshop), check


def lay_import(
    context: Context, item: Import, digest: str, stage: str, workshop: Workshop
) -> tuple[Lay, Callable[[], None]]:
    """The step of an import, and the check to make once it was laid and before the workshop is left.

    The check compares what was laid with the digest that the key was made from; a difference is `StageFailed` (reason
    `import_changed`).
    """
    laid = _Laid()
    taken = context.others.take(source_of(item))
    held = taken.hold()
    workshop.resources.callback(held.close)
    tree = workshop.resources.enter_context(context.engine.tree(held))

    def check() -> None:
        if _digest(laid.files, item) != digest:
            raise StageFailed(
                f"{item.place}: the files imported from {taken.reference} are not those that were recorded",
                image=context.image.name,
                stage=stage,
                reason="import_changed",
                hint="somebody changed the stored image or its record; rebuild the source under another cacheVersion",
            )

    return _lay(tree, item, laid, workshop), check


def _lay(tree: Tree, item: Import, laid: _Laid, workshop: Workshop) -> Lay:
    files = partial(_lay_files, tree, item, laid, workshop.commit_time_s)
    root = item.to.strip("/").encode()
    return Lay(files=files, root=root, owner=item.owner, group=item.group, mtime_s=workshop.commit_time_s)


def _matches_nothing(context: Context, item: Import, stage: str, image: str) -> StageFailed:
    return StageFailed(
        f"{item.place}: import.add: {item.add} matches no files in image {image}",
        image=context.image.name,
        stage=stage,
        reason="import_matches_nothing",
        hint="look at what the source has there, and at includePaths and excludePaths",
    )


def _record_source(item: Import, taken: Taken) -> str:
    return hash_value(
        {
            "image": taken.stored.description.descriptor.digest,
            "add": item.add,
            "include": item.paths.include,
            "exclude": item.paths.exclude,
            "owner": bool(item.owner),
            "group": bool(item.group),
        }
    )


def _files(tree: Tree, item: Import) -> Iterator[File]:
    """The files of an import, paths relative to `add` (b"" where it is a single file)."""
    matcher = compile_matcher(item.paths.include, item.paths.exclude)
    filtered = bool(item.paths.include or item.paths.exclude)
    for file in tree.walk(_resolve(tree, item.add.strip("/").encode())):
        if _is_taken(matcher, file) if filtered else file.path or file.kind != "directory" or item.to != "/":
            yield file


def _is_taken(matcher: PathMatcher, file: File) -> bool:
    # The directory that is added itself is not what a filter selects; it is made where a file below it is laid.
    return (bool(file.path) or file.kind != "directory") and matcher.matches(file.path)


def _resolve(tree: Tree, path: bytes) -> bytes:
    """A link to a directory stands for the directory; a link to a file is imported as a link."""
    found = path
    for _ in range(_LINKS_FOLLOWED):
        file = tree.stat(found)
        if file is None:
            return path
        if file.kind == "directory":
            return found
        if file.kind != "symlink":
            return path
        parent = b"" if file.link.startswith(b"/") else file.path.rpartition(b"/")[0]
        found = _normalise(parent, file.link)
    return path


def _normalise(parent: bytes, link: bytes) -> bytes:
    parts = [part for part in parent.split(b"/") if part]
    for part in link.split(b"/"):
        if part == b"..":
            parts = parts[:-1]
        elif part not in (b"", b"."):
            parts.append(part)
    return b"/".join(parts)


def _digest(files: dict[bytes, tuple[File, str]], item: Import) -> str | None:
    if not files:
        return None
    digest = hashlib.sha3_224()
    for path in sorted(files):
        file, content = files[path]
        value: list[Value] = [
            path,
            file.kind,
            file.mode,
            file.link,
            content,
            None if item.owner else file.uid,
            None if item.group else file.gid,
            file.device,
            file.xattrs.get(_CAPABILITY),
        ]
        digest.update(encode(value))
    return digest.hexdigest()


def _hash_content(file: File) -> str:
    if file.kind != "file" or file.open is None:
        return ""
    digest = hashlib.sha256()
    with file.open() as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _lay_files(tree: Tree, item: Import, laid: _Laid, latest_s: int) -> Iterator[File]:
    to = item.to.strip("/").encode()
    for file in _files(tree, item):
        if file.kind != "file" or file.path not in laid.files:
            laid.files[file.path] = (file, "")
        yield replace(
            file,
            path=b"/".join(part for part in (to, file.path) if part),
            owner=item.owner,
            group=item.group,
            mtime_s=min(file.mtime_s, latest_s) if file.mtime_s is not None else latest_s,
            xattrs={name: value for name, value in file.xattrs.items() if name == _CAPABILITY},
            open=partial(_open_hashing, file, laid) if file.open is not None else None,
        )


def _open_hashing(file: File, laid: _Laid) -> BinaryIO:
    assert file.open is not None
    return cast(BinaryIO, _Hashing(file, file.open(), laid))


class _Hashing:
    """A content that notes its digest when it has been read to the end."""

    def __init__(self, file: File, content: BinaryIO, laid: _Laid) -> None:
        self._content = content
        self._file = file
        self._laid = laid
        self._digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all that is left where it is negative."""
        data = self._content.read(size)
        self._digest.update(data)
        return data

    def close(self) -> None:
        """Note the digest and close the content."""
        self._laid.files[self._file.path] = (self._file, self._digest.hexdigest())
        self._content.close()

    def __enter__(self) -> _Hashing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
