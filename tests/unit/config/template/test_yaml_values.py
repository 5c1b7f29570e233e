from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.config.template.functions import FunctionError
from conveyor.config.template.printing import print_value
from conveyor.config.template.values import AnyMap, go_type
from conveyor.config.template.yaml_values import decode_yaml


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("", "map[]"),
        ("~", "map[]"),
        (
            "a: yes\nb: 0777\nc: 1_000\nd: 12:30\ne: 2020-01-01\nf: ~",
            "map[a:true b:511 c:1000 d:12:30 e:2020-01-01 f:<nil>]",
        ),
        ("1: x\nyes: a\n~: z", "map[:z 1:x yes:a]"),
        ("x: {1: a, b: c}", "map[x:map[1:a b:c]]"),
        ("a: 1\na: 2", "map[a:2]"),
        ("---\na: 1\n---\nb: 2", "map[a:1]"),
        ("x: &a {k: 1}\ny: *a\nz: {<<: *a, m: 2}", "map[x:map[k:1] y:map[k:1] z:map[k:1 m:2]]"),
        ("<<: [{a: 1}, {a: 2, b: 3}]\nc: 4", "map[a:1 b:3 c:4]"),
        ("d: {k: 3, <<: {k: 1}}", "map[d:map[k:1]]"),  # as in Go, where it stands counts
        ('a: !!str 1\nb: !!int "12"\nc: !!float 3\nd: !other x\ne: !!binary aGk=', "map[a:1 b:12 c:3 d:x e:hi]"),
    ],
)
def test_values(text, printed):
    assert print_value(decode_yaml(text)) == printed


def test_maps_below_the_top_have_keys_of_any_type():
    value = decode_yaml("a: {b: {c: [{d: 1}]}}")
    assert go_type(value) == "map[string]interface {}"
    assert type(value["a"]) is AnyMap
    assert go_type(value["a"].get("b").get("c")[0]) == "map[interface {}]interface {}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!seq into map[string]interface {}"),
        (
            "a long text",
            "yaml: unmarshal errors:\n  line 1: cannot unmarshal !!str `a long ...` into map[string]interface {}",
        ),
        ("a: 1\n[b]: 2", "yaml: unmarshal errors:\n  line 2: cannot unmarshal !!seq into string"),
        ("a: *b", "yaml: unknown anchor 'b' referenced"),
        ("a: &a [*a]", "yaml: anchor 'a' value contains itself"),
        ("a: !!int x", "yaml: cannot decode !!str `x` as a !!int"),
        ("a: {{b: 1}: 2}", 'yaml: invalid map key: map[interface {}]interface {}{"b":1}'),
        ("<<: 1", "yaml: map merge requires map or sequence of maps as the value"),
        ("a: 1\nb: c: d", "yaml: line 2: mapping values are not allowed in this context"),
        ("a: \x00", "yaml: control characters are not allowed"),
        ("a: !!binary '*'", "yaml: !!binary value contains invalid base64 data"),
    ],
)
def test_mistakes(text, message):
    with pytest.raises(FunctionError) as raised:
        decode_yaml(text)
    assert str(raised.value) == message


@given(st.text("ab:- \n[]{}&*!'\"<|>#,1", max_size=30))
def test_any_text_is_a_map_or_a_mistake(text):
    try:
        assert isinstance(decode_yaml(text), dict)
    except FunctionError as error:
        assert str(error).startswith("yaml: ")


def test_deep_documents_end():
    with pytest.raises(FunctionError):
        decode_yaml("a: " + "[" * 100_000)
