"""The documents of a configuration that is known to be right, walked field by field beside their tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Struct

from conveyor.config.documents import split_documents
from conveyor.config.fields import merged_entries
from conveyor.config.findings import Findings
from conveyor.config.nodes import Node, compose
from conveyor.config.source import read_source
from conveyor.config.tables.documents import FILES
from conveyor.config.tables.field import Field, Table
from conveyor.errors import Place

_LONGEST_LOOK = 10_000
Entries = Mapping[str, tuple[Node, Node]]


class Section(Struct, frozen=True):
    """One document: its kind (a word of `FILES`), and its fields by name as nodes of key and value."""

    kind: str
    entries: Entries
    table: Table


class Visit(Struct, frozen=True):
    """One field that is given: `path` without the document's kind, `git.add`."""

    path: str
    name: str
    key: Node
    value: Node
    field: Field


class Text:
    """A configuration as documents and places."""

    def __init__(self, content: bytes, file: str) -> None:
        """Of the bytes that `parse_project` has taken without an error."""
        self._source = read_source(content, file)
        self._findings = Findings(self._source)

    def sections(self) -> Iterator[Section]:
        """The documents whose kind is known, in order."""
        for document in split_documents(self._source.text):
            entries = self.entries(compose(document))
            for kind, known in FILES["werf.yaml"].items():
                if known.known_by in entries:
                    yield Section(kind, entries, known.table)
                    break

    def entries(self, node: Node) -> Entries:
        """The fields of a map, merge keys resolved."""
        return merged_entries(self._findings, node)

    def map_in(self, entries: Entries, name: str) -> Entries:
        """The fields of the map that a field holds; none where it is absent or no map."""
        return self.entries(entries[name][1]) if name in entries and entries[name][1].kind == "map" else {}

    def place(self, node: Node) -> Place:
        """Where a node stands."""
        return self._findings.place(node)

    def next_line(self, node: Node) -> str:
        """The line below that in which a node begins, as it is written."""
        lines = self._source.text[node.offset : node.offset + _LONGEST_LOOK].split("\n", 2)
        return lines[1] if len(lines) > 1 else ""

    def visit(self, section: Section) -> Iterator[Visit]:
        """Every field of a document that has a value, at any depth."""
        yield from self._visit("", section.entries, section.table)

    def _visit(self, prefix: str, entries: Entries, table: Table) -> Iterator[Visit]:
        for name, (key, value) in entries.items():
            field = table.get(name)
            if field is None:
                continue
            path = f"{prefix}{name}"
            yield Visit(path, name, key, value, field)
            for node in [value] if value.kind == "map" else value.items:
                if field.table and node.kind == "map":
                    yield from self._visit(f"{path}.", self.entries(node), field.table)

    def scalars(self, node: Node) -> Iterator[Node]:
        """The texts in a node, at any depth; keys are none."""
        if node.kind == "scalar":
            yield node
        for item in node.items:
            yield from self.scalars(item)
        if node.kind == "map":
            for _, value in self.entries(node).values():
                yield from self.scalars(value)


def maps_in(entries: Entries, name: str) -> list[Node]:
    """The maps of the list that a field holds; none where it is absent or no list."""
    return [item for item in entries[name][1].items if item.kind == "map"] if name in entries else []
