"""Descriptions of the named images of a registry, kept in the home: they never change, and cost a request each.

A file a stage, by any number of processes: whole or not there. A home that cannot be written to costs the next run requests.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from conveyor.storage.facts import LABEL
from conveyor.storage.memory import write_once
from conveyor.storage.names import StageName
from stapel.oci.api import Description, Descriptor


class Descriptions:
    """The files below a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has(self, digest: str) -> bool:
        """Whether a stage of this digest was ever kept."""
        try:
            return any(name.startswith(f"{digest}-") for name in os.listdir(self._directory / digest[:2]))
        except OSError:
            return False

    def recall(self, name: StageName) -> Description | None:
        """What was kept of a stage; None where that is nothing, or cannot be read."""
        try:
            document = json.loads(self._path(name).read_bytes())
            return Description(
                Descriptor(document["mediaType"], document["digest"], document["size"]),
                {LABEL: document["facts"]},
                document["imageSize"],
                document["createdMs"],
                document["imageId"],
                document["parentSize"],
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, name: StageName, description: Description) -> None:
        """Keep that of a stage, for its label alone; one without is not ours."""
        if LABEL not in description.labels:
            return
        path = self._path(name)
        document = {
            "mediaType": description.descriptor.media_type,
            "digest": description.descriptor.digest,
            "size": description.descriptor.size_bytes,
            "facts": description.labels[LABEL],
            "imageSize": description.size_bytes,
            "createdMs": description.created_ms,
            "imageId": description.image_id,
            "parentSize": description.parent_size_bytes,
        }
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_once(path, json.dumps(document).encode())

    def _path(self, name: StageName) -> Path:
        return self._directory / name.digest[:2] / f"{name}.json"
