"""Images in one file: what `docker save` writes and `docker load` reads, and an OCI layout in a tar.

    with open_archive(path) as archive:
        image = archive.get("shop:1")            # "" for the only one
    write_docker_archive(image, out, ["shop:1"])
    write_oci_archive(image, out, "1")

Equal images give equal files.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from stapel.oci.api import Descriptor, ImageConfig, ImageView
from stapel.oci.compress import decompressed
from stapel.oci.errors import Broken, NotFound, StapelError
from stapel.oci.layer import Entry, write_layer
from stapel.oci.layout import INDEX_FILE, LAYOUT, LAYOUT_FILE, NAME_ANNOTATION, get_from, named_in
from stapel.oci.manifest import DOCKER_CONFIG, OCI_INDEX, OCI_LAYER, digest_bytes, is_foreign, parse_document
from stapel.oci.reference import is_digest
from stapel.oci.views import open_verified, stream_of

_DOCKER_FILE = "manifest.json"
_COPY_BYTES = 1 << 20


class ImageArchive:
    """The images of an archive, read where they are asked for. Thread-safe; used within `open_archive`."""

    def __init__(self, path: Path, file: BinaryIO, members: Mapping[str, tuple[int, int]]) -> None:
        self._path = path
        self._file = file
        self._members = members
        self._docker: list[Mapping[str, Any]] = []
        self._index: Mapping[str, Any] = {}
        if _DOCKER_FILE in members:
            listed = json.loads(self._read(_DOCKER_FILE))
            self._docker = [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []
        elif INDEX_FILE in members:
            self._index = parse_document(self._read(INDEX_FILE), f"{INDEX_FILE} of {path}")
        else:
            raise StapelError(
                f"{path} is no archive of images: it has neither {_DOCKER_FILE} nor {INDEX_FILE}",
                hint="an archive of files becomes an image by an import",
            )

    def names(self) -> list[str]:
        """The names of the images, as they are written there."""
        return [name for item in self._docker for name in item.get("RepoTags") or ()] or named_in(self._index)

    def get(self, reference: str = "", platform: str = "") -> ImageView:
        """The image of a name or digest, "" for the only one. `NotFound` names what is there; `Broken`."""
        where = f"{self._path}{'@' if is_digest(reference) else ':'}{reference}" if reference else str(self._path)
        if self._index:
            return get_from(self._index, self._open_blob, reference, where, platform)
        found = [item for item in self._docker if self._is_named(item, reference)]
        if len(found) != 1:
            there = ", ".join(self.names()) or f"{len(self._docker)} images without names"
            what = f"{where} has several images" if found else f"there is no {where}"
            raise NotFound(f"{what}; there is {there}")
        return _DockerArchiveImage(self, found[0], where)

    def open_member(self, name: str) -> BinaryIO:
        """The bytes of a file of the archive. `Broken` where it is not there."""
        if name not in self._members:
            raise Broken(f"{self._path} is not complete: it has no {name}")
        return cast(BinaryIO, io.BufferedReader(_Part(self._file.fileno(), *self._members[name]), _COPY_BYTES))

    def _read(self, name: str) -> bytes:
        with self.open_member(name) as file:
            return file.read()

    def _is_named(self, item: Mapping[str, Any], reference: str) -> bool:
        if is_digest(reference):
            return digest_bytes(self._read(str(item.get("Config")))) == reference
        names = item.get("RepoTags") or ()
        return not reference or any(name == reference or name.endswith(f":{reference}") for name in names)

    def _open_blob(self, digest: str) -> BinaryIO:
        name = f"blobs/{digest.replace(':', '/')}"
        if name not in self._members:
            raise NotFound(f"there is no blob {digest} in {self._path}")
        return self.open_member(name)


class _DockerArchiveImage:
    """An image of `docker save`: it has no manifest, so layers have their diff ids and no size."""

    def __init__(self, archive: ImageArchive, item: Mapping[str, Any], where: str) -> None:
        self._archive = archive
        self._where = where
        with archive.open_member(str(item.get("Config"))) as file:
            data = file.read()
        self.descriptor = Descriptor(DOCKER_CONFIG, digest_bytes(data), len(data))
        self.config = ImageConfig(parse_document(data, f"the configuration of {where}"))
        self._paths = dict(zip(self.config.diff_ids, map(str, item.get("Layers") or ()), strict=False))
        if len(item.get("Layers") or ()) != len(self.config.diff_ids):
            raise Broken(f"{where} has other layers than its configuration says")

    def layers(self) -> tuple[Descriptor, ...]:
        """The layers by their diff ids."""
        return tuple(Descriptor(OCI_LAYER, diff_id, -1) for diff_id in self.config.diff_ids)

    def open(self, blob: Descriptor) -> BinaryIO:
        """The uncompressed tar of a layer, verified while it is read. `Broken`, `BadLayer`."""
        if blob.digest not in self._paths:
            raise Broken(f"{self._where} has no layer {blob.digest}")
        member = self._archive.open_member(self._paths[blob.digest])
        tar = stream_of(decompressed(member), member.close)
        return open_verified(tar, blob, f"layer {blob.digest} of {self._where}")


@contextmanager
def open_archive(path: Path) -> Iterator[ImageArchive]:
    """The images of an archive, which may be compressed by gzip or zstd. `NotFound`, `StapelError`, `BadLayer`."""
    with ExitStack() as files:
        try:
            file: BinaryIO = files.enter_context(path.open("rb"))
        except OSError as error:
            raise NotFound(f"{path} cannot be read: {error.strerror}") from error
        begin = file.read(512)
        file.seek(0)
        if begin[257:262] != b"ustar" and begin.strip(b"\0"):
            compressed, file = file, cast(BinaryIO, files.enter_context(tempfile.TemporaryFile()))
            for piece in decompressed(compressed):
                file.write(piece)
            file.flush()
        yield ImageArchive(path, file, _find_members(path, file))


def write_oci_archive(image: ImageView, out: BinaryIO, name: str = "") -> Descriptor:
    """Write an image as an OCI layout in a tar; the descriptor of its manifest."""
    from stapel.oci.uploads import uploads_of

    with uploads_of(image) as (manifest, uploads):
        entry: dict[str, Any] = {
            "mediaType": manifest.descriptor.media_type,
            "digest": manifest.descriptor.digest,
            "size": manifest.descriptor.size_bytes,
        }
        if name:
            entry["annotations"] = {NAME_ANNOTATION: name}
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        entries = [
            Entry(b"blobs", "directory"),
            Entry(b"blobs/sha256", "directory"),
            _file(_blob_path(manifest.descriptor.digest), manifest.data),
            _file(INDEX_FILE, json.dumps(index, separators=(",", ":")).encode()),
            _file(LAYOUT_FILE, LAYOUT),
        ]
        for upload in uploads:
            if not is_foreign(upload.blob):
                size = upload.blob.size_bytes
                path = _blob_path(upload.blob.digest).encode()
                entries.append(Entry(path, "file", 0o644, size=size, open=upload.open))
        write_layer(sorted(entries, key=lambda item: item.path.split(b"/")), out)
    return manifest.descriptor


def write_docker_archive(image: ImageView, out: BinaryIO, names: Sequence[str] = ()) -> str:
    """Write an image as `docker load` takes it; the image id. `Broken` where a layer is not what its diff id says."""
    config = image.config.to_bytes()
    diff_ids = image.config.diff_ids
    layers = image.layers()
    if len(layers) != len(diff_ids):
        raise Broken(f"image {image.descriptor.digest} has {len(layers)} layers, and {len(diff_ids)} in its configuration")
    manifest = [
        {
            "Config": _blob_path(digest_bytes(config)),
            "RepoTags": list(names) or None,
            "Layers": [_blob_path(diff_id) for diff_id in diff_ids],
        }
    ]

    def entries() -> Iterator[Entry]:
        yield Entry(b"blobs", "directory")
        yield Entry(b"blobs/sha256", "directory")
        parts = {**dict(zip(diff_ids, layers, strict=True)), digest_bytes(config): None}
        for digest in sorted(parts):
            layer = parts[digest]
            if layer is None:
                yield _file(_blob_path(digest), config)
                continue
            with _spooled_tar(image, layer, digest) as (spool, size):
                yield Entry(_blob_path(digest).encode(), "file", 0o644, size=size, open=partial(_again, spool))
        yield _file(_DOCKER_FILE, json.dumps(manifest, separators=(",", ":")).encode())

    write_layer(entries(), out)
    return digest_bytes(config)


@contextmanager
def _spooled_tar(image: ImageView, layer: Descriptor, diff_id: str) -> Iterator[tuple[BinaryIO, int]]:
    """The uncompressed tar of a layer in a file: only so is its size known before it is written."""
    digest, size = hashlib.sha256(), 0
    with tempfile.TemporaryFile() as spool:
        with image.open(layer) as blob:
            for piece in decompressed(blob):
                digest.update(piece)
                spool.write(piece)
                size += len(piece)
        if f"sha256:{digest.hexdigest()}" != diff_id:
            raise Broken(f"layer {layer.digest} has the diff id sha256:{digest.hexdigest()}, not {diff_id}")
        spool.flush()
        yield cast(BinaryIO, spool), size


def _again(spool: BinaryIO) -> BinaryIO:
    spool.seek(0)
    return spool


def _blob_path(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _file(path: str, data: bytes) -> Entry:
    return Entry(path.encode(), "file", 0o644, size=len(data), content=data)


def _find_members(path: Path, file: BinaryIO) -> dict[str, tuple[int, int]]:
    """Where the files of an archive begin and how long they are, links among them followed."""
    import posixpath
    import tarfile

    found: dict[str, tuple[int, int]] = {}
    links: dict[str, str] = {}
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                name = posixpath.normpath(member.name.lstrip("/"))
                if member.isreg():
                    found[name] = (member.offset_data, member.size)
                elif member.issym():  # as old engines save a layer that two images share
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
                elif member.islnk():
                    links[name] = posixpath.normpath(member.linkname.lstrip("/"))
    except tarfile.TarError as error:
        raise StapelError(f"{path} is no archive of images: {error}") from error
    for name, target in links.items():
        if target in found:
            found[name] = found[target]
    return found


class _Part(io.RawIOBase):
    """A piece of a file, read without moving the file's own position."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        super().__init__()
        self._fd, self._at, self._left = fd, offset, size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # the only buffer that BufferedReader gives
        data = os.pread(self._fd, min(len(buffer), self._left), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        self._left -= len(data)
        return len(data)
