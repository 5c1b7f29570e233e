"""A secret of an image: where its value comes from. The value itself is never part of a configuration that is passed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from conveyor.errors import Place

SecretKind = Literal["env", "src", "value"]


@dataclass(frozen=True, slots=True)
class Secret:
    """A file `/run/secrets/<id>`: the value of a variable, the content of a file, or a text of the configuration."""

    place: Place
    id: str
    kind: SecretKind
    origin: str = field(repr=False)  # name of the variable, path (relative to the project directory), or the value
