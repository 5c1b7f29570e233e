"""Numbers: 64 bits that overflow silently, decimals for floats, texts as numbers."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    (
        "{{add 1 2 3}} {{add1 2}} {{sub 5 2}} {{mul 2 3 4}} {{div 10 3}} {{mod 10 3}} {{div -7 2}} {{mod -7 3}}",
        "6 3 3 24 3 1 -3 -1",
    ),
    (
        "{{add 9223372036854775807 1}} {{mul 4611686018427387904 2}} {{sub -9223372036854775807 2}}",
        "-9223372036854775808 -9223372036854775808 9223372036854775807",
    ),
    (
        "{{addf 0.1 0.2}} {{subf 1 0.9}} {{mulf 1.1 1.1}} {{divf 2 3}} {{add1f 1.5}} {{mulf 1e300 1e10}}",
        "0.3 0.1 1.21 0.6666666666666667 2.5 +Inf",
    ),
    ("{{max 1 3 2}} {{min 1 3 2}} {{maxf 1.5 3}} {{minf 1.5 3}} {{biggest 1 2}}", "3 1 3 1.5 2"),
    ("{{floor 123.9999}} {{ceil 123.001}} {{ceil -0.5}} {{round 123.555555 3}} {{round 2.4 0 0.3}}", "123 124 -0 123.556 3"),
    (
        (
            "{{until 5}} {{until -2}} {{untilStep 3 6 2}} {{untilStep 3 6 -1}} {{seq 5}}|{{seq -3}}"
            "|{{seq 0 2 10}}|{{seq 0 -2 -5}}|{{seq 3 1}}|{{seq}}"
        ),
        "[0 1 2 3 4] [0 -1] [3 5] [] 1 2 3 4 5|1 0 -1 -2 -3|0 2 4 6 8 10|0 -2 -4|3 2 1|",
    ),
    (
        '{{int "0x1F"}} {{int64 "1_000"}} {{int "12abc"}} {{int 3.9}} {{int "4.0"}} {{int true}} {{int nil}} {{int 1e30}}',
        "31 1000 0 3 4 1 0 -9223372036854775808",
    ),
    (
        '{{atoi "42"}} {{atoi "x"}} {{atoi "9223372036854775808"}} {{toDecimal "0777"}} {{toDecimal 9}}',
        "42 0 9223372036854775807 511 0",
    ),
    ('{{float64 "1.5e3"}} {{float64 "0x1p-2"}} {{float64 "x"}} {{float64 "1e400"}}', "1500 0.25 0 0"),
    ("{{typeOf (add 1)}} {{typeOf (int 1)}} {{typeOf (float64 1)}} {{typeOf (until 1)}}", "int64 int float64 []int"),
]
MISTAKES = [
    ("{{div 1 0}}", "error calling div: runtime error: integer divide by zero"),
    ("{{mod 1 0}}", "integer divide by zero"),
    ("{{divf 1 0}}", "error calling divf: decimal division by 0"),
    ('{{addf (float64 "nan") 1}}', "error calling addf: Cannot create a Decimal from NaN"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
