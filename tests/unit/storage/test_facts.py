import json

import pytest
from memory_store import facts

from conveyor.storage.facts import LABEL, format_facts, parse_facts


def test_facts_are_read_as_they_were_written():
    stage = facts("d" * 56, commits=("c1", "c2"), parents=("p",), sources=("s",), parts=(("commands", "0123"),))
    assert parse_facts({LABEL: format_facts(stage)}) == stage
    assert stage.recorded_commits() == {"c1", "c2"}
    assert stage.commits == {"m": ("c1", "c2")}


@pytest.mark.parametrize("text", ["", "{}", "null", "[]", "{", '{"version":1}', '"x"', "1", "[" * 100_000, "9" * 10_000])
def test_what_cannot_be_understood_is_nothing(text):
    assert parse_facts({LABEL: text}) is None


def test_a_later_version_is_nothing():
    document = json.loads(format_facts(facts("d" * 56)))
    document["version"] = 2
    assert parse_facts({LABEL: json.dumps(document)}) is None


def test_an_image_without_the_label_is_nothing():
    assert parse_facts({"other": "x"}) is None
