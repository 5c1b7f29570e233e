from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.config.template.values import AnyMap, Int64, TypedList
from conveyor.config.template.yaml_text import encode_yaml
from conveyor.config.template.yaml_values import decode_yaml

# Without the byte order mark and what YAML cannot hold: other breaks of lines are no `\n` when they are read. A key `<<` is
# written without quotes, and read as a merge.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff\r\x85\u2028\u2029")).filter("<<".__ne__)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=6,
)


def plain(value):
    if isinstance(value, AnyMap):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_is_read_as_the_same_value(value):
    read = decode_yaml(encode_yaml(value))
    assert {key: plain(item) for key, item in read.items()} == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("yes", '"yes"'),
        ("1.10", '"1.10"'),
        ("12:30", '"12:30"'),
        ("a: b", "'a: b'"),
        ("it's", "it's"),
        ("#a", "'#a'"),
        ("a\tb", '"a\\tb"'),
        ("a\n", "|\n  a"),
        ("a\nb", "|-\n  a\n  b"),
        (" a\n", "|2\n   a"),
        ("a\n\n", "|+\n  a\n"),
        ("a \nb", '"a \\nb"'),
        ("😀", '"\\U0001F600"'),
        ("\udcff", "!!binary /w=="),
        (1e6, "1e+06"),
        (float("inf"), ".inf"),
        (None, "null"),
        (Int64(3), "3"),
        ([], "[]"),
        ({}, "{}"),
        ([[1, []], {"k": 1, "l": [2]}], "- - 1\n  - []\n- k: 1\n  l:\n  - 2"),
        ({"a10": 1, "a9": 2, "b": 3, "-": 4, "A": 5}, "'-': 4\nA: 5\na9: 2\na10: 1\nb: 3"),
        ({"x" * 129: 1}, "? " + "x" * 129 + "\n: 1"),
        ("word " * 20 + "end", "word " * 16 + "word\n  word word word end"),
        (TypedList(["a"]), "- a"),
        (AnyMap([(True, 1), ("n", 2), (10, 3), (None, 4)]), 'true: 1\n10: 3\nnull: 4\n"n": 2'),
    ],
)
def test_styles(value, text):
    assert encode_yaml(value).removesuffix("\n") == text
