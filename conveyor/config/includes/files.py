"""The files of includes, as the project's directory would have them.

A file of the project itself always comes first; of several includes the one further down the list. Nothing is fetched before
a file is asked for that the project has not.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence

from conveyor.config.includes.decode import Include
from conveyor.gitrepo.api import Selector, Snapshot
from conveyor.gitrepo.matching import PathMatcher, compile_matcher


class IncludedFiles:
    """See `conveyor.config.giterminism.files.Included`. Paths are relative to the project's directory."""

    def __init__(self, includes: Sequence[Include], open_source: Callable[[Include], Snapshot]) -> None:
        """`open_source` gives the repository of an include, at its commit; it is asked again for each file."""
        self._includes = tuple(reversed(includes))
        self._open = open_source

    def read(self, path: str) -> bytes | None:
        """The content of a file; None where no include has it."""
        for include in self._includes:
            below = _below(include.to, path)
            if below is not None and _matcher(include).matches(below):
                repo = self._open(include)
                content = repo.read_file(repo.head, posixpath.join(_add(include), below).rstrip(b"/"))
                if content is not None:
                    return content
        return None

    def is_directory(self, path: str) -> bool:
        """Whether files stand below a path."""
        return any(_below("/" + path, name) for name in self.sources())

    def names(self, pattern: str) -> list[str]:
        """The files that a glob means, in werf's three forms ("." for all)."""
        matcher = compile_matcher(() if pattern == "." else (pattern,), ())
        return [name for name in self.sources() if matcher.matches(name.encode("utf-8", "surrogateescape"))]

    def sources(self) -> dict[str, Include]:
        """Every file, and the include that it comes from."""
        found: dict[str, Include] = {}
        for include in self._includes:
            repo = self._open(include)
            selector = Selector(_add(include).rstrip(b"/"), include.paths.include, include.paths.exclude)
            for blob in repo.files(repo.head, selector):
                path = posixpath.join(include.to.strip("/"), blob.path.decode("utf-8", "surrogateescape")).rstrip("/")
                found.setdefault(path, include)
        return found


def _matcher(include: Include) -> PathMatcher:
    return compile_matcher(include.paths.include, include.paths.exclude)


def _add(include: Include) -> bytes:
    return include.add.strip("/").encode("utf-8", "surrogateescape")


def _below(to: str, path: str) -> bytes | None:
    """A path relative to another one; b"" for that one itself, None where it is not below."""
    base = to.strip("/")
    if base and path != base and not path.startswith(base + "/"):
        return None
    return path[len(base) :].lstrip("/").encode("utf-8", "surrogateescape")
