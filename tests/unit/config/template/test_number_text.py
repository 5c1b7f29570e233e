from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.config.template.number_text import format_float, parse_float, parse_int, truncate_to_int64


@pytest.mark.parametrize(
    ("value", "verb", "precision", "text"),
    [
        (1e6, "g", -1, "1e+06"),
        (123456.0, "g", -1, "123456"),
        (0.0001, "g", -1, "0.0001"),
        (0.00001, "g", -1, "1e-05"),
        (-0.0, "g", -1, "-0"),
        (1.5, "f", -1, "1.5"),
        (1e21, "f", -1, "1000000000000000000000"),
        (2.5, "f", 0, "2"),
        (1.555, "f", 2, "1.55"),
        (1.5, "e", 6, "1.500000e+00"),
        (1234567.0, "g", 3, "1.23e+06"),
        (100.0, "g", 3, "100"),
        (float("inf"), "g", -1, "+Inf"),
        (float("nan"), "f", 2, "NaN"),
    ],
)
def test_floats_are_written_as_strconv_writes_them(value, verb, precision, text):
    assert format_float(value, verb, precision) == text


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from("efg"))
def test_the_shortest_form_reads_back_as_the_same_float(value, verb):
    assert parse_float(format_float(value, verb)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1_000.5", 1000.5),
        ("0x1p-2", 0.25),
        (".5", 0.5),
        ("5.", 5.0),
        ("-inf", float("-inf")),
        ("1e", None),
        ("1e400", None),
        ("1__0", None),
        ("_1", None),
        (" 1", None),
        ("", None),
        ("0x1", None),
        ("١", None),
    ],
)
def test_floats_are_read_as_strconv_reads_them(text, value):
    assert parse_float(text) == value


@pytest.mark.parametrize(
    ("text", "base", "value"),
    [
        ("0x_1F", 0, 31),
        ("0b11", 0, 3),
        ("0o17", 0, 15),
        ("017", 0, 15),
        ("08", 0, None),
        ("-0x10", 0, -16),
        ("1_000", 0, 1000),
        ("1_000", 10, None),
        ("+5", 10, 5),
        ("-", 10, None),
        ("9223372036854775808", 10, None),
        ("9" * 10_000, 0, None),
    ],
)
def test_integers_are_read_as_strconv_reads_them(text, base, value):
    assert parse_int(text, base) == value


def test_what_is_out_of_range_is_the_nearest_integer_where_that_is_asked_for():
    assert parse_int("9" * 30, 10, saturate=True) == 2**63 - 1
    assert parse_int("-" + "9" * 30, 10, saturate=True) == -(2**63)
    assert parse_int("18446744073709551615", 10, unsigned=True) == 2**64 - 1


@given(st.floats())
def test_floats_become_integers_that_fit(value):
    assert -(2**63) <= truncate_to_int64(value) < 2**63
