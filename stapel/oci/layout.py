"""A directory in OCI's image layout as an image store: what skopeo, podman, buildah and others read and write as `oci:`."""

from __future__ import annotations

import fcntl
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from stapel.oci.api import Description, Descriptor, ImageView
from stapel.oci.errors import BadReference, Broken, NotFound, StapelError
from stapel.oci.manifest import OCI_INDEX, OCI_MANIFEST, RECORD_CONFIG, Manifest, build_manifest, parse_document
from stapel.oci.reference import is_digest
from stapel.oci.views import BlobImage, OpenBlob, describe_image, find_image

LAYOUT_FILE, INDEX_FILE = "oci-layout", "index.json"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
NAME_ANNOTATION = "org.opencontainers.image.ref.name"

_INCOMING = ".incoming-"
_COPY_BYTES = 1 << 20
# Letters, digits and single separators between them, as image-spec has it; @ leads to a digest.
_NAME = re.compile(r"[A-Za-z0-9]+([-._:@+/]+[A-Za-z0-9_]+|_+[A-Za-z0-9]+)*[-._]*")


class LayoutStore:
    """The layout in `directory`, made by the first write. Thread-safe, and safe for many processes.

    Blobs are written aside and renamed; `index.json`, which holds the names, is replaced whole under a lock of the
    directory. A blob that no image names is left where it is. Errors: `StapelError` where the directory cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory.absolute()

    @property
    def address(self) -> str:
        """`oci:` and the directory."""
        return f"oci:{self._directory}"

    def clock_skew_ms(self) -> int:
        """Its clock is ours."""
        return 0

    def reference(self, name: str) -> str:
        """`oci:DIRECTORY:NAME`, as skopeo takes it."""
        return f"{self.address}:{name}"

    # -- reading

    def names(self, *, fresh: bool = False, prefix: str = "") -> Iterator[str]:
        """See `ImageStore`: always as they are now."""
        return iter([name for name in named_in(self._index()) if name.startswith(prefix)])

    def describe(self, name: str) -> Description:
        """See `ImageStore`."""
        image = self.get(name)
        return describe_image(image.manifest, image.config)

    def get(self, reference: str, platform: str = "") -> BlobImage:
        """The image of a name or digest; of an index the one for `platform` (default: this machine's)."""
        where = f"{self.address}{'@' if is_digest(reference) else ':'}{reference}"
        return get_from(self._index(), self._open_blob, reference, where, platform)

    def _index(self) -> Mapping[str, Any]:
        try:
            data = (self._directory / INDEX_FILE).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return parse_document(data, f"{INDEX_FILE} of {self.address}")

    def _open_blob(self, digest: str) -> BinaryIO:
        try:
            return self._blob(digest).open("rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"there is no blob {digest} in {self.address}") from error

    def _blob(self, digest: str) -> Path:
        if not is_digest(digest):
            raise Broken(f"{digest!r} in {self.address} is no digest")
        algorithm, _, value = digest.partition(":")
        return self._directory / "blobs" / algorithm / value

    # -- writing

    def put(self, image: ImageView) -> Descriptor:
        """See `ImageStore`. The manifest of an image that has one is kept byte for byte."""
        from stapel.oci.uploads import uploads_of

        with uploads_of(image) as (manifest, uploads), self._writing():
            for upload in uploads:
                if not self._has(upload.blob):
                    with upload.open() as content:
                        self._write_blob(upload.blob, content)
            self._write_manifest(manifest)
        return manifest.descriptor

    def put_record(self, name: str) -> None:
        """See `ImageStore`."""
        manifest = build_manifest(RECORD_CONFIG, ())
        with self._writing():
            self._write_blob(manifest.config, io.BytesIO(RECORD_CONFIG))
            self._write_manifest(manifest)
        self.name(name, manifest.descriptor)

    def name(self, name: str, image: Descriptor, *, renew: Callable[[], str] | None = None) -> None:
        """See `ImageStore`."""
        del renew  # nothing is sent
        if not _NAME.fullmatch(name):
            raise BadReference(f"{name!r} is no name of an image", hint="letters and digits, and -._:@+/ between them")
        manifest = self.get(image.digest).descriptor
        entry = {
            "mediaType": manifest.media_type or OCI_MANIFEST,
            "digest": manifest.digest,
            "size": manifest.size_bytes,
            "annotations": {NAME_ANNOTATION: name},
        }
        with self._writing(), self._changing() as manifests:
            manifests[:] = [item for item in manifests if _name_of(item) != name] + [entry]

    def delete(self, image: Descriptor) -> None:
        """See `ImageStore`. Its layers stay, for others may have them too."""
        with self._writing(), self._changing() as manifests:
            manifests[:] = [item for item in manifests if item.get("digest") != image.digest]
        self._blob(image.digest).unlink(missing_ok=True)

    def unname(self, name: str) -> None:
        """See `ImageStore`."""
        with self._writing(), self._changing() as manifests:
            manifests[:] = [item for item in manifests if _name_of(item) != name]

    def _has(self, blob: Descriptor) -> bool:
        try:
            return self._blob(blob.digest).stat().st_size == blob.size_bytes
        except OSError:
            return False

    def _write_manifest(self, manifest: Manifest) -> None:
        self._write_blob(manifest.descriptor, io.BytesIO(manifest.data))

    def _write_blob(self, blob: Descriptor, content: BinaryIO) -> None:
        target = self._blob(blob.digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._incoming(target.parent) as (path, file):
            while data := content.read(_COPY_BYTES):
                file.write(data)
            file.flush()
            path.replace(target)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            if not (self._directory / LAYOUT_FILE).exists():
                with self._incoming(self._directory) as (path, file):
                    file.write(LAYOUT)
                    file.flush()
                    path.replace(self._directory / LAYOUT_FILE)
            yield
        except OSError as error:
            raise StapelError(f"{self.address} cannot be written: {error}") from error

    @contextmanager
    def _changing(self) -> Iterator[list[dict[str, Any]]]:
        """The list of manifests, to be changed in place; it is stored when the context ends without an error."""
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            index = {"schemaVersion": 2, "mediaType": OCI_INDEX, **self._index()}
            manifests = list(_manifests(index))
            yield manifests
            with self._incoming(self._directory) as (path, file):
                file.write(json.dumps({**index, "manifests": manifests}, separators=(",", ":")).encode())
                file.flush()
                path.replace(self._directory / INDEX_FILE)
        finally:
            os.close(directory)

    @contextmanager
    def _incoming(self, directory: Path) -> Iterator[tuple[Path, BinaryIO]]:
        """A new file that is renamed by the caller. What killed processes left is removed: nobody has it locked."""
        for left in directory.glob(_INCOMING + "*"):
            with suppress(OSError), left.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()
        with _locked_file(directory) as (path, file):
            os.fchmod(file.fileno(), 0o644)
            try:
                yield path, file
            finally:
                path.unlink(missing_ok=True)


@contextmanager
def _locked_file(directory: Path) -> Iterator[tuple[Path, BinaryIO]]:
    while True:
        fd, path = tempfile.mkstemp(prefix=_INCOMING, dir=directory)
        with os.fdopen(fd, "wb") as file:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:  # else somebody took it for left behind before it was locked
                yield Path(path), file
                return


def named_in(index: Mapping[str, Any]) -> list[str]:
    """The names in an `index.json`."""
    return [name for name in map(_name_of, _manifests(index)) if name]


def get_from(index: Mapping[str, Any], open_blob: OpenBlob, reference: str, where: str, platform: str = "") -> BlobImage:
    """The image of an `index.json` by name (whole, or the tag at its end), by digest, or "" for the only one.

    `NotFound` names what is there.
    """
    entries = list(_manifests(index))
    if is_digest(reference):
        media_type = next((str(item.get("mediaType")) for item in entries if item.get("digest") == reference), "")
        return find_image(open_blob, Descriptor(media_type, reference, -1), where, platform)
    found = [item for item in entries if _name_of(item) == reference] if reference else entries
    found = found or [item for item in entries if (_name_of(item) or "").endswith(f":{reference}")]
    digests = list(dict.fromkeys(str(item.get("digest")) for item in found))
    if len(digests) != 1:
        there = ", ".join(named_in(index)) or ("images without names" if entries else "nothing")
        what = f"{where} names {len(digests)} images" if digests else f"there is no {where}"
        raise NotFound(f"{what}; there is {there}")
    media_type = str(found[0].get("mediaType") or "")
    return find_image(open_blob, Descriptor(media_type, digests[0], -1), where, platform)


def _manifests(index: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    manifests = index.get("manifests")
    return iter([item for item in manifests if isinstance(item, dict)] if isinstance(manifests, list) else [])


def _name_of(item: Mapping[str, Any]) -> str | None:
    annotations = item.get("annotations")
    name = annotations.get(NAME_ANNOTATION) if isinstance(annotations, dict) else None
    return name if isinstance(name, str) else None
