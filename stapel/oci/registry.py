"""A repository of a registry as an `ImageStore`.

Who can write to the repository can run code in every image that is built with it: a stage found there is built upon.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from sys import audit as trace
from typing import TYPE_CHECKING, BinaryIO

from stapel.oci.api import Description, Descriptor, ImageConfig, ImageView
from stapel.oci.errors import BadReference, Broken, NotFound, StapelError
from stapel.oci.kept_blobs import KeptBlobs
from stapel.oci.manifest import (
    INDEXES,
    Manifest,
    build_index,
    build_manifest,
    choose_platform,
    media_type_of,
    own_platform,
    parse_document,
    parse_manifest,
)
from stapel.oci.reference import Reference, is_digest, is_tag, parse_reference
from stapel.oci.repository import BlobMissing, Document, Repository
from stapel.oci.repository_blobs import RepositoryBlobs
from stapel.oci.retries import Retries
from stapel.oci.tag_list import TagList
from stapel.oci.transport import Transport
from stapel.oci.views import describe_image

if TYPE_CHECKING:
    from stapel.oci.uploads import Unwritten

_KEPT_MANIFESTS = 4096
_UPLOADS_AT_ONCE = 4  # of one image
_ASKS_AFTER_NAMING = 4


class RegistryImage:
    """An image of a registry: its manifest is here, everything else is read when it is asked for."""

    def __init__(self, store: RegistryStore, manifest: Manifest) -> None:
        self.store = store
        self.manifest = manifest
        self._config: ImageConfig | None = None

    @property
    def descriptor(self) -> Descriptor:
        """Media type, digest and size of the manifest."""
        return self.manifest.descriptor

    @property
    def manifest_bytes(self) -> bytes:
        """The manifest as it is stored: a copy made with it has the same digest."""
        return self.manifest.data

    @property
    def config(self) -> ImageConfig:
        """The whole configuration. `Broken`, `NotFound`."""
        if self._config is None:
            self._config = self.store.read_config(self.manifest)
        return self._config

    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, lowest first."""
        return self.manifest.layers

    def open(self, blob: Descriptor) -> BinaryIO:
        """The bytes of a layer (or of the configuration), verified while they are read. `Broken`, `NotFound`."""
        return self.store.open_blob(blob, self.manifest.descriptor.digest)


