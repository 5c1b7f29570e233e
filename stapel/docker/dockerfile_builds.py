"""Images from Dockerfiles: built by the BuildKit that is in the Docker Engine.

The build is asked for over the engine's API (`POST /build` with `version=2`): no other program is needed, and the client
that would do it is another one on every machine. Its messages become lines of the log.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from contextlib import suppress
from pathlib import Path
from sys import audit as trace
from typing import Any

from stapel.api import Cancel, Log
from stapel.containers import proxies
from stapel.docker.client import Clients, engine_errors
from stapel.docker.containers import Containers
from stapel.docker.held import DockerHeld
from stapel.docker.images import DockerImage
from stapel.docker.listing import inspect_image
from stapel.docker.progress import Progress
from stapel.docker.protobuf import BadMessage
from stapel.docker.session import dockerfile_name, open_session
from stapel.dockerfile import DockerfileBuild
from stapel.errors import CommandFailed, NotFound, StapelError

_EXIT_STATUS = re.compile(r"exit code: (\d+)")
_NOT_PULLED = ("pull access denied", "failed to resolve source metadata", "manifest unknown", "401 Unauthorized")
# What BuildKit puts before the reason.
_PREAMBLE = re.compile(
    r"(?:failed to solve(?: with frontend [\w.]+)?: |failed to create LLB definition: |rpc error: code = \w+ desc = )+"
)


def build_dockerfile(
    clients: Clients,
    containers: Containers,
    build: DockerfileBuild,
    log: Log,
    cancel: Cancel,
    *,
    docker_config: str | None,
    tmp_dir: Path,
) -> DockerHeld:
    """Build an image; it has no name and goes when nobody holds it. See `Engine.build_dockerfile`."""
    cancel.check()
    containers.ledger.begin()
    build_id = secrets.token_hex(16)
    progress = Progress(log)
    forget = cancel.on_cancel(lambda: _cancel(clients, build_id))
    try:
        trace("dockerfile.before-build")
        with open_session(clients, build, docker_config, tmp_dir) as (session_id, server):
            asked = _parameters(build, containers.labels()) | {"buildid": build_id, "session": session_id}
            try:
                with engine_errors("building a Dockerfile"):
                    image_id = _ask(clients, asked, progress)
            except StapelError:
                cancel.check()
                if server.error is not None:
                    raise server.error from None
                raise
        trace("dockerfile.after-build")
    finally:
        forget()
    inspected = inspect_image(clients, image_id)
    if inspected is None:
        raise StapelError(f"the Docker Engine built {image_id} and does not have it")
    config = DockerImage(clients, inspected).config
    return DockerHeld(image_id, config, on_close=containers.remove_image_later)


def _parameters(build: DockerfileBuild, labels: dict[str, str]) -> dict[str, str | list[str]]:
    asked: dict[str, str | list[str]] = {
        "version": "2",
        "remote": "client-session",
        "dockerfile": dockerfile_name(build),
        "target": build.target,
        "platform": build.platform,
        "networkmode": build.network,
        "nocache": "1" if build.is_anew else "",
        "extrahosts": list(build.add_hosts),  # a parameter each
        "buildargs": json.dumps({**proxies(), **build.args}),
        "labels": json.dumps(labels),
    }
    return {name: value for name, value in asked.items() if value}


def _ask(clients: Clients, parameters: dict[str, str | list[str]], progress: Progress) -> str:
    client: Any = clients.make()
    try:
        answer = client._post(client._url("/build"), params=parameters, stream=True)
        client._raise_for_status(answer)
        image_id = error = ""
        for line in answer.iter_lines():
            if not line:
                continue
            said = json.loads(line)
            if said.get("id") == "moby.buildkit.trace":
                with suppress(BadMessage):  # a line of the log less
                    progress.feed(base64.b64decode(said["aux"]))
            elif said.get("id") == "moby.image.id":
                image_id = said["aux"]["ID"]
            elif "error" in said:
                error = str(said["error"])
        if error or not image_id:
            raise _failure(error or "the Docker Engine ended the build and told no image", progress)
        return image_id
    finally:
        client.close()


def _failure(error: str, progress: Progress) -> StapelError:
    status = _EXIT_STATUS.search(error)
    step = next(iter(progress.errors), "")
    reason = _PREAMBLE.sub("", error, count=1) if _PREAMBLE.match(error) else error
    if status is not None:
        return CommandFailed(int(status[1]), hint=f"the instruction that failed: {step}" if step else "")
    hint = "check the name of the image, and `docker login`" if any(text in error for text in _NOT_PULLED) else ""
    kind = NotFound if hint else StapelError
    where = f" at {step}" if step else ""
    return kind(f"BuildKit could not build the Dockerfile{where}: {reason}", hint=hint)


def _cancel(clients: Clients, build_id: str) -> None:
    def ask(client: Any) -> None:  # noqa: ANN401 -- the SDK has no types
        client._post(client._url("/build/cancel"), params={"id": build_id})

    with suppress(StapelError):
        clients.ask("cancelling a build", ask)
