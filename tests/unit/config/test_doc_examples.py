"""Every kind of document and every field has an example in the documentation, and every example is right."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from conveyor.cli.config import command as config
from conveyor.config.explain import paths_of_fields
from conveyor.config.tables.documents import FILES, all_documents
from conveyor.config.tables.field import Field, Table
from tests.doc_examples import DOCS, Example, read_examples
from tests.unit.gitrepo.conftest import own_settings as own_settings
from tests.unit.gitrepo.repositories import make_place

EXAMPLES = read_examples()
INDEX = DOCS / "configuration.md"
WITHOUT_SERVERS = [example for example in EXAMPLES if "werf-includes.yaml" not in example.files]
VARIABLES = {"GREETING": "hello"}  # those that templates of examples read

Use = tuple[str, Field, str]  # path, field, the text that it is given ("": something else)


def uses(example: Example) -> Iterator[Use]:
    """The fields that an example shows."""
    for file, kinds in FILES.items():
        for document in yaml.load_all(example.files.get(file, ""), yaml.BaseLoader) if is_plain(example, file) else ():
            word = next(word for word, kind in kinds.items() if not kind.known_by or kind.known_by in document)
            yield from uses_of(word, document, kinds[word].table)


def is_plain(example: Example, file: str) -> bool:
    return "{{" not in example.files.get(file, "")


def uses_of(path: str, values: Mapping[str, object], table: Table) -> Iterator[Use]:
    for name, value in values.items():
        field = table[name]
        for one in value if isinstance(value, list) else [value]:
            yield f"{path}.{name}", field, one if isinstance(one, str) else ""
            if field.table and isinstance(one, Mapping):
                yield from uses_of(f"{path}.{name}", one, field.table)


USES = [use for example in EXAMPLES for use in uses(example)]


def test_every_field_is_in_an_example():
    """A field that documents of several kinds have is one, and is shown in one of them."""
    shown = {path for path, _, _ in USES}
    elsewhere = {(path.partition(".")[0], id(field)) for path, field, _ in USES}
    missing = [
        path
        for path, field in paths_of_fields().items()
        if path not in shown and not any(kind != path.partition(".")[0] and found == id(field) for kind, found in elsewhere)
    ]
    assert missing == []


def test_every_choice_is_in_an_example():
    given = {(id(field), text) for _, field, text in USES}
    fields = {id(field): (path, field) for path, field in paths_of_fields().items()}
    wanted = {(key, choice): path for key, (path, field) in fields.items() for choice in field.choices}
    assert [f"{path}: {choice}" for (key, choice), path in wanted.items() if (key, choice) not in given] == []


# Where the index has the directives of a kind of document, and a row of it: directives, then pages.
HEADINGS = {
    "project": "The project document",
    "dockerfile": "Images with a Dockerfile",
    "image": "Images and artifacts",
    "artifact": "Images and artifacts",
    "giterminism": "Other files",
    "includes": "Other files",
}
_ROW = re.compile(r"^\| (?P<names>`[^|]+) \| (?P<pages>[^|]+) \|$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def index() -> dict[tuple[str, str], list[str]]:
    """(kind of document, directive) -> its pages."""
    found = {}
    text = INDEX.read_text(encoding="utf-8")
    for word, heading in HEADINGS.items():
        section = text.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
        for row in _ROW.finditer(section):
            file = re.search(r"of `(werf-[a-z]+\.yaml)`", row["names"])
            if file is None or word in FILES[file[1]]:
                for name in re.findall(r"`([A-Za-z]+)`", row["names"]):
                    found[word, name] = _LINK.findall(row["pages"])
    return found


def test_every_kind_and_directive_has_a_page_with_an_example_of_it():
    pages = index()
    shown = {(example.page, id(field)) for example in EXAMPLES for _, field, _ in uses(example)}
    for word, document in all_documents().items():
        for name, field in document.table.items():
            found = pages.get((word, name), [])
            assert any((page, id(field)) in shown for page in found), f"{word}.{name} is in no example of its pages: {found}"


@pytest.mark.parametrize("example", WITHOUT_SERVERS, ids=lambda example: example.name)
def test_an_example_is_right_and_nothing_in_it_is_without_effect(example: Example, tmp_path: Path, monkeypatch):
    """What it says of itself that it is old is let pass."""
    place = make_place(tmp_path / "project")
    for path, text in example.files.items():
        place.write(path, text)
    place.commit()
    place.write("local/name.txt", "of a file that is not committed")
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    ran = CliRunner().invoke(config, ["lint", "--dir", str(place.path), "--home-dir", str(tmp_path / "home")])
    assert ran.exit_code == 0, ran.output
    notes = [line for line in ran.stdout.splitlines() if not line.startswith(" ") and "deprecated" not in line]
    assert notes == []
