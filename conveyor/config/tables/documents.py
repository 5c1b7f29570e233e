"""The kinds of documents of each file, by the word that `config explain` begins with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from conveyor.config.tables.dockerfile import DOCKERFILE
from conveyor.config.tables.field import Table
from conveyor.config.tables.giterminism import GITERMINISM
from conveyor.config.tables.image import ARTIFACT, IMAGE
from conveyor.config.tables.includes import INCLUDES
from conveyor.config.tables.project import PROJECT


class Document(NamedTuple):
    """A kind of document: its fields, and the field that a document of the kind is known by ("" where there is one kind)."""

    meaning: str
    table: Table
    known_by: str = ""


# In the order in which a document is looked at: the first kind whose field is there is its kind.
FILES: Mapping[str, Mapping[str, Document]] = {
    "werf.yaml": {
        "project": Document("the document of the project", PROJECT, "configVersion"),
        "dockerfile": Document("an image that is built from a Dockerfile", DOCKERFILE, "dockerfile"),
        "image": Document("an image", IMAGE, "image"),
        "artifact": Document("an artifact: an image that only gives files to others", ARTIFACT, "artifact"),
    },
    "werf-giterminism.yaml": {
        "giterminism": Document("what may come from outside of the commit", GITERMINISM),
    },
    "werf-includes.yaml": {
        "includes": Document("files of other repositories that the configuration is read from", INCLUDES),
    },
}


def all_documents() -> dict[str, Document]:
    """Every kind of document of every file, by its word."""
    return {word: document for documents in FILES.values() for word, document in documents.items()}
