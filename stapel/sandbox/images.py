"""The images of the sandbox's store as an image store: the default local store of a project."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from stapel.errors import NotFound
from stapel.oci.api import Description, Descriptor, ImageConfig, ImageView
from stapel.oci.reference import parse_reference
from stapel.sandbox.image import IMAGE_MEDIA_TYPE, ReadLayer, SandboxImage, parse_config
from stapel.sandbox.records import Layer, PushCompression, StoredImage
from stapel.sandbox.sending import Sendings
from stapel.sandbox.store import Store

RECORD_LABEL = "dev.conveyor.record"


class SandboxImages:
    """The images of one repository of the store. Thread-safe."""

    def __init__(
        self,
        project: str,
        store: Store,
        read_layer: ReadLayer,
        bring: Callable[[ImageView], str],
        collect: Callable[[tuple[Layer, ...]], None],
        sendings: Sendings,
        compression: PushCompression = "gzip",
    ) -> None:
        self._project = project
        self._store = store
        self._read_layer = read_layer
        self._bring = bring
        self._collect = collect
        self._sendings = sendings
        self._compression = compression

    @property
    def address(self) -> str:
        """The store's directory and the repository."""
        return f"{self._store.dir}/{self._project}"

    @property
    def repository(self) -> str:
        """The repository that names are in."""
        return parse_reference(self._project).repository_text

    def clock_skew_ms(self) -> int:
        """It is this machine's clock."""
        return 0

    def reference(self, name: str) -> str:
        """`project:name`."""
        return f"{self._project}:{name}"

    def names(self, *, fresh: bool = False, prefix: str = "") -> Iterator[str]:
        """The names; a list is always fresh."""
        del fresh
        self._store.open()
        return (name for name in self._store.names.of(self.repository, prefix) if ":" not in name)

    def describe(self, name: str) -> Description:
        """See `ImageStore`."""
        from stapel.oci.manifest import parse_time_ms

        image = self._named(name)
        config = parse_config(image.config, image.id)
        sizes = [layer.size_bytes for layer in image.layers]
        return Description(
            descriptor=Descriptor(IMAGE_MEDIA_TYPE, image.id, len(image.config)),
            labels=config.labels,
            size_bytes=sum(sizes),
            created_ms=parse_time_ms(config.document.get("created")),
            image_id=image.id,
            parent_size_bytes=sum(sizes[:-1]) if sizes else -1,
        )

    def get(self, reference: str) -> SandboxImage:
        """The image of a name or of an image id."""
        self._store.open()
        image = self._store.images.get(reference) if reference.startswith("sha256:") else self._named(reference)
        return SandboxImage(self._store, image, self._read_layer, self._sendings, self._compression)

    def put(self, image: ImageView) -> Descriptor:
        """Take over an image; one that is here already costs nothing."""
        if isinstance(image, SandboxImage):
            return image.descriptor
        return self.get(self._bring(image)).descriptor

    def put_record(self, name: str) -> None:
        """Name the record image, made where it is not here."""
        config = ImageConfig({"architecture": "amd64", "os": "linux", "config": {"Labels": {RECORD_LABEL: "1"}}})
        self._store.open()
        image_id = self._store.images.put(config.with_(rootfs={"type": "layers", "diff_ids": []}).to_bytes(), ())
        self._store.names.set(self.repository, name, image_id)

    def name(self, name: str, image: Descriptor, *, renew: Callable[[], str] | None = None) -> None:
        """Name an image."""
        del renew  # nothing is sent
        self._store.open()
        self._store.images.check(image.digest)
        self._store.names.set(self.repository, name, image.digest)

    def delete(self, image: Descriptor) -> None:
        """Remove an image, its names, and what nothing else needs of it."""
        self._store.open()
        self._collect(self._store.images.remove(image.digest))

    def unname(self, name: str) -> None:
        """Remove one name."""
        self._store.open()
        self._store.names.remove(self.repository, name)

    def _named(self, name: str) -> StoredImage:
        self._store.open()
        image_id = self._store.names.get(self.repository, name)
        if image_id is None:
            raise NotFound(f"there is no image {self.reference(name)}")
        return self._store.images.get(image_id)
