"""Whole texts: the examples of sprig's documentation, and what happens at their edges."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    ('{{trim "   hello    "}}', "hello"),
    ('{{trimAll "$" "$5.00"}}', "5.00"),
    ('{{trimSuffix "-" "hello-"}}', "hello"),
    ('{{trimPrefix "-" "-hello"}}', "hello"),
    ('{{trunc 5 "hello world"}}|{{trunc -5 "hello world"}}|{{trunc 50 "hello"}}', "hello|world|hello"),
    ('{{substr 0 5 "hello world"}}|{{substr 6 -1 "hello world"}}|{{substr -1 4 "hello"}}', "hello|world|hell"),
    ('{{repeat 3 "hello"}}', "hellohellohello"),
    ('{{contains "cat" "catch"}}{{hasPrefix "cat" "catch"}}{{hasSuffix "at" "cat"}}', "truetruetrue"),
    ('{{quote "a\\tb" 1 nil .x}}|{{squote "it\'s" 2}}', "\"a\\tb\" \"1\"|'it's' '2'"),
    ('{{cat "hello" "beautiful" nil "world"}}', "hello beautiful world"),
    ('{{indent 4 "a\\nb"}}|{{nindent 2 "a\\n"}}', "    a\n    b|\n  a\n  "),
    ('{{"I Am Henry VIII" | replace " " "-"}}', "I-Am-Henry-VIII"),
    ('{{plural "one anchovy" "many anchovies" 1}}|{{plural "one" "many" 0}}', "one anchovy|many"),
    ('{{$a := split "$" "foo$bar$baz"}}{{$a._0}}{{$a._2}}', "foobaz"),
    ('{{$a := splitn "$" 2 "foo$bar$baz"}}{{$a._1}}|{{splitn "" 2 "abc"}}', "bar$baz|map[_0:a _1:bc]"),
    ('{{splitList "$" "foo$bar$baz"}}|{{splitList "" "héy"}}', "[foo bar baz]|[h é y]"),
    ('{{trunc 1 "é" | cat "x" | len}}|{{print (trunc 1 "é") (trunc -1 "é")}}', "3|é"),
    ("{{hello}}", "Hello!"),
]
MISTAKES = [
    ('{{substr -1 9 "abc"}}', "error calling substr: runtime error: slice bounds out of range [:9] with length 3"),
    ('{{substr 3 2 "abc"}}', "slice bounds out of range [3:2]"),
    ('{{repeat -1 "a"}}', "error calling repeat: strings: negative Repeat count"),
    ('{{indent -1 "a"}}', "error calling indent: strings: negative Repeat count"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
