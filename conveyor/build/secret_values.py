"""The values of secrets: read when the first stage asks for them, and known to the mask of everything that is logged."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from conveyor.config.models import Image
from conveyor.errors import ConfigError, Problem
from stapel.mask import Mask

if TYPE_CHECKING:
    from conveyor.config.secret import Secret

MOST_BYTES = 512_000  # of one value, as elsewhere


class SecretValues:
    """Those of the images of a project. Thread-safe; each value is read once a run.

    Paths are relative to `directory`; a leading `~` is the home of who builds.
    """

    def __init__(self, images: Iterable[Image], directory: Path, environment: Mapping[str, str]) -> None:
        self._secrets = tuple(dict.fromkeys(secret for image in images for secret in image.secrets))
        self._directory = directory
        self._environment = environment
        self._lock = threading.Lock()
        self._read: dict[Secret, bytes | Problem] | None = None
        self._mask: Mask | None = None

    def of(self, image: Image) -> dict[str, bytes]:
        """The values of an image by id. `ConfigError` with all of this image that cannot be had."""
        read = self._values()
        found = {secret.id: read[secret] for secret in image.secrets}
        problems = [value for value in found.values() if isinstance(value, Problem)]
        if problems:
            raise ConfigError(problems)
        return {name: value for name, value in found.items() if isinstance(value, bytes)}

    def mask(self) -> Mask:
        """The mask of all values of all images that can be had: files go from image to image."""
        values = self._values().values()
        with self._lock:
            if self._mask is None:
                self._mask = Mask(value for value in values if isinstance(value, bytes))
            return self._mask

    def _values(self) -> Mapping[Secret, bytes | Problem]:
        with self._lock:
            if self._read is None:
                self._read = {secret: self._find(secret) for secret in self._secrets}
            return self._read

    def _find(self, secret: Secret) -> bytes | Problem:
        if secret.kind == "value":
            return secret.origin.encode("utf-8", "surrogateescape")
        if secret.kind == "env":
            value = self._environment.get(secret.origin)
            if value is None:
                return Problem(
                    secret.place, f"the secret `{secret.id}`: the variable {secret.origin} is not set", "export it"
                )
            return os.fsencode(value)
        path = self._directory / Path(secret.origin).expanduser()
        try:
            with path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            return Problem(secret.place, f"the secret `{secret.id}`: {path} cannot be read: {error.strerror}")
        if len(content) > MOST_BYTES:
            return Problem(secret.place, f"the secret `{secret.id}`: {path} has more than {MOST_BYTES} bytes")
        return content
