"""Where the Docker Engine is: DOCKER_HOST, else the current context of Docker's configuration, else the usual socket."""

from __future__ import annotations

import os
from pathlib import Path

DEFAULT = "unix:///var/run/docker.sock"


def find_endpoint(docker_config: str | None = None) -> str:
    """The engine's address, `unix:///...`, `tcp://...` or `ssh://...`."""
    host = os.environ.get("DOCKER_HOST")
    if host:
        return host
    directory = Path(docker_config or os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
    return _context_endpoint(directory) or DEFAULT


def socket_path(endpoint: str) -> str | None:
    """The path of a unix socket, None for an engine that is reached in another way."""
    return endpoint.removeprefix("unix://") if endpoint.startswith("unix://") else None


def _context_endpoint(directory: Path) -> str | None:
    try:
        text = directory.joinpath("config.json").read_bytes()
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
        meta = directory / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
        host = json.loads(meta.read_bytes())["Endpoints"]["docker"]["Host"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return host if isinstance(host, str) else None
