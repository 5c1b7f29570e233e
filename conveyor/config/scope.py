"""What a document must know of the others while it is read."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct

from conveyor.config.findings import Findings
from conveyor.config.giterminism.api import Refusals
from conveyor.config.nodes import Node
from conveyor.errors import Place

if TYPE_CHECKING:
    from stapel.image_spec import ImageSpec


class Scope(Struct, frozen=True):
    """All images of the file by name, and the defaults of `build`.

    `complete` is false where a document could not be read: then nobody can say that an image does not exist. `refusals` is
    asked about what does not come from the commit.
    """

    findings: Findings
    names: Mapping[str, Place]
    complete: bool
    cache_version: str
    platform: str
    refusals: Refusals
    image_spec: ImageSpec | None = None
    staged: bool = False
    platforms: tuple[str, ...] = ()

    def require_image(self, node: Node, name: str) -> str:
        """`name`, noted where no image of the project has it."""
        if not name:
            self.findings.add(node, "the name of an image is missing")
        elif name not in self.names and self.complete:
            others = ", ".join(islice(filter(None, self.names), 10)) or "none"
            hint = self.findings.suggest(name, filter(None, self.names), f"images of the project: {others}")
            self.findings.add(node, f'image "{name}" not found!', hint)
        return name
