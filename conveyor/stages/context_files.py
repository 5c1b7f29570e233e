"""The files of a context: those of the commit, and those of the work tree that `contextAddFiles` names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, cast

from conveyor.config.models import Image
from conveyor.dockerfile.context import Listing, select_files
from conveyor.dockerfile.ignore import Ignore
from conveyor.errors import ConfigError, Problem, UsageError
from conveyor.gitrepo.api import Blob, Repository, Selector
from conveyor.stages.contents import FileContents, sizes_of
from stapel.api import File

DISK = "\0work tree"  # stands where the object store of a blob does; no submodule has such a path
_LINK = 0o120000


def select_context(
    image: Image, repo: Repository, commit: str, directory: bytes, patterns: tuple[str, ...] | None, ignore: Ignore
) -> tuple[Blob, ...]:
    """The files that a Dockerfile takes of its context, sorted by path.

    What is added from the work tree stands in the place of what the commit has, and no `.dockerignore` counts for it.
    """
    found = {} if patterns == () else _select(repo, commit, directory, patterns, ignore)
    if image.dockerfile is not None and image.dockerfile.context_add_files:
        context = _on_disk(repo.root, directory)
        added = [blob for name in image.dockerfile.context_add_files for blob in _added(image, context, name, repo.root)]
        added.sort(key=lambda blob: blob.path)
        links = {blob.path: os.fsencode(blob.oid.removeprefix("link:")) for blob in added if blob.is_link}
        taken = select_files(Listing(added), patterns, Ignore(), lambda blob: links[blob.path])
        found |= {blob.path: blob for blob in taken}
    return tuple(found[path] for path in sorted(found))


def _select(
    repo: Repository, commit: str, directory: bytes, patterns: tuple[str, ...] | None, ignore: Ignore
) -> dict[bytes, Blob]:
    def read_link(blob: Blob) -> bytes:
        with repo.open(blob) as content:
            return content.read()

    listing = _list(repo, commit, directory)  # type: ignore[arg-type] # a repository is equal to itself alone
    return {blob.path: blob for blob in select_files(listing, patterns, ignore, read_link)}


@lru_cache(maxsize=8)
def _list(repo: Repository, commit: str, directory: bytes) -> Listing:
    """Made once for all images that have one context."""
    return Listing(repo.files(commit, Selector(directory)))


def open_files(repo: Repository, directory: bytes, blobs: tuple[Blob, ...], resources: ExitStack) -> list[File]:
    """The files of a context, sorted by components, as long as `resources` are open."""
    context = _on_disk(repo.root, directory)
    ordered = sorted(blobs, key=lambda blob: blob.path.replace(b"/", b"\0"))
    committed = [blob for blob in ordered if blob.store != DISK]
    selector = Selector(directory)
    sizes = iter(sizes_of(repo, selector, committed))
    contents = FileContents(repo, selector, committed)
    resources.callback(contents.close)
    files, number = [], 0
    for blob in ordered:
        if blob.store == DISK:
            files.append(_file_on_disk(_on_disk(os.fsencode(context), blob.path), blob))
            continue
        size = next(sizes)
        if blob.is_link:
            with repo.open(blob) as content:
                files.append(File(blob.path, "symlink", 0o777, link=content.read()))
        else:
            files.append(File(blob.path, "file", _mode(blob), size, open=partial(contents.open, number)))
        number += 1
    return files


def _added(image: Image, context: Path, name: str, root: bytes) -> Iterator[Blob]:
    """The files of an entry of `contextAddFiles`, as the disk has them now."""
    top = context / name
    if not os.path.lexists(top):
        message = f'contextAddFile "{name}" was not found: there is no {top}'
        raise ConfigError([Problem(image.place, message, "make it before the build, or remove it from `contextAddFiles`")])
    if not top.resolve().is_relative_to(Path(os.fsdecode(root)).resolve()):
        message = f'contextAddFile "{name}" leads out of the repository'
        raise ConfigError([Problem(image.place, message, "copy what it names into the project's directory")])
    if top.is_symlink() or not top.is_dir():
        yield _blob(top, name)
        return
    for directory, directories, names in os.walk(top):
        paths = [Path(directory, file) for file in names]
        paths += [path for file in directories if (path := Path(directory, file)).is_symlink()]
        for path in paths:
            yield _blob(path, path.relative_to(context).as_posix())


def _blob(path: Path, name: str) -> Blob:
    if path.is_symlink():
        return Blob(os.fsencode(name), _LINK, f"link:{path.readlink()}", DISK)
    status = path.stat()
    mode = 0o100755 if status.st_mode & 0o100 else 0o100644
    with path.open("rb") as content:
        return Blob(os.fsencode(name), mode, f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}", DISK)


def _file_on_disk(path: Path, blob: Blob) -> File:
    """A file as it was when its digest was taken. What has changed since fails when it is opened."""
    if blob.is_link:
        return File(blob.path, "symlink", 0o777, link=os.fsencode(blob.oid.removeprefix("link:")))
    return File(blob.path, "file", _mode(blob), path.stat().st_size, open=partial(_open_unchanged, path, blob))


def _open_unchanged(path: Path, blob: Blob) -> BinaryIO:
    content = path.open("rb")
    if f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}" != blob.oid:
        content.close()
        raise UsageError(f"contextAddFiles: {path} has changed during the build", hint="run the build again")
    content.seek(0)
    return cast(BinaryIO, content)


def _on_disk(directory: bytes, path: bytes) -> Path:
    return Path(os.fsdecode(directory)) / os.fsdecode(path)


def _mode(blob: Blob) -> int:
    return 0o755 if blob.mode & 0o100 else 0o644
