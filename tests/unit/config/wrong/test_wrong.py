"""`files.txt` beside this: wrong files as strangers make them, each with the one error that they must get."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conveyor.config.reading import parse_project
from conveyor.errors import ConfigError

HEAD = "configVersion: 1\nproject: shop\n"
TEXT = (Path(__file__).parent / "files.txt").read_text(encoding="utf-8")
_SECTION = re.compile(r"^=== (.+)\n!!! (.+)\n\?\?\? ?(.*)\n((?:(?!^=== ).*\n?)*)", re.MULTILINE)
SECTIONS = [match.groups() for match in _SECTION.finditer(TEXT)]


def test_there_are_a_hundred():
    titles = [title for title, *_ in SECTIONS]
    assert len(titles) == len(set(titles)) == TEXT.count("\n=== ") >= 100


@pytest.mark.parametrize(("title", "message", "hint", "body"), SECTIONS, ids=[title for title, *_ in SECTIONS])
def test_the_error_names_the_place_the_mistake_and_a_way_out(title, message, hint, body):
    marked = (HEAD if body.startswith("---\n") else "") + body
    before, marker, after = marked.partition("@@")
    assert marker, title
    with pytest.raises(ConfigError) as caught:
        parse_project((before + after).encode(), "werf.yaml")
    said = str(caught.value)
    problem, *others = caught.value.problems
    assert message.removesuffix(" ...") in problem.message, said
    assert bool(others) == message.endswith(" ..."), said
    assert hint in problem.hint, said
    if problem.place.line:
        assert (problem.place.line, problem.place.column) == (
            before.count("\n") + 1,
            len(before) - (before.rfind("\n") + 1) + 1,
        ), said
    else:
        assert before == "", said
