"""The one question that a build asks where nothing is to do: which images of a repository are here, with their labels.

It is asked over the engine's socket with the standard library: importing the SDK costs more than all else that such a build
does. Engines that are reached in another way are asked by the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stapel.docker.asking import ask
from stapel.docker.client import Clients
from stapel.docker.endpoint import socket_path
from stapel.errors import StapelError, Unreachable

_TIMEOUT_S = 60.0


def list_images(clients: Clients, reference: str) -> list[dict[str, Any]]:
    """The engine's list of images by a pattern of their names (`repository:tag*`). `Unreachable`, `StapelError`."""
    path = socket_path(clients.endpoint)
    if path is None:
        return clients.ask("listing images", lambda client: list(client.images(filters={"reference": [reference]})))
    listed = _ask(clients, path, "listing images", "/images/json?filters=" + _quote(json.dumps({"reference": [reference]})))
    if not isinstance(listed, list):
        raise StapelError(f"the Docker Engine at {clients.endpoint} answered with something that is no list of images")
    return listed


def inspect_image(clients: Clients, name: str) -> Mapping[str, Any] | None:
    """What the engine says of one image, None where it has none."""
    path = socket_path(clients.endpoint)
    if path is None:
        from stapel.errors import NotFound

        def inspect(client: Any) -> Mapping[str, Any]:  # noqa: ANN401 -- the SDK has no types
            found: Mapping[str, Any] = client.inspect_image(name)
            return found

        try:
            return clients.ask(f"looking at image {name}", inspect)
        except NotFound:
            return None
    answer = _ask(clients, path, f"looking at image {name}", f"/images/{_quote(name)}/json", missing_is_none=True)
    return answer if isinstance(answer, dict) else None


def list_history(clients: Clients, name: str) -> list[dict[str, Any]]:
    """The history of an image, newest first."""
    path = socket_path(clients.endpoint)
    if path is None:
        doing = f"reading the history of {name}"
        return clients.ask(doing, lambda client: list(client.history(name)))  # type: ignore[no-untyped-call]
    listed = _ask(clients, path, f"reading the history of {name}", f"/images/{_quote(name)}/history")
    return listed if isinstance(listed, list) else []


def ask_version(clients: Clients) -> Mapping[str, Any]:
    """The engine's version document: Os, Arch, Version. `Unreachable`."""
    path = socket_path(clients.endpoint)
    if path is None:
        document: Mapping[str, Any] = clients.ask("asking for the version", lambda client: client.version())
        return document
    answer = _ask(clients, path, "asking for the version", "/version")
    assert isinstance(answer, dict)
    return answer


def _quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="/:@")


def _ask(clients: Clients, path: str, doing: str, request: str, *, missing_is_none: bool = False) -> Any:  # noqa: ANN401 -- JSON
    status, answer = clients.retrying(doing, lambda: _get(path, request))
    if status == 404 and missing_is_none:
        return None
    if status != 200:
        raise StapelError(f"the Docker Engine answered {request.partition('?')[0]} with {status}: {str(answer)[:200]}")
    return answer


def _get(path: str, request: str) -> tuple[int, Any]:
    try:
        status, body = ask(path, request, _TIMEOUT_S)
        return status, json.loads(body)  # half an answer is no JSON
    except (OSError, ValueError) as error:
        may_pass = not isinstance(error, PermissionError)
        hint = "start it, or name it by DOCKER_HOST"
        if not may_pass:
            hint = "you may not use its socket: join the group `docker`, or be root"
        raise Unreachable(f"the Docker Engine at {path} does not answer: {error}", hint=hint, temporary=may_pass) from error
