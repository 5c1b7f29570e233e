"""Images from registries into the engine: pulled by it, with docker's own credentials.

The engine knows which layers it has. Where it cannot reach a registry that we can (it permits plain http to itself alone),
the bytes go through us.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stapel.api import Log
from stapel.docker.client import Clients, engine_errors
from stapel.docker.listing import inspect_image
from stapel.docker.loading import load_view
from stapel.errors import NotFound, StapelError, Unreachable
from stapel.oci.api import ImageView
from stapel.oci.auth import docker_auth
from stapel.oci.reference import parse_reference
from stapel.oci.registry import RegistryImage

if TYPE_CHECKING:
    from docker import APIClient

_NOT_THERE = ("manifest unknown", "not found", "no such image", "repository does not exist")
_UNREACHABLE = ("dial tcp", "no such host", "connection refused", "tls:", "http: server gave")
_PASSING = ("timeout", "i/o", "eof", "reset by peer", "broken pipe", "unexpected http status: 5", "toomanyrequests")


def pull_base(clients: Clients, reference: str, platform: str, docker_config: str | None, log: Log) -> None:
    """Pull an image from outside. `NotFound`, `Unreachable`, `StapelError`."""
    parsed = parse_reference(reference)
    name = parsed.repository_text
    tag = parsed.digest or parsed.tag or "latest"
    log("stderr", f"pulling {reference}\n".encode())
    auth = docker_auth(parsed.registry, docker_config)

    def pull(client: APIClient) -> str:
        return _error_of(client.pull(name, tag=tag, stream=True, decode=True, auth_config=auth, platform=platform or None))

    def once() -> None:
        try:
            with engine_errors(f"pulling {reference}"):
                error = pull(clients.get())
        except Unreachable:
            raise
        except StapelError as refused:  # what goes wrong before the first answer comes as a status
            raise _pull_failure(f"the base image {reference}", str(refused)) from refused
        if error:
            raise _pull_failure(f"the base image {reference}", error)

    clients.retrying(f"pulling {reference}", once)


def bring(clients: Clients, image: ImageView, docker_config: str | None) -> str:
    """Have an image of another store in the engine; its image id. `NotFound`, `Broken`, `Unreachable`."""
    if not isinstance(image, RegistryImage):
        return load_view(clients, image)
    image_id = image.manifest.config.digest
    if inspect_image(clients, image_id) is not None:
        return image_id
    repository = image.store.repository
    client = clients.get()
    with suppress(StapelError):
        with engine_errors("pulling a stage"):
            auth = docker_auth(repository.registry, docker_config)
            answers = client.pull(
                repository.repository_text, tag=image.descriptor.digest, stream=True, decode=True, auth_config=auth
            )
            _error_of(answers)
        if inspect_image(clients, image_id) is not None:
            return image_id
    return load_view(clients, image)


def _error_of(answers: Iterable[Mapping[str, Any]]) -> str:
    errors = [str(answer["error"]) for answer in answers if "error" in answer]
    return errors[-1] if errors else ""


def _pull_failure(what: str, error: str) -> StapelError:
    lower = error.lower()
    passing = any(text in lower for text in _PASSING)
    if passing or any(text in lower for text in _UNREACHABLE):
        hint = "is the registry reachable from the Docker Engine?"
        return Unreachable(f"{what} cannot be pulled: {error}", hint=hint, temporary=passing)
    hint = (
        "check the name; an image that is in no registry must be in the engine (`docker images`); log in by `docker login`"
    )
    if any(text in lower for text in _NOT_THERE):
        return NotFound(f"{what} is not there: {error}", hint=hint)
    return StapelError(f"{what} cannot be pulled: {error}", hint=hint)
