"""An image given away: what it is called elsewhere, without what only conveyor reads of it."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Literal, TypeAlias, cast

from msgspec import Struct

from conveyor.errors import UsageError
from stapel.errors import BadReference, StapelError
from stapel.oci.api import Descriptor, ImageConfig, ImageStore, ImageView
from stapel.oci.archives import write_docker_archive, write_oci_archive
from stapel.oci.layout import LayoutStore
from stapel.oci.reference import DEFAULT_TAG, parse_reference

OWN_LABELS = "dev.conveyor."
FORMS = "docker-daemon:REF, docker-archive:FILE[:REF], oci:DIR[:NAME], oci-archive:FILE[:NAME] or docker://HOST/REPO[:TAG]"

Place: TypeAlias = Literal["docker-daemon", "docker-archive", "oci", "oci-archive", "docker"]


class Target(Struct, frozen=True):
    """Where an image goes. `repository` and `name`: what it is called there; "" is not at all (archives only)."""

    place: Place
    path: Path | None = None
    repository: str = ""
    name: str = ""


class Unlabelled:
    """A view of an image whose labels of our own are left out; everything else is as it was, times included."""

    def __init__(self, image: ImageView) -> None:
        self._image = image
        run = dict(image.config.run)
        labels = {key: value for key, value in image.config.labels.items() if not key.startswith(OWN_LABELS)}
        run.pop("Labels", None)
        self._config = image.config.with_(run=run | ({"Labels": labels} if labels else {}))

    @property
    def descriptor(self) -> Descriptor:
        """That of the image: messages name it."""
        return self._image.descriptor

    @property
    def config(self) -> ImageConfig:
        """The configuration without the labels."""
        return self._config

    def layers(self) -> tuple[Descriptor, ...]:
        """The layers as they are."""
        return self._image.layers()

    def open(self, blob: Descriptor) -> BinaryIO:
        """The bytes of a layer."""
        return self._image.open(blob)


def parse_target(text: str) -> Target:
    """Read what `--to` says. `UsageError`."""
    place, colon, rest = text.partition(":")
    if not colon or not rest:
        raise _no_target(text)
    try:
        if place == "docker" and rest.startswith("//"):
            return _named("docker", rest.removeprefix("//"))
        if place == "docker-daemon":
            return _named("docker-daemon", rest)
        path, _, name = rest.partition(":")
        if place == "docker-archive" and path:
            named = _named("docker-archive", name) if name else Target("docker-archive")
            return Target("docker-archive", Path(path), named.repository, named.name)
    except BadReference as error:
        raise UsageError(f"--to {text}: {error}", hint=error.hint) from error
    if place == "oci" and path:
        return Target("oci", Path(path), name=name or DEFAULT_TAG)
    if place == "oci-archive" and path:
        return Target("oci-archive", Path(path), name=name)
    raise _no_target(text)


def export_image(image: ImageView, target: Target, store: ImageStore | None = None) -> None:
    """Give an image to a file or a layout, or to `store` where the target is one. `Unreachable`, `StapelError`.

    A file is filled aside and renamed; in a store the image is complete before it is named.
    """
    if store is None and target.path is not None and target.place == "oci":
        store = LayoutStore(target.path)
    if store is not None:
        store.name(target.name, store.put(image))
    else:
        _write_archive(image, target)


def _write_archive(image: ImageView, target: Target) -> None:
    assert target.path is not None
    try:
        handle, aside = tempfile.mkstemp(prefix=f".{target.path.name}.", dir=target.path.absolute().parent)
    except OSError as error:
        raise StapelError(f"{target.path} cannot be written: {error.strerror}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            out = cast(BinaryIO, file)
            if target.place == "docker-archive":
                write_docker_archive(image, out, [f"{target.repository}:{target.name}"] if target.name else [])
            else:
                write_oci_archive(image, out, target.name)
            os.fchmod(handle, 0o666 & ~_umask())
        Path(aside).replace(target.path)
    except OSError as error:
        raise StapelError(f"{target.path} cannot be written: {error.strerror}") from error
    finally:
        with suppress(FileNotFoundError):
            Path(aside).unlink()


def _named(place: Place, reference: str) -> Target:
    parsed = parse_reference(reference)
    if parsed.digest:
        raise BadReference(f"{reference} has a digest, and an image is given a name", hint="REPOSITORY[:TAG]")
    repository = reference.removesuffix(f":{parsed.tag}") if parsed.tag else reference
    return Target(place, repository=repository, name=parsed.tag or DEFAULT_TAG)


def _no_target(text: str) -> UsageError:
    return UsageError(f"--to {text} is no place for an image", hint=FORMS)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
