"""What the sandbox's store has under the names of a project, read from its directory of names.

Imports nothing: a build where nothing is to do asks this and nothing else of the store. It is the sandbox's `ReadNames`
(`stapel.api`).
"""

from __future__ import annotations

import os

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")


def read_names(project: str, *, home_dir: str, docker_config: str | None = None) -> dict[str, str] | None:
    """See `stapel.api.ReadNames`: a name is a link to its image. None also where the directory has another name."""
    del docker_config
    if not _PLAIN.issuperset(project):
        return None
    names: dict[str, str] = {}
    directory = os.path.join(home_dir, "sandbox", "names", project)
    for name in os.listdir(directory):
        if _PLAIN.issuperset(name) and not name.startswith("."):
            names[name] = os.readlink(os.path.join(directory, name))
    return names
