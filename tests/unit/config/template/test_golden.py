"""What Go's templates give, 10,700 times: the same text, or the same error in the same words at the same place.

All results are those of a Go program (text/template of Go 1.26, sprig 3.2.3): `snippets` one by one for what a template can
hold, `matrix` every function with arguments of 20 kinds, `programs` random templates, damaged ones, and random formats.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from conveyor.config.template.api import FilesObject, FunctionError, TemplateError, render
from conveyor.config.template.values import AnyMap, TypedList, Value
from conveyor.config.template.yaml_values import decode_yaml

HERE = Path(__file__).parent


class SampleFiles:
    def get(self, path: str) -> str:
        if path == "missing":
            raise FunctionError("not found")
        return f"content of {path}\n"

    def exists(self, path: str) -> bool:
        return path != "missing"

    def is_dir(self, path: str) -> bool:
        return False

    def glob(self, pattern: str) -> dict[str, str]:
        return {} if pattern == "none" else {"a/x": "A", "b/x": "B"}


def read(name: str) -> Value:
    return json.loads(gzip.decompress((HERE / f"{name}.json.gz").read_bytes()))


SNIPPETS = read("snippets")
MATRIX = read("matrix")


@cache
def from_yaml(text: str) -> Value:
    return decode_yaml(text)


def value_of(data: Value) -> Value:
    if isinstance(data, dict):
        if "$yaml" in data:
            return value_of(from_yaml(data["$yaml"]))
        if "$any" in data:
            return AnyMap((key, value_of(value)) for key, value in data["$any"].items())
        if "$strings" in data:
            return TypedList(data["$strings"])
        return {key: value_of(value) for key, value in data.items()}
    if isinstance(data, AnyMap):
        return AnyMap((key, value_of(value)) for key, value in data.items())
    return [value_of(value) for value in data] if isinstance(data, list) else data


def rendered(source: str, data: Value, templates: Mapping[str, str] | None = None) -> dict[str, str]:
    root = value_of(data)
    if isinstance(root, dict):
        root["Files"] = FilesObject(SampleFiles())
    try:
        text = render(source, templates=templates or {}, root=root, read_environment=lambda name: None)
    except TemplateError as error:
        return {"error": str(error)}
    return {"out": re.sub("[\udc80-\udcff]", "\ufffd", text)}  # as Go's JSON shows bytes that are no UTF-8


def different(cases: Iterator[tuple[str, Value, dict[str, str]]]) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    results = ((source, expected, rendered(source, data)) for source, data, expected in cases)
    return [case for case in results if case[1] != case[2] and not equal_in_another_order(*case)]


def equal_in_another_order(source: str, expected: dict[str, str], result: dict[str, str]) -> bool:
    """Go gives keys and values in an order that changes from run to run, conveyor sorts them by key."""
    return source in ("{{keys .y}}", "{{values .y}}") and sorted(expected["out"]) == sorted(result["out"])


def cases_of(name: str) -> Iterator[tuple[str, Value, dict[str, str]]]:
    kind = {"values": "out", "errors": "error"}[name]
    return ((source, SNIPPETS["default_data"], {kind: text}) for source, text in MATRIX[name])


@pytest.mark.parametrize("category", sorted({snippet["category"] for snippet in SNIPPETS["snippets"]}))
def test_snippets_give_what_go_gives(category: str) -> None:
    cases = (
        (snippet["snippet"], snippet.get("data", SNIPPETS["default_data"]), snippet["go"])
        for snippet in SNIPPETS["snippets"]
        if snippet["category"] == category
    )
    assert different(cases) == []


@pytest.mark.parametrize("name", ["values", "errors"])
def test_functions_of_all_kinds_of_arguments_give_what_go_gives(name: str) -> None:
    assert different(cases_of(name)) == []


def test_random_templates_give_what_go_gives() -> None:
    programs = read("programs")
    results = [
        (source, expected, rendered(source, programs["data"], *templates))
        for source, expected, *templates in programs["programs"]
    ]
    assert [result for result in results if result[1] != result[2]] == []
