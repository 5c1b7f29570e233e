"""JSON Schema of the configuration files, made from the tables of their fields, for editors and CI systems.

It is about the text that templates have rendered: a document at a time. It says less than the decoders: names, types,
choices, what is required and what excludes one another; not what a text must look like.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from conveyor.config.tables.documents import FILES, Document
from conveyor.config.tables.field import Field, Table

Schema = dict[str, object]

_SCALARS = ["string", "number", "boolean"]  # a text field keeps the source text of whatever scalar is written


def make_schema(file: str) -> Schema:
    """The schema of one document of a file; `KeyError` for a file that is not in `FILES`."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": file,
        **_choose(list(FILES[file].values())),
    }


def _choose(documents: list[Document]) -> Schema:
    """The kind is told by one field, so that a mistake is told of this kind and not of all."""
    first, *others = documents
    if not first.known_by:
        return _map(first.table)
    otherwise = _choose(others) if others else {"required": [first.known_by]}
    return {"if": {"required": [first.known_by]}, "then": _map(first.table), "else": otherwise}


def _map(table: Table) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": {name: _value(field) for name, field in table.items()},
        "additionalProperties": False,
    }
    required = [name for name, field in table.items() if field.required]
    if required:
        schema["required"] = required
    needs = {name: [field.needs] for name, field in table.items() if field.needs}
    if needs:
        schema["dependencies"] = needs
    groups = [rule for group, names in _groups(table).items() for rule in _group_rules(group, names)]
    if groups:
        schema["allOf"] = groups
    return schema


def _groups(table: Table) -> Mapping[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, field in table.items():
        if field.group:
            groups.setdefault(field.group, []).append(name)
    return groups


def _group_rules(group: str, names: list[str]) -> list[Schema]:
    if group.startswith("?"):
        return [{"not": {"required": list(pair)}} for pair in combinations(names, 2)]
    return [{"oneOf": [{"required": [name]} for name in names]}]


def _value(field: Field) -> Schema:
    schema = _shape(field)
    description = field.meaning + (f" (default: {field.default})" if field.default else "")
    if field.instead:
        schema["deprecated"] = True
        description += f". Deprecated: write {field.instead}"
    schema["description"] = description
    return schema


def _shape(field: Field) -> Schema:
    null = [] if field.required and field.takes != "names" else ["null"]
    texts: Schema = {"type": "array", "items": {"type": _SCALARS}}
    match field.takes:
        case "text" if field.choices:
            return {"enum": [*field.choices, *([None] if null else [])]}
        case "text":
            return {"type": [*_SCALARS, *null]}
        case "flag":
            return {"type": ["boolean", *null]}
        case "number" if field.choices:
            return {"enum": [*map(int, field.choices), *([None] if null else [])]}
        case "number":
            return {"type": ["integer", *null], **({} if field.least is None else {"minimum": field.least})}
        case "list":
            return {**texts, "type": ["array", *null]}
        case "texts":
            return {**texts, "type": ["array", *_SCALARS, *null]}
        case "names":
            return {"type": ["array", "string", "null"], "items": {"type": "string"}, "minItems": 1}
        case "map of texts":
            return {"type": ["object", *null], "additionalProperties": {"type": [*_SCALARS, "null"]}}
        case "map":
            return {**_map(field.table), "type": ["object", *null]}
        case "list of maps":
            return {"type": ["array", *null], "items": _map(field.table)}
        case "anything":
            return {}
