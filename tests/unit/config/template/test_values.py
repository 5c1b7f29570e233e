from __future__ import annotations

import pytest

from conveyor.config.template.values import (
    MISSING,
    AnyMap,
    Int32,
    Int64,
    TypedList,
    TypedMap,
    Uint8,
    Uint64,
    Value,
    byte_length,
    deep_equal,
    go_type,
    is_true,
    joined,
    kind_of,
    raw,
    sorted_items,
    text,
)


def test_integers_keep_the_bits_of_their_type() -> None:
    assert Int64((1 << 63) + 1) == -(1 << 63) + 1
    assert Int32(1 << 31) == -(1 << 31)
    assert Uint8(-1) == 255
    assert Uint64(-1) == (1 << 64) - 1


@pytest.mark.parametrize(
    ("value", "type_name", "kind"),
    [
        (None, "<nil>", "invalid"),
        (MISSING, "<nil>", "invalid"),
        (True, "bool", "bool"),
        (1, "int", "int"),
        (Int64(1), "int64", "int64"),
        (1.0, "float64", "float64"),
        ("", "string", "string"),
        ({}, "map[string]interface {}", "map"),
        (AnyMap(), "map[interface {}]interface {}", "map"),
        (TypedMap(), "map[string]string", "map"),
        ([], "[]interface {}", "slice"),
        (TypedList(), "[]string", "slice"),
    ],
)
def test_types_and_kinds(value: Value, type_name: str, kind: str) -> None:
    assert (go_type(value), kind_of(value)) == (type_name, kind)


@pytest.mark.parametrize("value", [None, MISSING, False, 0, 0.0, "", [], {}, AnyMap(), TypedList()])
def test_what_is_empty_is_false(value: Value) -> None:
    assert not is_true(value)


def test_keys_of_different_types_are_different_keys() -> None:
    entries = AnyMap([(1, "int"), (True, "bool"), (1.0, "float"), ("1", "string"), (None, "nil")])
    assert [entries.get(key) for key in (1, True, 1.0, "1", None)] == ["int", "bool", "float", "string", "nil"]
    del entries[True]
    assert True not in entries and 1 in entries


def test_entries_are_in_the_order_of_bytes() -> None:
    assert [key for key, _ in sorted_items({"b": 1, "é": 2, "B": 3, "\udcff": 4, "🙂": 5})] == [
        "B",
        "b",
        "é",
        "🙂",
        "\udcff",
    ]
    keys = [key for key, _ in sorted_items(AnyMap([("a", 0), (2, 0), (True, 0), (None, 0), (1.5, 0), (10, 0)]))]
    assert keys == [None, True, 2, 10, 1.5, "a"]


def test_a_string_holds_any_bytes() -> None:
    assert raw(text(b"a\xff\xc3\xa9")) == b"a\xff\xc3\xa9"
    halves = text(b"\xc3") + text(b"\xa9")
    assert joined(halves) == "é"
    assert byte_length("é\udcff") == 3


def test_equal_all_the_way_down() -> None:
    assert deep_equal({"a": [1, "x", None]}, {"a": [1, "x", None]})
    assert not deep_equal([1], [1.0])
    assert not deep_equal([1], [Int64(1)])
    assert not deep_equal([1], [True])
    assert not deep_equal(["a"], TypedList(["a"]))
    assert not deep_equal(TypedList(is_nil=True), TypedList())
    assert not deep_equal(AnyMap([(1, 1)]), AnyMap([(True, 1)]))
