"""Reading files for a configuration: from the commit, as long as the work tree has them so.

A path is relative to the project's directory (`/x` and `./x` too) and followed over links, which never lead out of the
repository. Who reads gets the file of the commit even where it is refused for a change of the work tree, so that a run
finds all that is to be refused.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from conveyor.config.giterminism.api import Directive, Refusals
from conveyor.config.giterminism.paths import (
    MAX_FILE_BYTES,
    MAX_LINKS,
    MAX_LISTED,
    MAX_LISTED_BYTES,
    clean_path,
    split_glob,
    too_large,
    too_many_links,
)
from conveyor.errors import GiterminismError
from conveyor.gitrepo.api import Blob, ChangeKind, Repository

if TYPE_CHECKING:
    from conveyor.config.giterminism.disk import Disk
    from conveyor.gitrepo.matching import PathMatcher

_MOST_DIRECTORIES = 256  # of which it is found out whether they are as they were


class Included(Protocol):
    """Files of other repositories that stand in the project's directory, where that has none of its own."""

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where there is none. `GitError` where it cannot be fetched; so for all."""

    def is_directory(self, path: str) -> bool:
        """Whether files stand below a path."""

    def names(self, pattern: str) -> Sequence[str]:
        """The files that a glob means, in werf's three forms ("." for all)."""


