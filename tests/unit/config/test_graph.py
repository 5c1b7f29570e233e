import pytest

from conveyor.config.checks import find_cycles
from conveyor.config.graph import graph_document, render, render_graph
from conveyor.config.reading import parse_project

TEXT = b"""configVersion: 1
project: demo
---
# about app
image: [app, worker]
from: base
import:
- {image: art, add: /x, after: setup}
- {image: art, add: /y, after: setup}
dependencies:
- {image: other, after: setup}
---  # a comment
image: base
from: alpine
---

artifact: art
from: base

---
image: other
from: alpine"""
PROJECT = parse_project(TEXT, "werf.yaml")
APP = {"from": "base", "import": ["art"], "dependencies": ["other"]}


def test_the_graph_of_all_images():
    assert graph_document(PROJECT, ()) == [
        {"image": "app", "dependsOn": APP},
        {"image": "worker", "dependsOn": APP},
        {"image": "base"},
        {"image": "art", "dependsOn": {"from": "base"}},
        {"image": "other"},
    ]


def test_the_graph_of_some_images_holds_what_they_need():
    assert [item["image"] for item in graph_document(PROJECT, ("art",))] == ["base", "art"]
    nameless = parse_project(b"configVersion: 1\nproject: demo\n---\nimage: ~\nfrom: a\n", "werf.yaml")
    assert graph_document(nameless, ("",)) == [{"image": "~"}]


def test_the_graph_as_a_drawing():
    assert render_graph(PROJECT, ("art",), "dot") == (
        'digraph images {\n  rankdir=LR;\n  "base";\n  "art";\n  "base" -> "art" [label="from"];\n}\n'
    )
    drawn = render_graph(PROJECT, ("app",), "mermaid").splitlines()
    assert drawn[0] == "flowchart LR"
    assert '  i0["app"]' in drawn and "  i1 -- from --> i0" in drawn and "  i2 -- import --> i0" in drawn


def test_names_with_anything_in_them_stay_names_in_a_drawing():
    odd = parse_project(b"configVersion: 1\nproject: demo\n---\nimage: 'a\\\"]; x -> y'\nfrom: b\n", "werf.yaml")
    assert r"""  "a\\\"]; x -> y";""" in render_graph(odd, (), "dot")
    assert '  i0["a#92;#34;#93;#59; x -#62; y"]' in render_graph(odd, (), "mermaid")


def test_render():
    assert render(TEXT, PROJECT, ()) == TEXT
    assert render(TEXT, PROJECT, ("worker",)).startswith(b"# about app\nimage: [app, worker]\n")
    assert render(TEXT, PROJECT, ("other", "art", "app")).count(b"---\n") == 2
    some = render(TEXT, PROJECT, ("art", "other"))
    assert some == b"\nartifact: art\nfrom: base\n\n---\nimage: other\nfrom: alpine\n"


@pytest.mark.parametrize(
    ("needs", "cycles"),
    [
        ({}, []),
        ({"a": "b", "b": ""}, []),
        ({"a": "a"}, ["aa"]),
        ({"a": "b", "b": "c", "c": "a"}, ["abca"]),
        ({"a": "b", "b": "cd", "c": "d", "d": "b"}, ["bdb"]),
        ({"x": "ab", "a": "a", "b": "c", "c": "b"}, ["aa", "bcb"]),
        ({"a": "z"}, []),
        ({"a": "bc", "b": "d", "c": "d", "d": ""}, []),
    ],
)
def test_cycles(needs, cycles):
    found = find_cycles({name: tuple(needed) for name, needed in needs.items()})
    assert sorted("".join(cycle) for cycle in found) == cycles


def test_long_chains_and_cycles_need_no_recursion():
    chain = {str(number): (str(number + 1),) for number in range(20_000)}
    assert list(find_cycles(chain)) == []
    (cycle,) = find_cycles({**chain, "20000": ("0",)})
    assert len(cycle) == 20_002
