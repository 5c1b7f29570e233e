"""The JSON Schema says what the decoders do, field by field; real files hold to it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from conveyor.config.explain import paths_of_fields
from conveyor.config.giterminism.decode import decode_permissions
from conveyor.config.reading import parse_project
from conveyor.config.schema import make_schema
from conveyor.config.tables.documents import FILES, all_documents
from conveyor.errors import ConfigError

ROOT = Path(__file__).parents[3]
SAMPLES = sorted([*ROOT.glob("samples/*/werf.yaml"), ROOT / "werf.yaml.example"])
VALIDATOR = Draft7Validator(make_schema("werf.yaml"))

# What a decoder says of a value of the wrong type or choice.
PHRASES = (
    "must be text",
    "must be true or false",
    "must be a whole number",
    "must be a map",
    "must be a list of maps",
    "every item of",
    "single string or array of strings expected",
    "must be one of",
    "must be at least",
    "invalid image name",
    "invalid artifact name",
    "`configVersion` must be",
    "list of strings",
    "must be a list of texts",
)
VALUES = {"text": "x", "number": 7, "flag": True, "list": ["x"], "list in list": [["x"]], "map": {"x": "y"}, "maps": [{}]}


@pytest.mark.parametrize("file", FILES)
def test_the_schema_is_one(file):
    Draft7Validator.check_schema(make_schema(file))


@pytest.mark.parametrize("path", SAMPLES, ids=[path.parent.name for path in SAMPLES])
def test_samples_hold_to_the_schema(path):
    documents = [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    assert len(documents) > 1
    for document in documents:
        assert [error.message for error in VALIDATOR.iter_errors(document)] == []


def test_decoders_know_their_fields_by_the_tables():
    """A name that stands in a decoder alone is in no schema, and nobody can ask what it means."""
    found = []
    for path in sorted((ROOT / "conveyor/config").rglob("decode*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Fields":
                known = node.args[3]
                if isinstance(known, ast.Tuple) and isinstance(known.elts[0], ast.Starred):
                    known = known.elts[0].value
                found.append((path.name, isinstance(known, ast.Name) and known.id.isupper()))
    assert len(found) > 15
    assert [name for name, is_table in found if not is_table] == []


def test_every_field_is_described_in_the_documentation():
    text = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    words = set(re.findall(r"[A-Za-z]+", text))
    assert [path for path in PATHS if path.rpartition(".")[2] not in words] == []


def with_value(words: list[str], value: object) -> dict[str, object]:
    """A document with `value` at a path, and else what its kind is known by."""
    kind = all_documents()[words[0]]
    fields = []
    table = kind.table
    for word in words[1:]:
        fields.append(table[word])
        table = table[word].table
    for word, field, above in reversed(list(zip(words[1:], fields, [None, *fields], strict=False))):
        value = {word: value, **({field.needs: "https://example.org/a.git"} if field.needs else {})}
        if above is not None and above.takes == "list of maps":
            value = [value]
    assert isinstance(value, dict)
    known = {"configVersion": 1, "dockerfile": "Dockerfile", "image": "a", "artifact": "a"}[kind.known_by]
    return {kind.known_by: known, **value}


PATHS = [path for path in paths_of_fields() if path.split(".")[0] in FILES["werf.yaml"]]


@pytest.mark.parametrize("path", PATHS)
def test_the_schema_refuses_what_the_decoder_does(path):
    words = path.split(".")
    for kind, value in VALUES.items():
        document = with_value(words, value)
        text = json.dumps(document)
        if words[0] != "project":
            text = "configVersion: 1\nproject: demo\n---\n" + text
        try:
            parse_project(text.encode(), "werf.yaml")
            said = []
        except ConfigError as error:
            said = [problem.message for problem in error.problems]
        by_decoder = [line for line in said if any(phrase in line for phrase in PHRASES)]
        by_schema = [
            error.message
            for error in VALIDATOR.iter_errors(document)
            if words[-1] in error.absolute_path and error.validator not in ("required", "additionalProperties", "oneOf")
        ]
        assert bool(by_decoder) == bool(by_schema), (kind, said, by_schema)


def test_giterminism_files_hold_to_their_schema():
    validator = Draft7Validator(make_schema("werf-giterminism.yaml"))
    good = """
giterminismConfigVersion: 1
config:
  goTemplateRendering: {allowEnvVariables: [/CI_.+/], allowUncommittedFiles: ["*.yaml"]}
  stapel: {allowFromLatest: true, git: {allowBranch: true}, mount: {allowBuildDir: true, allowFromPaths: [/srv]}}
"""
    assert list(validator.iter_errors(yaml.safe_load(good))) == []
    decode_permissions(good.encode(), "werf-giterminism.yaml")
    for path, field in paths_of_fields().items():
        if not path.startswith("giterminism.") or field.table or field.choices:
            continue
        for value in (True, ["x"]):
            document: object = value
            for word in reversed(path.split(".")[1:]):
                document = {word: document}
            document = {"giterminismConfigVersion": 1, **document}
            try:
                decode_permissions(json.dumps(document).encode(), "f")
                good_for_decoder = True
            except ConfigError:
                good_for_decoder = False
            assert validator.is_valid(document) == good_for_decoder, (path, value)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("image: a\nfrom: b\ngitt: []\n", []),
        ("image: a\n", []),
        ("image: a\nfrom: b\nfromImage: c\n", []),
        ("image: a\nfrom: b\ngit: [{add: /}]\n", ["git", 0]),
        ("image: a\nfrom: b\nimport: [{image: c, add: /}]\n", ["import", 0]),
        ("artifact: a\nfrom: b\ndocker: {}\n", []),
        ("configVersion: 1\n", []),
        ("project: a\n", []),
    ],
)
def test_what_is_missing_or_too_much_is_refused(text, path):
    errors = list(VALIDATOR.iter_errors(yaml.safe_load(text)))
    assert [list(error.absolute_path) for error in errors] == [path]
