"""Docker's own images as an image store: the default local store of a project, which is a repository of that name.

The engine has no manifests here: an image's digest is its id, the digest of its configuration. What `docker inspect` shows
is not the configuration byte for byte, and is enough to compute a child's: it is what `DockerImage.config` gives.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from sys import audit as trace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from stapel.docker.client import Clients, engine_errors
from stapel.docker.listing import inspect_image, list_history, list_images
from stapel.errors import Broken, NotFound, StapelError
from stapel.image_config import format_time
from stapel.oci.api import Description, Descriptor, ImageConfig, ImageView
from stapel.oci.retries import first_then

if TYPE_CHECKING:
    from docker import APIClient

IMAGE_MEDIA_TYPE = "application/vnd.docker.container.image.v1+json"
LAYER_MEDIA_TYPE = "application/vnd.docker.image.rootfs.diff.tar"
_TOUCHES_NO_FILES = re.compile(
    r"^(?:/bin/sh -c #\(nop\)\s+)?"
    r"(?:ARG|CMD|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|SHELL|STOPSIGNAL|USER|VOLUME)\b"
)
RECORD_LABEL = "dev.conveyor.record"


class DockerImage:
    """An image of the engine, read lazily."""

    def __init__(self, clients: Clients, inspected: Mapping[str, Any]) -> None:
        self._clients = clients
        self._inspected = inspected
        self._config: ImageConfig | None = None
        self._saved: BinaryIO | None = None

    @property
    def descriptor(self) -> Descriptor:
        """The image id."""
        return Descriptor(IMAGE_MEDIA_TYPE, self._inspected["Id"], int(self._inspected.get("Size") or 0))

    @property
    def config(self) -> ImageConfig:
        """The configuration as far as the engine tells it, with the history."""
        if self._config is None:
            config = config_of(self._inspected)
            history = history_of(list_history(self._clients, self._inspected["Id"]), len(config.diff_ids))
            self._config = config.with_(history=history) if history else config
        return self._config

    def layers(self) -> tuple[Descriptor, ...]:
        """The layers by their diff ids, sizes not known."""
        return tuple(Descriptor(LAYER_MEDIA_TYPE, diff_id, -1) for diff_id in config_of(self._inspected).diff_ids)

    def open(self, blob: Descriptor) -> BinaryIO:
        """The uncompressed tar of a layer. The whole image is saved by the engine to get at it, once for all layers."""
        index = [layer.digest for layer in self.layers()].index(blob.digest)
        if self._saved is None:
            spool = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 -- it goes with the view

            def save(client: Any) -> None:  # noqa: ANN401 -- the SDK has no types
                spool.seek(0)
                spool.truncate()
                for chunk in client.get_image(self.descriptor.digest):
                    spool.write(chunk)

            self._clients.ask(f"saving image {self.descriptor.digest}", save)
            self._saved = spool
        self._saved.seek(0)
        return _extract_layer(self._saved, index, blob.digest)


class DockerImages:
    """The images of one repository of the engine. Thread-safe; makes no request before the first question."""

    def __init__(self, project: str, clients: Clients, on_name: Callable[[str], None] = lambda image_id: None) -> None:
        """`on_name` is told the id of every image that gets a name."""
        self._project = project
        self._on_name = on_name
        self._clients = clients
        self._lock = threading.Lock()
        self._listed: dict[str, Description] | None = None

    @property
    def address(self) -> str:
        """The engine's address and the repository."""
        return f"{self._clients.endpoint}/{self._project}"

    @property
    def repository(self) -> str:
        """The name of the repository in the engine."""
        return self._project

    def clock_skew_ms(self) -> int:
        """The engine's clock counts as ours."""
        return 0

    def reference(self, name: str) -> str:
        """`project:name`."""
        return f"{self._project}:{name}"

    def names(self, *, fresh: bool = False, prefix: str = "") -> Iterator[str]:
        """The tags of the repository; a list of a prefix asks the engine for these only."""
        with self._lock:
            listed = self._listed
        if fresh or listed is None:
            found = self._list(prefix if fresh else "")
            with self._lock:
                kept = {} if self._listed is None or not prefix else self._listed
                others = {name: item for name, item in kept.items() if not name.startswith(prefix)}
                self._listed = listed = {**others, **found}
        return iter([name for name in listed if name.startswith(prefix)])

    def describe(self, name: str) -> Description:
        """From the list that was read last, else by a question for this image: a list costs time by all the engine has."""
        with self._lock:
            if self._listed is not None and name in self._listed:
                return self._listed[name]
        inspected = inspect_image(self._clients, self.reference(name))
        if inspected is None:
            raise NotFound(f"there is no image {self.reference(name)}")
        found = _description(
            inspected["Id"], (inspected.get("Config") or {}).get("Labels"), inspected["Size"], created_ms_of(inspected)
        )
        with self._lock:
            if self._listed is not None:
                self._listed[name] = found
        return found

    def get(self, reference: str) -> DockerImage:
        """The image of a tag or of an image id."""
        name = reference if reference.startswith("sha256:") else self.reference(reference)
        inspected = inspect_image(self._clients, name)
        if inspected is None:
            raise NotFound(f"there is no image {name}")
        return DockerImage(self._clients, inspected)

    def put(self, image: ImageView) -> Descriptor:
        """Take over an image that the engine has already; others are brought by the engine (`Engine.hold`)."""
        if isinstance(image, DockerImage):
            return image.descriptor
        from stapel.docker.loading import load_view

        return self.get(load_view(self._clients, image)).descriptor

    def put_record(self, name: str) -> None:
        """Tag the record image, made where it is not here."""
        record = f"{self._project}:record"
        found = inspect_image(self._clients, record)
        if found is None:
            from stapel.docker.loading import load_image

            config = ImageConfig({"architecture": "amd64", "os": "linux", "config": {"Labels": {RECORD_LABEL: "1"}}})
            image_id = load_image(self._clients, config.with_(rootfs={"type": "layers", "diff_ids": []}))
        else:
            image_id = found["Id"]
        self.name(name, Descriptor(IMAGE_MEDIA_TYPE, image_id, 0))

    def name(self, name: str, image: Descriptor, *, renew: Callable[[], str] | None = None) -> None:
        """Tag an image id."""
        take = first_then(name, renew)

        def tag(client: APIClient) -> None:
            given = take()
            client.tag(image.digest, self._project, given, force=True)
            with self._lock:
                if self._listed is not None:
                    self._listed.pop(given, None)

        trace("image.before-tag")
        self._clients.ask(f"naming image {image.digest}", tag)
        trace("image.after-tag")
        self._on_name(image.digest)

    def delete(self, image: Descriptor) -> None:
        """Remove an image and its names."""
        with engine_errors(f"removing image {image.digest}"):
            self._clients.get().remove_image(image.digest, force=True)
        with self._lock:
            self._listed = None

    def unname(self, name: str) -> None:
        """Remove a tag."""
        with engine_errors(f"removing {self.reference(name)}"):
            self._clients.get().remove_image(self.reference(name), noprune=True)
        with self._lock:
            if self._listed is not None:
                self._listed.pop(name, None)

    def _list(self, prefix: str) -> dict[str, Description]:
        found: dict[str, Description] = {}
        for item in list_images(self._clients, f"{self._project}:{prefix}*"):
            for tag in item.get("RepoTags") or ():
                repository, _, name = tag.rpartition(":")
                if repository == self._project and name.startswith(prefix):
                    found[name] = _description(item["Id"], item.get("Labels"), item["Size"], int(item["Created"]) * 1000)
        return found


