"""Choosing between values, and looking at their types."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    (
        (
            '{{default "d" ""}}{{default "d" 0}}{{default "d" (list)}}{{default "d" nil}}{{default "d" .x}}'
            '{{default "d" "v"}}{{default "d" false}}'
        ),
        "dddddvd",
    ),
    ('{{empty ""}}{{empty dict}}{{empty " "}}{{empty 0.0}}{{empty (semver "0.0.0")}}', "truetruefalsetruefalse"),
    ('{{coalesce 0 1 2}}{{coalesce "" nil}}', "1<no value>"),
    ('{{all 1 "a"}}{{all 1 0}}{{all}}{{any 0 1}}{{any}}', "truefalsetruetruefalse"),
    ('{{ternary "a" "b" true}}{{false | ternary "a" "b"}}', "ab"),
    (
        '{{kindOf 1}} {{kindOf (list)}} {{kindOf nil}} {{typeOf (dict)}} {{typeOf (semver "1.0.0")}} {{typeOf nil}}',
        "int slice invalid map[string]interface {} *semver.Version <nil>",
    ),
    (
        '{{kindIs "int" 1}}{{typeIs "int" "1"}}{{typeIsLike "semver.Version" (semver "1.0.0")}}{{typeIsLike "*int" 1}}',
        "truefalsetruefalse",
    ),
    (
        '{{deepEqual (list 1 (dict "a" 2)) (list 1 (dict "a" 2))}}{{deepEqual 1 1.0}}{{deepEqual (list) (rest (list))}}',
        "truefalsefalse",
    ),
]
MISTAKES = [
    ('{{fail "a message"}}', "error calling fail: a message"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
