"""The names of images: links, a directory a repository. A name is given, or changed, in one step."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from sys import audit as trace
from urllib.parse import quote, unquote

from stapel.errors import NotFound

_NO_REGISTRY = "docker.io/library/"  # of names without a host and without a slash


class Names:
    """The names in a directory. `new_temporary` gives names of files that are to be renamed. Thread-safe."""

    def __init__(self, directory: Path, new_temporary: Callable[[], str]) -> None:
        self._dir = directory
        self._place = str(directory)  # what is done for each stage does without Path
        self._new_temporary = new_temporary

    def of(self, repository: str, prefix: str = "") -> list[str]:
        """The names of a repository that begin so, in no order."""
        quoted = quote(prefix, safe="")  # a character at a time, so it begins the file's name
        try:
            files = os.listdir(self._directory(repository))
        except FileNotFoundError:
            return []
        if quoted:  # few of many
            files = [file for file in files if file.startswith(quoted)]
        return [unquote(file) if "%" in file else file for file in files if not file.startswith(".")]

    def get(self, repository: str, name: str) -> str | None:
        """The id of the image of a name."""
        try:
            return os.readlink(self._path(repository, name))
        except FileNotFoundError:
            return None

    def set(self, repository: str, name: str, image_id: str) -> None:
        """Give a name to an image, or let it mean another one, in one step."""
        directory, path = self._directory(repository), self._path(repository, name)
        os.makedirs(directory, exist_ok=True)
        try:
            trace("name.before-link")
            os.symlink(image_id, path)
            trace("name.after-link")
        except FileExistsError:
            temporary = f"{directory}/{self._new_temporary()}"
            os.symlink(image_id, temporary)
            os.rename(temporary, path)

    def remove(self, repository: str, name: str) -> None:
        """Remove a name. `NotFound`."""
        try:
            os.unlink(self._path(repository, name))
        except FileNotFoundError:
            raise NotFound(f"there is no name {name} in {repository}") from None

    def of_images(self) -> dict[str, list[str]]:
        """The names of each image, REPOSITORY:NAME."""
        return {
            image_id: sorted(f"{unquote(path.parent.name)}:{unquote(path.name)}" for path in paths)
            for image_id, paths in self.links().items()
        }

    def links(self) -> dict[str, list[Path]]:
        """The links to each image."""
        found: dict[str, list[Path]] = {}
        for path in self._dir.glob("*/*"):
            with suppress(OSError):
                if not path.name.startswith("."):
                    found.setdefault(str(path.readlink()), []).append(path)
        return found

    def forget(self, image_id: str, links: Mapping[str, Sequence[Path]]) -> None:
        """Remove those of these links that still lead to an image."""
        for path in links.get(image_id, ()):
            with suppress(OSError):
                if str(path.readlink()) == image_id:
                    path.unlink()

    def _path(self, repository: str, name: str) -> str:
        return f"{self._directory(repository)}/{quote(name, safe='')}"

    def _directory(self, repository: str) -> str:
        # The names of a project stand in a directory of its name: `stapel.sandbox.names` reads it.
        return f"{self._place}/{quote(repository.removeprefix(_NO_REGISTRY), safe='')}"
