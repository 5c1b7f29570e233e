"""Files that are made to hurt end in a clear error, or are read; a file that is merely large is read."""

import gc

import pytest

from conveyor.config import nodes
from conveyor.config.reading import parse_project
from conveyor.errors import ConfigError, Place, Problem, printable

HEAD = "configVersion: 1\nproject: demo\n---\n"
IMAGE = HEAD + "image: app\nfrom: alpine:3\n"

LARGE = {
    "a script of 10 MB": (IMAGE + "shell:\n  install: |\n" + "    echo one line of a script\n" * 350_000, 1),
    "a line of 10 MB": (IMAGE + "shell:\n  install: " + "a" * 10_000_000 + "\n", 1),
    "a million brackets in a text": (IMAGE + "shell: {install: '" + "[" * 1_000_000 + "'}\n", 1),
    "3000 images": (HEAD + "---\n".join(f"image: app{i}\nfrom: alpine:3\n" for i in range(3000)), 3000),
    "a chain of 3000 images": (HEAD + "image: i0\nfrom: a\n---\n" + "---\n".join(
        f"image: i{i}\nfrom: i{i - 1}\n" for i in range(1, 3000)), 3000),
    "3000 names": (HEAD + "image: [" + ",".join(f"a{i}" for i in range(3000)) + "]\nfrom: b\n", 3000),
    "mappings in one another": (IMAGE + "git:\n" + "".join(f"- {{to: /app{'/x' * i}}}\n" for i in range(200)), 1),
    "a glob of eight hundred braces": (IMAGE + "git: [{to: /a, includePaths: '" + "{a,b}" * 800 + "'}]\n", 1),
    "a path of half a million dots": (IMAGE + "git: [{to: '/" + "../" * 500_000 + "a'}]\n", 1),
}  # fmt: skip

BAD = {
    "brackets": (IMAGE + "docker: " + "[" * 100_000, "nested deeper than 100 levels"),
    "question marks": (IMAGE + "? " * 100_000, "nested deeper than 100 levels"),
    "anchors": (IMAGE + "a: " + "&a " * 100_000, "not valid YAML"),
    "a quote that is not closed": (IMAGE + "network: '" + "a\n" * 200_000, "unexpected end of stream"),
    "a key of a million characters": (IMAGE + "a" * 1_000_000 + ": 1\n", "not valid YAML"),
    "a number of a million digits": ("configVersion: " + "1" * 1_000_000 + "\nproject: a\n", "`configVersion` must be 1"),
    "a name of a million characters": ("configVersion: 1\nproject: " + "A" * 1_000_000 + "\n", "`project: AAAA"),
    "an owner of a million digits": (IMAGE + "git: [{to: /a, owner: " + "9" * 1_000_000 + "}]\n", "is not an id"),
    "a base of a million parts": (HEAD + "image: x\nfrom: " + "A/" * 500_000 + "\n", "must be lower case"),
    "a glob of ten thousand braces": (
        IMAGE + "git: [{to: /a, includePaths: '" + "{a,b}" * 10_000 + "'}]\n", "more than 4096 characters"),
    "three thousand globs": (
        IMAGE + "git: [{to: /a, includePaths: [" + "".join(f"a{i}," for i in range(3000)) + "]}]\n", "has 3000 globs"),
    "braces in braces": (
        IMAGE + "git: [{to: /a, includePaths: '" + "{a," * 500 + "b" + "}" * 500 + "'}]\n", "more than 20 deep"),
    "brackets in an expression": (
        "configVersion: 1\nproject: a\ncleanup: {keepPolicies: [{references: {branch: '/" + "(" * 50_000 + "/'}}]}\n",
        "has more than 1000 characters"),
    "brackets in a short expression": (
        "configVersion: 1\nproject: a\ncleanup: {keepPolicies: [{references: {branch: '/" + "(" * 900 + "/'}}]}\n",
        "is no regular expression"),
    "half a million documents": (HEAD + "---\n" * 500_000, "documents, and at most 20000 are read"),
    "three million lines": (IMAGE + "\n" * 3_000_000, "lines"),
    "unknown fields": (IMAGE + "".join(f"k{i}: 1\n" for i in range(6000)), "unknown fields: `k0`"),
    "images that are not there": (
        HEAD + "---\n".join(f"image: a{i}\nfromImage: b{i}\n" for i in range(2000)), 'image "b0" not found!'),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_what_is_merely_large_is_read(name):
    text, images = LARGE[name]
    assert len(parse_project(text.encode(), "werf.yaml").images) == images


@pytest.mark.parametrize("name", BAD)
def test_what_is_made_to_hurt_ends_in_a_clear_error_of_bounded_length(name):
    text, message = BAD[name]
    with pytest.raises(ConfigError) as caught:
        parse_project(text.encode(), "werf.yaml")
    assert message in caught.value.problems[0].message
    assert len(caught.value.problems) <= 1001
    assert all(len(problem.message) + len(problem.hint) < 2500 for problem in caught.value.problems)
    assert gc.isenabled()


@pytest.mark.parametrize(
    "text",
    [
        IMAGE + "shell:\n  install:\n" + "  - a\n" * 3000,
        HEAD + "".join(f"image: a{i}\nfrom: b\nshell: {{install: [{'a,' * 100}]}}\n---\n" for i in range(30)),
    ],
    ids=["one document", "all documents"],
)
def test_a_file_has_no_more_values_than_can_be_read_in_a_second(text, monkeypatch):
    assert nodes.MAX_NODES == 200_000
    monkeypatch.setattr(nodes, "MAX_NODES", 3000)
    with pytest.raises(ConfigError) as caught:
        parse_project(text.encode(), "werf.yaml")
    assert "more than 3000 values" in caught.value.problems[0].message


def test_control_characters_and_line_breaks_of_a_name_are_shown_as_escapes():
    text = HEAD + 'image: app\nfrom: "a\\e[2J\\nwerf.yaml:1:1: forged"\nnetwork: {"\\u202e\\u2028": 1}\n'
    with pytest.raises(ConfigError) as caught:
        parse_project(text.encode(), "we\x1brf.yaml")
    said = str(caught.value)
    assert said.replace("\n", "").isprintable()
    assert r"a\x1b[2J\nwerf.yaml:1:1: forged" in said and r"we\x1brf.yaml:5:7: " in said
    assert all(line.startswith((r"we\x1brf.yaml:", "    ")) for line in said.split("\n"))


def test_printable_leaves_what_can_be_seen_as_it_is():
    assert printable("Größe 😀 `a`") == "Größe 😀 `a`"
    assert printable("a\tb\r\n\x7f\u200b") == r"a\tb\r\n\x7f\u200b"
    assert str(Problem(Place("a", 1, 2), "m", "h")) == "a:1:2: m\n    h"