class RegistryStore:
    """The repository `reference_text` (`HOST[:PORT]/NAME`) of a registry, with the credentials that docker has for it.

    `insecure` permits plain http (this machine needs no permission), `skip_tls_verify` any certificate of this host.
    `on_retry` is told of every wait, and of credentials that could not be had; it may be called from any thread.
    `mount_from`: repositories of the same host where blobs may be found. Errors: `BadReference` here, else as `ImageStore`.
    """

    def __init__(
        self,
        reference_text: str,
        *,
        docker_config: str | None = None,
        insecure: bool = False,
        skip_tls_verify: bool = False,
        on_retry: Callable[[str], None] | None = None,
        mount_from: Sequence[str] = (),
        retries: Retries | None = None,
    ) -> None:
        self.repository = _parse_repository(reference_text)
        self._repo = Repository(
            self.repository,
            Transport(
                self.repository.api_host,
                docker_config=docker_config,
                insecure=insecure,
                skip_tls_verify=skip_tls_verify,
                on_retry=on_retry,
                retries=retries,
            ),
        )
        self._tags = TagList(self._repo.tags)
        self._blobs = KeptBlobs(RepositoryBlobs(self._repo))
        sources = [parse_reference(text) for text in mount_from]
        self._mount_from = [source.repository for source in sources if source.registry == self.repository.registry]
        self._lock = threading.Lock()
        self._manifests: dict[str, Manifest] = {}
        self._indexes: dict[str, tuple[str, bytes]] = {}  # those of this run: type and bytes
        self._record: Manifest | None = None

    @property
    def address(self) -> str:
        """`HOST[:PORT]/NAME`, normalised: equal for all who mean the same repository."""
        return self.repository.repository_text

    def reference(self, name: str) -> str:
        """`HOST[:PORT]/NAME:TAG`, or `...@sha256:...` for a digest."""
        return f"{self.address}{'@' if is_digest(name) else ':'}{name}"

    def clock_skew_ms(self) -> int:
        """The registry's clock minus ours, by the last Date header; 0 where unknown or below what that header tells."""
        return self._repo.transport.skew_ms

    # -- names

    def names(self, *, fresh: bool = False, prefix: str = "") -> Iterator[str]:
        """See `ImageStore`. The list is kept; what we name ourselves is added to it. A repository not made yet has none."""
        names = self._tags.ask() if fresh else self._tags.kept()
        return iter([name for name in names if name.startswith(prefix)])

    # -- reading

    def describe(self, name: str) -> Description:
        """See `ImageStore`: the manifest of the tag and its configuration, both verified."""
        _check_name(name)
        manifest = self._manifest(self._read_named(name), self.reference(name))
        config = self.read_config(manifest)
        return describe_image(manifest, config)

    def _read_named(self, name: str) -> Document:
        """The manifest of a tag. A registry that has just taken it from us may need a moment to tell it."""
        ask = 1
        while True:
            try:
                return self._repo.manifest(name, fresh=ask > 1)
            except NotFound:
                if not self._tags.has_given(name) or ask == _ASKS_AFTER_NAMING:
                    raise
            time.sleep(self._repo.transport.retries.delay_s(ask))
            ask += 1

    def get(self, reference: str, platform: str = "") -> RegistryImage:
        """The image of a tag or digest; of an index the one for `platform` (default: this machine's). See `ImageStore`."""
        if not is_digest(reference):
            _check_name(reference)
        kept = self._manifests.get(reference)
        if kept is not None:
            # Bytes of a digest never change, but they can be deleted: whoever asks wants to use the image.
            self._repo.manifest_digest(reference)
            return RegistryImage(self, kept)
        where = self.reference(reference)
        document = self._repo.manifest(reference)
        parsed = parse_document(document.data, where)
        if media_type_of(parsed, document.media_type) in INDEXES:
            chosen = choose_platform(parsed, platform or own_platform(), where)
            document, where = self._repo.manifest(chosen.digest), self.reference(chosen.digest)
        return RegistryImage(self, self._manifest(document, where))

    def digest_of(self, reference: str) -> str:
        """The digest of a tag's manifest or index, by one request that moves no image. `NotFound`."""
        return self._repo.manifest_digest(reference) or self._repo.manifest(reference, fresh=True).digest

    def read_config(self, manifest: Manifest) -> ImageConfig:
        """The configuration that a manifest names. `Broken`, `NotFound`."""
        where = f"the configuration of {self.reference(manifest.descriptor.digest)}"
        document = parse_document(self._blobs.calls.read(manifest.config, manifest.descriptor.digest), where)
        run = document.get("config")
        if not isinstance(run if run is not None else {}, dict):
            raise Broken(f"{where} makes no sense: its part config is no object")
        labels = (run or {}).get("Labels") or {}
        if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
            raise Broken(f"{where} makes no sense: its labels are no texts")
        return ImageConfig(document)

    def open_blob(self, blob: Descriptor, manifest_digest: str) -> BinaryIO:
        """The bytes of a blob that the manifest `manifest_digest` names, verified while they are read."""
        return self._blobs.calls.open(blob, manifest_digest)

    def _manifest(self, document: Document, where: str) -> Manifest:
        manifest = parse_manifest(document.data, document.media_type, where)
        if document.digest != manifest.descriptor.digest:  # a sha512 that was asked for
            descriptor = manifest.descriptor
            descriptor = Descriptor(descriptor.media_type, document.digest, descriptor.size_bytes)
            manifest = Manifest(descriptor, manifest.data, manifest.config, manifest.layers)
        self._keep(manifest)
        return manifest

    def _keep(self, manifest: Manifest) -> None:
        with self._lock:
            if len(self._manifests) >= _KEPT_MANIFESTS:
                self._manifests.pop(next(iter(self._manifests)))
            self._manifests[manifest.descriptor.digest] = manifest

    # -- writing

    def put(self, image: ImageView) -> Descriptor:
        """See `ImageStore`. The manifest of an image that has one is kept byte for byte, so its digest stays.

        Blobs that this repository lacks are mounted from another one of the host where possible, else uploaded, streamed;
        large layers that nobody has compressed yet while they are.
        """
        from stapel.oci.uploads import Unwritten, run_at_once, uploads_of

        if isinstance(image, Unwritten) and image.has_unwritten():
            # The configuration is known already, and would be waited for afterwards.
            run_at_once([partial(self._put_unwritten, image), partial(self._put_config, image)], _UPLOADS_AT_ONCE)
        with uploads_of(image) as (manifest, uploads):
            sources = self._sources(image)

            def put_blobs() -> None:
                missing = self._blobs.missing(uploads)
                run_at_once([partial(self._blobs.put, upload, sources) for upload in missing], _UPLOADS_AT_ONCE)

            self._put_complete(manifest, put_blobs)
        return manifest.descriptor

    def put_written(self, write: Callable[[BinaryIO], Descriptor]) -> None:
        """See `StreamStore`."""
        self._blobs.put_written(write)

    def _put_unwritten(self, image: Unwritten) -> None:
        for write in image.unwritten():  # one after the other: each has threads of its own
            self.put_written(write)

    def _put_config(self, image: ImageView) -> None:
        from stapel.oci.uploads import upload_bytes

        config = image.config.to_bytes()
        self._blobs.put(upload_bytes(build_manifest(config, ()).config, config), ())

    def _put_complete(self, manifest: Manifest, put_blobs: Callable[[], None]) -> None:
        """Blobs, then the manifest that names them."""
        put_blobs()
        try:
            self._put_manifest(manifest)
        except BlobMissing:
            # What we knew is no more: somebody has cleaned up.
            self._blobs.forget(blob.digest for blob in (manifest.config, *manifest.layers))
            put_blobs()
            try:
                self._put_manifest(manifest)
            except BlobMissing as error:
                raise StapelError(
                    f"putting an image into {self.address}: the registry loses blobs that it has accepted: {error}",
                    temporary=True,
                ) from error

    def put_index(self, images: Sequence[tuple[Descriptor, str]]) -> Descriptor:
        """See `IndexStore`."""
        index, data = build_index(images)
        try:
            self._repo.manifest_digest(index.digest)
        except NotFound:
            trace("index.before-put")
            self._repo.put_manifest(index.digest, index.media_type, data)
            trace("index.after-put")
        self._indexes[index.digest] = (index.media_type, data)
        return index

    def put_record(self, name: str) -> None:
        """See `ImageStore`. All records of a repository are one image: deleting it deletes them all."""
        _check_name(name)
        record = self._record
        if record is None:
            record = self._record = self._put_record_image()
        try:
            self.name(name, record.descriptor)
        except NotFound:  # somebody has cleaned up
            record = self._record = self._put_record_image()
            self.name(name, record.descriptor)

    def name(self, name: str, image: Descriptor, *, renew: Callable[[], str] | None = None) -> None:
        """See `ImageStore`. `NotFound` too where the registry lacks a blob of the image: put it again."""
        _check_name(name)
        media_type, data = self._written(image.digest)

        def again() -> str:
            nonlocal name
            name = renew() if renew is not None else name
            return name

        trace("manifest.before-name")
        try:
            self._repo.put_manifest(name, media_type, data, renew=again)
        except BlobMissing as error:
            self._blobs.forget_all()
            with self._lock:
                self._manifests.pop(image.digest, None)
                self._record = None
            raise NotFound(f"{self.reference(image.digest)} is not complete: {error}", temporary=True) from error
        trace("manifest.after-name")
        self._tags.give(name, image.digest)

    def _written(self, digest: str) -> tuple[str, bytes]:
        """Type and bytes of a manifest or an index that is here."""
        if digest in self._indexes:
            return self._indexes[digest]
        manifest = self._manifests.get(digest)
        if manifest is None:
            document = self._repo.manifest(digest)
            media_type = media_type_of(parse_document(document.data, self.reference(digest)), document.media_type)
            if media_type in INDEXES:
                return media_type, document.data
            manifest = self._manifest(document, self.reference(digest))
        return manifest.descriptor.media_type, manifest.data

    def delete(self, image: Descriptor) -> None:
        """See `ImageStore`. `StapelError` with a hint where the registry does not delete."""
        self._repo.delete_manifest(image.digest)
        self._tags.forget(image.digest)
        self._blobs.forget_all()  # the registry may collect them any time from now on
        with self._lock:
            self._manifests.pop(image.digest, None)
            if self._record is not None and self._record.descriptor.digest == image.digest:
                self._record = None

    def unname(self, name: str) -> None:
        """Registries delete images, not names: always `StapelError`."""
        raise StapelError(
            f"{self.reference(name)}: a registry cannot remove one name and keep its image",
            hint="delete the image by its digest: all its names go with it",
        )

    def _put_manifest(self, manifest: Manifest) -> None:
        trace("manifest.before-put")
        self._repo.put_manifest(manifest.descriptor.digest, manifest.descriptor.media_type, manifest.data)
        trace("manifest.after-put")
        self._keep(manifest)

    def _put_record_image(self) -> Manifest:
        from stapel.oci.record_image import put_record_image
        from stapel.oci.uploads import upload_bytes

        def put(manifest: Manifest, contents: Mapping[Descriptor, bytes]) -> None:
            def put_blobs() -> None:
                for blob, content in contents.items():
                    self._blobs.put(upload_bytes(blob, content), ())

            self._put_complete(manifest, put_blobs)

        return put_record_image(put)

    def _sources(self, image: ImageView) -> list[str]:
        sources = list(self._mount_from)
        if isinstance(image, RegistryImage) and image.store.repository.registry == self.repository.registry:
            sources.insert(0, image.store.repository.repository)
        return [source for source in dict.fromkeys(sources) if source != self.repository.repository]


def _parse_repository(text: str) -> Reference:
    reference = parse_reference(text)
    if reference.tag or reference.digest:
        raise BadReference(
            f"{text!r} is no repository: it has a tag or a digest", hint="a repository is named HOST[:PORT]/NAME"
        )
    if "/" not in text:
        raise BadReference(f"{text!r} names no repository of a registry", hint="a repository is named HOST[:PORT]/NAME")
    return reference


def _check_name(name: str) -> None:
    if not is_tag(name):
        raise BadReference(
            f"{name!r} is no tag", hint="letters, digits, `_`, `.`, `-`; at most 128; not starting with . or -"
        )
