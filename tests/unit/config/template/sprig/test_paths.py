"""Paths with slashes."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import give

EXAMPLES = [
    ('{{base "foo/bar/baz"}} {{base ""}} {{base "/"}} {{base "a/"}}', "baz . / a"),
    ('{{dir "foo/bar/baz"}} {{dir "a"}} {{dir ""}} {{dir "/"}} {{dir "/a"}} {{dir "a//b"}}', "foo/bar . . / / a"),
    (
        '{{clean "foo/bar/../baz"}} {{clean "/../a"}} {{clean ""}} {{clean "../../a/./b//"}} {{clean "a/../.."}}',
        "foo/baz /a . ../../a/b ..",
    ),
    ('{{ext "foo.bar"}} {{ext "a.b/c"}} {{ext ".x"}} {{ext "a"}}', ".bar  .x "),
    (
        '{{isAbs "/a"}}{{isAbs "a"}}{{osBase "a/b"}}{{osDir "a/b"}}{{osExt "a.b"}}{{osClean "a/."}}{{osIsAbs ""}}',
        "truefalseba.bafalse",
    ),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected
