"""Where the Docker Engine is: DOCKER_HOST, else the current context of Docker's configuration, else the usual socket.

Imports nothing that it does not need: a build where nothing is to do looks here too.
"""

from __future__ import annotations

import os

DEFAULT = "unix:///var/run/docker.sock"


def find_endpoint(docker_config: str | None = None) -> str:
    """The engine's address, `unix:///...`, `tcp://...` or `ssh://...`."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return host
    directory = os.path.expanduser(docker_config or os.environ.get("DOCKER_CONFIG") or "~/.docker")
    return _context_endpoint(directory) or DEFAULT


def socket_path(endpoint: str) -> str | None:
    """The path of a unix socket, None for an engine that is reached in another way."""
    return endpoint.removeprefix("unix://") if endpoint.startswith("unix://") else None


def _context_endpoint(directory: str) -> str | None:
    try:
        with open(os.path.join(directory, "config.json"), "rb") as file:
            text = file.read()
    except OSError:
        return None
    if b"currentContext" not in text and not os.environ.get("DOCKER_CONTEXT"):
        return None
    import hashlib
    import json

    try:
        name = os.environ.get("DOCKER_CONTEXT") or json.loads(text).get("currentContext") or "default"
        if name == "default":
            return None
        context = hashlib.sha256(name.encode()).hexdigest()
        with open(os.path.join(directory, "contexts", "meta", context, "meta.json"), "rb") as file:
            host = json.load(file)["Endpoints"]["docker"]["Host"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return host if isinstance(host, str) else None