class ConfigFiles:
    """The files of a project, for one run. Where it has none at a path, those of `included` are read, once it is set.

    Without `checks_work_tree` the commit alone counts, whatever the work tree is. `used` holds the paths, relative to the
    root of the repository, of which a change may change what was read; `read_from_disk` the files that were read there,
    and the directories that were listed; `is_repeatable` is false where these two do not tell all.
    """

    def __init__(
        self, repo: Repository, prefix: bytes, directory: Path, refusals: Refusals, *, checks_work_tree: bool = True
    ) -> None:
        self._repo = repo
        self._checks_work_tree = checks_work_tree and not refusals.permissions.is_loose
        self._prefix = prefix
        self._directory = directory
        self._refusals = refusals
        self._is_loose = refusals.permissions.is_loose
        self._changes: dict[bytes, ChangeKind] | None = None
        self._wholes: list[bytes] = []  # directories of which git tells no more than that they are changed
        self.used: set[bytes] = set()
        self.read_from_disk: set[Path] = set()
        self.is_repeatable = True
        self.included: Included | None = None

    @cached_property
    def _disk(self) -> Disk:
        from conveyor.config.giterminism.disk import Disk  # most builds read nothing there

        return Disk(Path(os.fsdecode(self._repo.root)), self._directory)

    def read(
        self, path: str, directive: Directive | None, subject: str = "", used_by: Callable[[], str] = str
    ) -> bytes | None:
        """The content of a file; None where there is none. What is refused is noted.

        `directive` would accept it as it is on the disk (None: none can); `subject` is what it is read as, `used_by` who
        reads it. `GiterminismError` for a file that is too large.
        """
        path = clean_path(path)
        content = self._read_own(path, directive, subject, used_by)
        if content is None and self.included is not None:
            content = self.included.read(path)
            if content is not None and len(content) > MAX_FILE_BYTES:
                raise too_large(path, len(content))
        return content

    def _read_own(self, path: str, directive: Directive | None, subject: str, used_by: Callable[[], str]) -> bytes | None:
        if self._is_accepted(path, directive):
            return self._read_accepted(path, directive, subject)
        steps, blob = self._follow(path)
        if not steps:
            return self._read_uncommitted(path, directive, subject, used_by)
        if blob is None:
            return None
        for step in steps:
            changed = self._changed(step)
            if changed:
                self._refusals.refuse_file(
                    self._relative(changed), self._all_changes()[changed], subject, directive, used_by()
                )
        # Its size is not asked before: git is asked often enough.
        with self._repo.open(blob) as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise too_large(path, self._repo.sizes((blob,))[0])
        return content

    def exists(self, path: str, directive: Directive | None) -> bool:
        """Whether a file or directory is there, and a file as the commit has it. Nothing is refused."""
        path = clean_path(path)
        if self._exists(path, directive):
            return True
        return self.included is not None and (self.included.read(path) is not None or self.included.is_directory(path))

    def _exists(self, path: str, directive: Directive | None) -> bool:
        if self._is_accepted(path, directive):
            self._note_disk(path)
            return self._disk.find(path) is not None
        steps, _ = self._follow(path)
        return bool(steps) and not any(self._changed(step) for step in steps)

    def is_directory(self, path: str, directive: Directive | None) -> bool:
        """Whether a directory is there, and nothing in it is changed. Nothing is refused."""
        path = clean_path(path)
        return self._is_directory(path, directive) or (self.included is not None and self.included.is_directory(path))

    def _is_directory(self, path: str, directive: Directive | None) -> bool:
        target = self._disk.find(path) if self._is_accepted(path, directive) else None
        if target is not None or self._is_loose:
            self._note_disk(path)
            return target is not None and target.is_dir()
        steps, blob = self._follow(path)
        if not steps or blob is not None:
            return False
        below = steps[-1] + b"/" if steps[-1] else b""
        return not any(change.startswith(below) for change in self._all_changes()) and not self._changed(steps[-1])

    def holds_directory(self, path: str) -> bool:
        """Whether a directory may be at a path, in the commit, on the disk or included. Nothing is refused."""
        path = clean_path(path)
        steps, blob = self._follow(path)
        return (bool(steps) and blob is None) or (self._directory / path).is_dir() or self.included is not None

    def matching(
        self,
        pattern: str,
        directive: Directive | None,
        subject: str = "",
        used_by: Callable[[], str] = str,
        *,
        most: int = MAX_LISTED,
    ) -> dict[str, bytes]:
        """The files that a glob means, in werf's three forms, by path in its order. What is refused is noted.

        `GiterminismError` where they are more than `most` or too large.
        """
        pattern = clean_path(pattern) or "."
        contents: dict[str, bytes] = {}
        total = 0
        for name in self.names(pattern, directive, most):
            content = self.read(name, directive, subject, used_by)
            if content is None:
                continue
            contents[name] = content
            total += len(content)
            if total > MAX_LISTED_BYTES:
                raise too_large(pattern, total)
        return contents

    def names(self, pattern: str, directive: Directive | None, most: int = MAX_LISTED) -> list[str]:
        """The paths that a glob means in the commit, untracked, accepted on the disk or included; sorted by their bytes."""
        names = {*self._committed(pattern), *self._uncommitted(pattern)}
        if self.included is not None:
            names.update(self.included.names(pattern))
        accepted = self._refusals.permissions.patterns(directive) if directive is not None else ()
        if self._is_loose or accepted:
            visited: set[Path] = set()
            names.update(self._disk.walk(pattern, None if self._is_loose else accepted, visited))
            self.read_from_disk.update(visited)
            self.is_repeatable &= len(visited) <= _MOST_DIRECTORIES
        if len(names) > most:
            from conveyor.config.giterminism.wording import show_text

            raise GiterminismError(
                f"the glob {show_text(pattern)} matches {len(names)} files, and at most {most} are read",
                hint="write a narrower one",
            )
        return sorted(names, key=os.fsencode)

    def explain_missing(self, path: str, directive: Directive | None = None) -> tuple[str, str]:
        """Why a file that was asked for is not there, in the words that people search for; and what to do ("": nothing)."""
        from conveyor.config.giterminism.wording import show_text

        path = clean_path(path)
        shown = show_text(path)
        if self._is_accepted(path, directive):
            hint = (
                "" if self._is_loose else f"`{directive}` accepts it uncommitted, so it is read from the disk: make it there"
            )
            return f'the file "{shown}" not found in the project directory', hint
        where = f'the file "{shown}" not found in the project git repository'
        hint = "commit it" + (f", or accept it on the disk by `{directive}` in werf-giterminism.yaml" if directive else "")
        target = self._disk.find(path)
        if target is not None and target.is_dir():
            return f"{where}: it is a directory", ""
        if target is not None:
            return f"{where}: it is on the disk, and git ignores it", hint
        if self._disk.is_there(path):
            return f"{where}: a link leads out of the repository, in circles or to nothing", ""
        return where, hint

    def show(self, path: str) -> str:
        """A path as places have it: relative to the root of the repository."""
        return os.fsdecode(self._place(clean_path(path)))

    # -- the commit

    def _follow(self, path: str) -> tuple[tuple[bytes, ...], Blob | None]:
        """The links on the way and what is at the end, of which all must be as the commit has them; () for nothing."""
        place = self._place(path)
        self.used.add(place)
        followed = self._repo.follow(self._repo.head, place)
        if followed is None:
            return (), None
        steps = (*followed.links, followed.path)
        self.used.update(steps)
        return steps, followed.blob

    def _committed(self, pattern: str) -> Iterator[str]:
        """Files of the commit; a link to a directory stands for the files in it, what is not committed there, too."""
        base, rest = split_glob(pattern)
        steps, blob = self._follow(base)
        if blob is not None and rest in (".", "*", "**"):
            yield base
        elif steps and blob is None:
            from conveyor.gitrepo.matching import compile_matcher

            matcher = compile_matcher(() if rest == "." else (rest,), ())
            links = iter(range(MAX_LINKS))
            for name in self._walk(b"", (steps[-1],), matcher, links, pattern):
                yield posixpath.join(base, os.fsdecode(name))

    def _walk(
        self, at: bytes, over: tuple[bytes, ...], matcher: PathMatcher, links: Iterator[int], pattern: str
    ) -> Iterator[bytes]:
        """The files of a directory that stands at `at`; links have led to it, the last of `over`, and to those before it."""
        for blob in self._repo.reach(self._repo.head, over[-1], at, matcher):
            if not blob.is_link:
                yield blob.path
                continue
            link = posixpath.join(over[-1], blob.path[len(at) :].lstrip(b"/"))
            followed = self._repo.follow(self._repo.head, link)
            if followed is None:
                continue
            if followed.blob is not None:
                if matcher.matches(blob.path):
                    yield blob.path
            elif not any(_holds(followed.path, place) for place in (*over, link)):
                if next(links, None) is None:
                    raise too_many_links(pattern)
                self.used.update((*followed.links, followed.path))
                yield from self._walk(blob.path, (*over, followed.path), matcher, links, pattern)
                yield from self._uncommitted_over(blob.path, followed.path, matcher)

    def _uncommitted_over(self, at: bytes, directory: bytes, matcher: PathMatcher) -> Iterator[bytes]:
        for place in self._all_changes():
            name = posixpath.join(at, place[len(directory) :].lstrip(b"/"))
            if _holds(directory, place) and matcher.matches(name):
                yield name

    # -- the work tree

    def _all_changes(self) -> dict[bytes, ChangeKind]:
        if self._changes is None:
            self._changes = {}
            for change in self._repo.uncommitted() if self._checks_work_tree else ():
                path = change.path.rstrip(b"/")
                self._changes[path] = change.kind
                if change.kind == "submodule" or path != change.path:
                    self._wholes.append(path)
        return self._changes

    def _changed(self, place: bytes) -> bytes:
        """What git tells of at a path: itself, or the submodule or repository that it is in; b"" where nothing is told."""
        if place in self._all_changes():
            return place
        return next((whole for whole in self._wholes if _holds(whole, place)), b"")

    def _uncommitted(self, pattern: str) -> Iterator[str]:
        """Changed and untracked files that a glob means."""
        from conveyor.gitrepo.matching import compile_matcher

        matcher = compile_matcher(() if pattern == "." else (pattern,), ())
        for place in self._all_changes():
            name = self._relative(place)
            if not name.startswith("../") and matcher.matches(os.fsencode(name)):
                yield name

    def _read_uncommitted(
        self, path: str, directive: Directive | None, subject: str, used_by: Callable[[], str]
    ) -> bytes | None:
        target = self._disk.find(path)
        changed = self._changed(self._place(path))
        if not changed and target is not None:
            changed = self._changed(self._disk.relative(target))
        if not changed:
            return None
        self._refusals.refuse_file(path, self._all_changes()[changed], subject, directive, used_by())
        return self._disk.read(path)

    # -- the disk

    def _is_accepted(self, path: str, directive: Directive | None) -> bool:
        return self._is_loose or (directive is not None and self._refusals.permissions.allow(directive, path))

    def _read_accepted(self, path: str, directive: Directive | None, subject: str) -> bytes | None:
        self._note_disk(path)
        for target in self._disk.links(path) if not self._is_loose else ():
            if not self._is_accepted(target, directive):
                prefix = f"unable to read {subject}: " if subject else ""
                self._refusals.refuse(
                    f'{prefix}accepted file "{path}" check failed: '
                    f'the link target "{target}" should be also accepted by giterminism config',
                    f"add it to `{directive}`",
                )
        return self._disk.read(path)

    def _note_disk(self, path: str) -> None:
        target = self._disk.locate(path)
        if target is not None:
            self.read_from_disk.add(target)
        if self._disk.links(path):
            self.is_repeatable = False

    # -- paths

    def _place(self, path: str) -> bytes:
        """A path relative to the root of the repository; one that leads out of it is nowhere."""
        return os.path.normpath(b"/".join((self._prefix, os.fsencode(path))).lstrip(b"/")) if path else self._prefix

    def _relative(self, place: bytes) -> str:
        return os.fsdecode(os.path.relpath(place, self._prefix) if self._prefix else place)


def _holds(directory: bytes, path: bytes) -> bool:
    return not directory or path == directory or path.startswith(directory + b"/")
