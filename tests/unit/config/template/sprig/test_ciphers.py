"""Passwords that depend on their arguments alone; those with a random salt are tried in `test_repeatability`."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    ('{{derivePassword 1 "long" "password" "user" "example.com"}}', "ZedaFaxcZaso9*"),
    ('{{derivePassword 1 "x" "password" "user" "example.com"}}', "cannot find password template x"),
    ('{{decryptAES "k" ""}}', ""),
]
MISTAKES = [
    ('{{decryptAES "k" "!!"}}', "error calling decryptAES: illegal base64 data at input byte 0"),
    ('{{decryptAES "k" "MDEyMzQ1Njc4OWFiY2RlZmE="}}', "crypto/cipher: input not full blocks"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