def _description(image_id: str, labels: Mapping[str, str] | None, size_bytes: int, created_ms: int) -> Description:
    return Description(
        Descriptor(IMAGE_MEDIA_TYPE, image_id, int(size_bytes)), labels or {}, int(size_bytes), created_ms, image_id
    )


def config_of(inspected: Mapping[str, Any]) -> ImageConfig:
    """The configuration of an image as `docker inspect` tells it, without what only the engine means."""
    document: dict[str, Any] = {
        "architecture": inspected.get("Architecture") or "amd64",
        "os": inspected.get("Os") or "linux",
        "created": inspected.get("Created"),
        "config": {key: value for key, value in (inspected.get("Config") or {}).items() if value not in (None, "", False)},
        "rootfs": {"type": "layers", "diff_ids": list((inspected.get("RootFS") or {}).get("Layers") or ())},
    }
    for key, name in (("Author", "author"), ("Variant", "variant"), ("OsVersion", "os.version")):
        if inspected.get(key):
            document[name] = inspected[key]
    return ImageConfig(document)


def history_of(listed: Sequence[Mapping[str, Any]], layers: int) -> list[dict[str, Any]]:
    """The history of a configuration out of what the engine lists, newest first; [] where that leaves doubts.

    The engine does not say which entries have no layer: they have no size, and an instruction that touches no files.
    """
    empty = [
        not entry.get("Size") and _TOUCHES_NO_FILES.search(entry.get("CreatedBy") or "") is not None for entry in listed
    ]
    if empty.count(False) != layers:
        return []
    history = []
    for entry, is_empty in zip(reversed(listed), reversed(empty), strict=True):
        item: dict[str, Any] = {"created": format_time(int(entry.get("Created") or 0) * 1000)}
        for key, name in (("CreatedBy", "created_by"), ("Comment", "comment")):
            if entry.get(key):
                item[name] = entry[key]
        history.append(item | {"empty_layer": True} if is_empty else item)
    return history


def created_ms_of(inspected: Mapping[str, Any]) -> int:
    """When an image was made, 0 where it does not say."""
    try:
        return int(datetime.fromisoformat(str(inspected["Created"])[:19] + "+00:00").timestamp() * 1000)
    except (KeyError, ValueError):
        return 0


def _extract_layer(saved: BinaryIO, index: int, diff_id: str) -> BinaryIO:
    """A layer out of a `docker save`, verified."""
    import hashlib
    import shutil

    with tarfile.open(fileobj=saved) as archive:
        manifest = archive.extractfile("manifest.json")
        if manifest is None:
            raise StapelError("the Docker Engine saved an image without a manifest.json")
        path = json.load(manifest)[0]["Layers"][index]
        member = archive.getmember(path)
        if member.issym():
            member = archive.getmember(_normalise(path, member.linkname))
        content = archive.extractfile(member)
        if content is None:
            raise StapelError(f"the Docker Engine saved an image without {path}")
        layer = tempfile.TemporaryFile()  # noqa: SIM115 -- the caller closes it
        shutil.copyfileobj(content, layer, 1 << 20)
    layer.seek(0)
    digest = hashlib.file_digest(cast(io.BufferedReader, layer), "sha256").hexdigest()
    if f"sha256:{digest}" != diff_id:
        layer.close()
        raise Broken(f"layer {diff_id} was saved with the digest sha256:{digest}")
    layer.seek(0)
    return cast(BinaryIO, layer)


def _normalise(path: str, link: str) -> str:
    import posixpath

    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
