from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.config.template.functions import FunctionError
from conveyor.config.template.json_text import Unsupported, decode_json, encode_json
from conveyor.config.template.values import AnyMap, Int64, TypedList, TypedMap

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(VALUES)
def test_what_is_written_is_json_of_the_same_value(value):
    for options in ({}, {"indent": "  "}, {"escape_html": False}):
        text = encode_json(value, **options)
        assert json.loads(text, parse_int=float) == value
        assert decode_json(text) == (value, "")


@given(st.text('{}[]":,0123456789.eE+-truefalsn\\u \n', max_size=12))
def test_what_is_refused_is_no_json(text):
    value, problem = decode_json(text)
    try:
        json.loads(text)
    except ValueError:
        assert (value, bool(problem)) == (None, True)
    else:
        assert problem == "" or "cannot unmarshal number" in problem


def test_go_types():
    assert encode_json(Int64(5)) == "5"
    assert encode_json(TypedList(["a"])) == '["a"]'
    assert encode_json(TypedList([], is_nil=True)) == "null"
    assert encode_json(TypedMap({"b": "1", "a": "2"})) == '{"a":"2","b":"1"}'
    with pytest.raises(Unsupported, match="unsupported type: map"):
        encode_json([AnyMap([(1, 2)])])


def test_characters_that_are_escaped():
    assert (
        encode_json('"\\\b\f\n\r\t\x01\x7f<>&\u2028é') == '"\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f\\u003c\\u003e\\u0026\\u2028é"'
    )
    assert encode_json("\udcff") == '"\\ufffd"'  # a byte that is no UTF-8
    assert decode_json('"\udcff \\ud800 \\ud83d\\ude00"') == ("\ufffd \ufffd 😀", "")


def test_what_holds_itself_is_refused():
    value = {}
    value["self"] = value
    with pytest.raises(Unsupported, match="encountered a cycle"):
        encode_json(value)


def test_a_text_that_would_be_too_long_is_refused():
    with pytest.raises(FunctionError, match="a template may make a text of"):
        encode_json(["x" * 1000] * 5000)
