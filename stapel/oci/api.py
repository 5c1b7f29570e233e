"""Images as values, and the places that keep them.

An image is its configuration and its layers; a place that keeps images (`ImageStore`) finds them by name or by digest.
`stapel.oci` knows registries and layouts; engines bring stores of their own behind the same protocol. Errors are those of
`stapel.errors`: `NotFound` (it is not there) is never `Broken` (it is there and is not what its digest says), and neither
is `Unreachable` (nobody can tell now).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Protocol, runtime_checkable

from msgspec import Struct


class Descriptor(Struct, frozen=True):
    """A thing in a store, as OCI's descriptor: what it is, its digest, its size.

    In a store without manifests (Docker's own images) `digest` is the image id, and layers have their diff ids and a
    size of -1.
    """

    media_type: str
    digest: str
    size_bytes: int


class ImageConfig(Struct, frozen=True):
    """An image's configuration, whole: fields that we do not know are kept and written again.

    `document` is the parsed JSON (OCI image-spec config; Docker's are the same with a few more fields). It is never
    changed: `with_` makes a new value.
    """

    document: Mapping[str, Any]

    @property
    def run(self) -> Mapping[str, Any]:
        """The part `config`: Env, Cmd, Entrypoint, Labels, User, WorkingDir ... ({} where absent or null)."""
        return self.document.get("config") or {}

    @property
    def labels(self) -> Mapping[str, str]:
        """The labels ({} where there are none)."""
        return self.run.get("Labels") or {}

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Digests of the uncompressed layers, lowest first."""
        return tuple((self.document.get("rootfs") or {}).get("diff_ids") or ())

    @property
    def platform(self) -> str:
        """`os/architecture[/variant]`."""
        parts = [self.document.get("os") or "linux", self.document.get("architecture") or ""]
        if self.document.get("variant"):
            parts.append(self.document["variant"])
        return "/".join(parts)

    def with_(self, *, run: Mapping[str, Any] | None = None, **fields: Any) -> ImageConfig:  # noqa: ANN401 -- JSON
        """A copy with top-level `fields` replaced, and the part `config` replaced by `run` where given."""
        document = {**self.document, **fields}
        if run is not None:
            document["config"] = dict(run)
        return ImageConfig(document)

    def to_bytes(self) -> bytes:
        """The JSON that is stored; equal configurations give equal bytes (keys sorted, no spaces, UTF-8)."""
        import json

        return json.dumps(self.document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Description(Struct, frozen=True):
    """What selection reads of a named image, without its layers: cheap, and it never changes under one name."""

    descriptor: Descriptor
    labels: Mapping[str, str]
    size_bytes: int  # of the whole image, as the store counts (registry: compressed)
    created_ms: int
    image_id: str  # digest of the configuration
    parent_size_bytes: int = -1  # size without the topmost layer, -1: not known


class ImageView(Protocol):
    """An immutable image, read lazily; every blob is verified against its digest while it is read."""

    @property
    def descriptor(self) -> Descriptor:
        """Media type, digest (in a store without manifests: the image id) and size."""

    @property
    def config(self) -> ImageConfig:
        """The whole configuration."""

    def layers(self) -> tuple[Descriptor, ...]:
        """The layers, lowest first."""

    def open(self, blob: Descriptor) -> BinaryIO:
        """The bytes of a layer. Reading to the end raises `Broken` where they do not match the digest."""


class ImageStore(Protocol):
    """A registry repository, an OCI layout, Docker's images, the sandbox's snapshots. Thread-safe.

    Names are tags without the repository. Every method raises `Unreachable` where the place cannot be asked.
    """

    @property
    def address(self) -> str:
        """The place in one line, equal for all who mean the same place: the name of locks and of caches."""

    def clock_skew_ms(self) -> int:
        """The store's clock minus ours, as far as it has told; 0 where it is the same machine's or not known."""

    def reference(self, name: str) -> str:
        """How a person names the image `name` of this store, as `docker run` takes it."""

    def names(self, *, fresh: bool = False, prefix: str = "") -> Iterator[str]:
        """All names with this prefix, in no order; `fresh`: by a request that starts after this call, past every cache."""

    def describe(self, name: str) -> Description:
        """The description of a name. `NotFound`, `Broken` (the configuration is absent or is not what its digest says)."""

    def get(self, reference: str) -> ImageView:
        """The image of a name or of a digest (`sha256:...`). `NotFound`, `Broken`."""

    def put(self, image: ImageView) -> Descriptor:
        """Blobs that are missing, then the manifest by digest: complete, and without a name yet."""

    def put_record(self, name: str) -> None:
        """Name an image without layers, the same one for every record: the name is the record. Writing it twice is fine."""

    def name(self, name: str, image: Descriptor, *, renew: Callable[[], str] | None = None) -> None:
        """Give a name to an image that is here by digest: the one atomic step of saving. `NotFound`.

        `renew` is asked for the name that is given instead before a request that has failed is sent again, by stores that
        do so: time has passed, and the failed one may have done its work. What it raises leaves this method.
        """

    def delete(self, image: Descriptor) -> None:
        """Remove an image and all its names."""

    def unname(self, name: str) -> None:
        """Remove one name where the store can (registries delete by manifest only: they raise `StapelError`)."""


@runtime_checkable
class IndexStore(Protocol):
    """An image store that also keeps indexes: one name for an image of several platforms."""

    def put_index(self, images: Sequence[tuple[Descriptor, str]]) -> Descriptor:
        """An index of images that are here by digest, each with its platform; without a name yet. Equal ones are one.

        One that is there is not written again.
        """

    def digest_of(self, reference: str) -> str:
        """The digest that a name has, of an image or an index. `NotFound`."""


@runtime_checkable
class StreamStore(Protocol):
    """An image store that takes a blob while it is written."""

    def put_written(self, write: Callable[[BinaryIO], Descriptor]) -> None:
        """Have the blob that `write` writes and tells, for an image that will be put. What it raises is passed on.

        Where the blob is not taken so, that is no error: it is put with its image.
        """


def summarise(names: Iterable[str], limit: int = 3) -> str:
    """`a, b, c and 4 more`, for messages."""
    listed = list(names)
    more = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {more} more" if more > 0 else "")
