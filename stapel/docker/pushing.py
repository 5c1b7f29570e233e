"""Images of the engine into other stores: pushed by the engine, which knows what the registry has, else uploaded by us.

The engine pushes nothing without a tag, and an image whose last tag is removed goes, even one that is held or that a
registry's digest names. So tags for pushing are few, written over again, and taken off the last image at the end.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from sys import audit as trace
from typing import TYPE_CHECKING, Any

from stapel.api import Cancel
from stapel.docker.client import Clients
from stapel.docker.images import DockerImages
from stapel.docker.ledger import Ledger
from stapel.docker.leftovers import remove_tags
from stapel.errors import Cancelled, StapelError
from stapel.oci.api import Descriptor, ImageStore
from stapel.oci.auth import docker_auth
from stapel.oci.registry import RegistryStore

if TYPE_CHECKING:
    from docker import APIClient

_ATTEMPTS = 3


class Pushes:
    """Puts images of the engine into other stores. Thread-safe."""

    def __init__(self, clients: Clients, ledger: Ledger, docker_config: str | None, warn: Callable[[str], None]) -> None:
        self._clients = clients
        self._ledger = ledger
        self._docker_config = docker_config
        self._warn = warn
        self._lock = threading.Lock()
        self._idle: dict[str, list[str]] = {}  # tags of each repository that are in no thread's hands

    def put(self, image_id: str, into: ImageStore, cancel: Cancel) -> Descriptor:
        """Put an image into a store, by digest. `Unreachable`, `StapelError`, `Cancelled`."""
        if isinstance(into, RegistryStore):
            why = "others use its tags"
            for _ in range(_ATTEMPTS):
                found = self._push(image_id, into, cancel)
                if isinstance(found, Descriptor):
                    self._ledger.settle("image", image_id)
                    return found
                why = found or why
                if found:
                    break
            self._warn(f"the Docker Engine could not push to {into.address} ({why}); conveyor uploads the layers itself")
        descriptor = into.put(DockerImages("", self._clients).get(image_id))
        self._ledger.settle("image", image_id)
        return descriptor

    def close(self) -> None:
        """Take the tags off the images."""
        with self._lock:
            tags = [f"{name}:{tag}" for name, tags in self._idle.items() for tag in tags]
            self._idle.clear()
        with suppress(StapelError):
            remove_tags(self._clients, self._ledger, tags)
            for tag in tags:
                self._ledger.settle("tag", tag)

    def _push(self, image_id: str, into: RegistryStore, cancel: Cancel) -> Descriptor | str:
        """What was pushed, or why not; the empty text: somebody else has used the tag meanwhile."""
        name = into.repository.repository_text
        with self._tag(image_id, name) as tag:

            def push(client: APIClient) -> tuple[str, str]:
                auth = docker_auth(into.repository.registry, self._docker_config)
                return _pushed(client.push(name, tag=tag, stream=True, decode=True, auth_config=auth), cancel)

            digest, error = self._clients.ask(f"pushing to {name}", push)
            trace("push.after-push")
        if error:
            return error
        view = into.get(digest)
        return view.descriptor if view.manifest.config.digest == image_id else ""

    @contextmanager
    def _tag(self, image_id: str, name: str) -> Iterator[str]:
        with self._lock:
            idle = self._idle.setdefault(name, [])
            tag = idle.pop() if idle else f"upload-{secrets.token_hex(1)}"
        self._ledger.note("tag", f"{name}:{tag}")
        try:
            trace("push.before-tag")
            self._clients.ask(f"pushing to {name}", lambda client: client.tag(image_id, name, tag, force=True))
            trace("push.after-tag")
            yield tag
        finally:
            with self._lock:
                self._idle.setdefault(name, []).append(tag)


def _pushed(answers: Iterable[Mapping[str, Any]], cancel: Cancel) -> tuple[str, str]:
    """The digest of what was pushed, or why nothing was."""
    digest = ""
    for answer in answers:
        if cancel.is_set():
            raise Cancelled
        if "error" in answer:
            return "", str(answer["error"])
        digest = (answer.get("aux") or {}).get("Digest") or digest
    return digest, "" if digest else "it did not say what it pushed"
