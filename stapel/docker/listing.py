"""The one question that a build asks where nothing is to do: which images of a repository are here, with their labels.

It is asked over the engine's socket with the standard library: importing the SDK costs more than all else that such a build
does. Engines that are reached in another way are asked by the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stapel.docker.asking import ask
from stapel.docker.client import Clients, engine_errors
from stapel.docker.endpoint import socket_path
from stapel.errors import StapelError, Unreachable

_TIMEOUT_S = 60.0


def list_images(clients: Clients, reference: str) -> list[dict[str, Any]]:
    """The engine's list of images by a pattern of their names (`repository:tag*`). `Unreachable`, `StapelError`."""
    path = socket_path(clients.endpoint)
    if path is None:
        with engine_errors("listing images"):
            return list(clients.get().images(filters={"reference": [reference]}))
    listed = _ask(path, "/images/json?filters=" + _quote(json.dumps({"reference": [reference]})))
    if not isinstance(listed, list):
        raise StapelError(f"the Docker Engine at {clients.endpoint} answered with something that is no list of images")
    return listed


def inspect_image(clients: Clients, name: str) -> Mapping[str, Any] | None:
    """What the engine says of one image, None where it has none."""
    path = socket_path(clients.endpoint)
    if path is None:
        from stapel.errors import NotFound

        try:
            with engine_errors(f"looking at image {name}"):
                found: Mapping[str, Any] = clients.get().inspect_image(name)  # type: ignore[no-untyped-call]
                return found
        except NotFound:
            return None
    answer = _ask(path, f"/images/{_quote(name)}/json", missing_is_none=True)
    return answer if isinstance(answer, dict) else None


def list_history(clients: Clients, name: str) -> list[dict[str, Any]]:
    """The history of an image, newest first."""
    path = socket_path(clients.endpoint)
    if path is None:
        with engine_errors(f"reading the history of {name}"):
            return list(clients.get().history(name))  # type: ignore[no-untyped-call]
    listed = _ask(path, f"/images/{_quote(name)}/history")
    return listed if isinstance(listed, list) else []


def ask_version(clients: Clients) -> Mapping[str, Any]:
    """The engine's version document: Os, Arch, Version. `Unreachable`."""
    path = socket_path(clients.endpoint)
    if path is None:
        with engine_errors("asking for the version"):
            document: Mapping[str, Any] = clients.get().version()
            return document
    answer = _ask(path, "/version")
    assert isinstance(answer, dict)
    return answer


def _quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="/:@")


def _ask(path: str, request: str, *, missing_is_none: bool = False) -> Any:  # noqa: ANN401 -- JSON
    try:
        status, body = ask(path, request, _TIMEOUT_S)
        if status == 404 and missing_is_none:
            return None
        if status != 200:
            where = request.partition("?")[0]
            raise StapelError(f"the Docker Engine answered {where} with {status}: {body[:200]!r}")
        return json.loads(body)
    except (OSError, ValueError) as error:  # half an answer is no JSON
        hint = "start it, or name it by DOCKER_HOST"
        if isinstance(error, PermissionError):
            hint = "you may not use its socket: join the group `docker`, or be root"
        raise Unreachable(f"the Docker Engine at {path} does not answer: {error}", hint=hint) from error
