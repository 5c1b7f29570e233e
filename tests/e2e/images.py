"""What a Docker Engine has: images by name, and every file of one."""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import docker

# The engine puts these into every container.
_ENGINES_OWN = {
    b".dockerenv",
    b"dev/console",
    b"dev/pts",
    b"dev/shm",
    b"etc/hostname",
    b"etc/hosts",
    b"etc/mtab",
    b"etc/resolv.conf",
}


@dataclass(frozen=True)
class Entry:
    """A path of an image. Directories and files have no `link`; directories and links no `content`."""

    kind: str  # `file`, `directory`, `symlink`, `other`
    mode: int
    uid: int
    gid: int
    mtime_s: int
    content: bytes = b""
    link: str = ""


class Images:
    """The images of an engine."""

    def __init__(self, client: docker.APIClient) -> None:
        self.client = client

    def names(self, repository: str) -> set[str]:
        """All names `repository:tag`."""
        found = self.client.images(name=repository)
        return {name for image in found for name in image["RepoTags"] or () if name.rpartition(":")[0] == repository}

    def config(self, reference: str) -> Mapping[str, Any]:
        """The part `Config` of `docker inspect`."""
        config: Mapping[str, Any] = self.client.inspect_image(reference)["Config"]
        return config

    def layers(self, reference: str) -> list[str]:
        layers: list[str] = self.client.inspect_image(reference)["RootFS"]["Layers"]
        return layers

    def files(self, reference: str, below: str = "") -> dict[str, Entry]:
        """Everything below a directory (absolute, "" is the root), by path relative to it; odd bytes are surrogates."""
        prefix = below.strip("/").encode() + b"/" if below.strip("/") else b""
        container = self.client.create_container(reference, command=["x"])
        try:
            exported = io.BytesIO(b"".join(self.client.export(container)))
        finally:
            self.client.remove_container(container, force=True)
        found: dict[str, Entry] = {}
        with tarfile.open(fileobj=exported, errors="surrogateescape") as archive:
            for member in archive:
                path = member.name.encode(errors="surrogateescape").rstrip(b"/")
                if path.startswith(prefix) and path not in _ENGINES_OWN:
                    # What it puts into them changes the times of these two.
                    mtime_s = 0 if path in (b"dev", b"etc") else int(member.mtime)
                    found[path[len(prefix) :].decode(errors="surrogateescape")] = _entry(archive, member, mtime_s)
        return found

    def read(self, reference: str, path: str) -> str:
        """The text of a file."""
        directory, _, name = path.rpartition("/")
        return self.files(reference, directory)[name].content.decode()

    def run(self, reference: str, *command: str) -> str:
        """What the image's own command, or this one, prints; the container goes."""
        container = self.client.create_container(reference, command=list(command) or None)
        try:
            self.client.start(container)
            status = self.client.wait(container)["StatusCode"]
            output = self.client.logs(container).decode(errors="backslashreplace")
        finally:
            self.client.remove_container(container, force=True)
        assert status == 0, f"exit status {status}: {output}"
        return output

    def remove_repository(self, repository: str) -> None:
        """Remove all names of a repository, and what has no other name."""
        self._remove(self.names(repository))

    def remove_host(self, host: str) -> None:
        """Likewise of all repositories of a registry."""
        names = {name for image in self.client.images() for name in image["RepoTags"] or ()}
        self._remove({name for name in names if name.startswith(f"{host}/")})

    def _remove(self, names: Iterable[str]) -> None:
        import docker.errors

        for name in names:
            try:
                self.client.remove_image(name, force=True)
            except docker.errors.ImageNotFound:
                continue  # it went with its child


def _entry(archive: tarfile.TarFile, member: tarfile.TarInfo, mtime_s: int) -> Entry:
    kind = (
        "file"
        if member.isfile() or member.islnk()
        else "directory"
        if member.isdir()
        else "symlink"
        if member.issym()
        else "other"
    )
    stream = archive.extractfile(member) if kind == "file" else None
    content = stream.read() if stream is not None else b""
    link = member.linkname if kind == "symlink" else ""
    return Entry(kind, stat.S_IMODE(member.mode), member.uid, member.gid, mtime_s, content, link)
