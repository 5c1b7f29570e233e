"""Lists: the examples of sprig's documentation; nothing changes the list that it is given."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    (
        (
            "{{$l := list 1 2 3 4 5}}{{first $l}} {{rest $l}} {{last $l}} {{initial $l}} {{append $l 6}}"
            " {{prepend $l 0}} {{$l}}"
        ),
        "1 [2 3 4 5] 5 [1 2 3 4] [1 2 3 4 5 6] [0 1 2 3 4 5] [1 2 3 4 5]",
    ),
    (
        '{{concat (list 1 2) (list 3) (until 2)}}|{{reverse (list 1 2)}}|{{uniq (list 1 1.0 1 "1" (list 1) (list 1))}}',
        "[1 2 3 0 1]|[2 1]|[1 1 1 [1]]",
    ),
    (
        (
            "{{without (list 1 2 3) 1 3}}|{{has 4 (list 1 4)}}{{has (list 1) (list (list 1))}}{{has 1 nil}}"
            '|{{compact (list 1 "a" "" 0 nil)}}'
        ),
        "[2]|truetruefalse|[1 a]",
    ),
    ("{{$l := list 1 2 3 4 5}}{{slice $l 1 3}}{{slice $l 3}}{{slice $l}}", "[2 3][4 5][1 2 3 4 5]"),
    ("{{chunk 3 (list 1 2 3 4 5 6 7 8)}}", "[[1 2 3] [4 5 6] [7 8]]"),
    ('{{list "hello" "world" | join "_"}}|{{list 1 nil "a" | join "+"}}|{{join "," "x"}}', "hello_world|1+a|x"),
    ('{{list "b" "B" "é" "a" 1 | sortAlpha}}', "[1 B a b é]"),
    ("{{rest (list) | toJson}}{{list | toJson}}{{first (list)}}", "null[]<no value>"),
    ("{{mustFirst (list 1)}}{{mustSlice (list 1 2) 1}}{{mustPush (list 1) 2}}", "1[2][1 2]"),
]
MISTAKES = [
    ('{{first "abc"}}', "error calling first: Cannot find first on type string"),
    ("{{append nil 1}}", "error calling append: runtime error: invalid memory address or nil pointer dereference"),
    ("{{concat (list) 1}}", "Cannot concat type int as list"),
    ("{{slice (list 1) 0 2}}", "slice index out of bounds"),
    ("{{chunk 0 (list 1)}}", "makeslice: len out of range"),
    ('{{has 1 "a"}}', "Cannot find has on type string"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
