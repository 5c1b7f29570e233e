"""One field of a configuration file: what it takes and what it means.

The tables of fields are the one source of three readers: decoders (which names are known), the JSON Schema
(`conveyor.config.schema`) and `config explain`. A test holds what decoders accept and what the schema accepts together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Takes = Literal[
    "text",  # any scalar, as it is written
    "flag",
    "number",
    "texts",  # one text, or a list of texts
    "list",  # a list of texts
    "anything",
    "names",  # of images: one text, a list of texts, or null
    "map of texts",
    "map",  # with the fields of `table`
    "list of maps",  # each with the fields of `table`
]


class Field(Struct, frozen=True):
    """A field of a map. `default` is in words for people, "" where there is nothing to say.

    `group`: of the fields of a map that have one group, exactly one is given; with `?` in front at most one.
    `needs`: a field of the same map without which it means nothing.
    `instead`: what to write in place of a deprecated field. `least`: of a number.
    """

    takes: Takes
    meaning: str
    default: str = ""
    required: bool = False
    choices: tuple[str, ...] = ()
    table: Mapping[str, Field] = {}
    group: str = ""
    instead: str = ""
    least: int | None = None
    needs: str = ""


Table = Mapping[str, Field]


def copy_without(table: Table, names: tuple[str, ...]) -> Table:
    """A table without some of its fields."""
    return {name: field for name, field in table.items() if name not in names}
