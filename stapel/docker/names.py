"""What the Docker Engine has under the names of a project, by one raw request over its socket.

Imports little and no client: a build where nothing is to do asks this and nothing else of the engine. It is the Docker
engine's `ReadNames` (`stapel.api`).
"""

from __future__ import annotations

import json

from stapel.docker.asking import ask
from stapel.docker.endpoint import find_endpoint, socket_path

_TIMEOUT_S = 10.0
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._/:")


def read_names(project: str, *, home_dir: str, docker_config: str | None = None) -> dict[str, str] | None:
    """See `stapel.api.ReadNames`. None also for an engine that is not reached by a unix socket."""
    del home_dir
    path = socket_path(find_endpoint(docker_config))
    if path is None or not _PLAIN.issuperset(project):
        return None
    status, answer = ask(path, f"/images/json?filters=%7B%22reference%22%3A%5B%22{project}%3A%2A%22%5D%7D", _TIMEOUT_S)
    if status != 200:
        return None
    names: dict[str, str] = {}
    for image in json.loads(answer):
        for tag in image["RepoTags"] or ():
            repository, _, name = tag.rpartition(":")
            if repository == project:
                names[name] = image["Id"]
    return names
