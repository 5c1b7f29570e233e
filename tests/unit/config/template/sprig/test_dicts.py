"""Maps: the examples of sprig's documentation; which functions change the map that they are given, and which do not."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    ('{{$d := dict "a" 1 "b"}}{{$d}}{{get $d "a"}}|{{get $d "x"}}|{{hasKey $d "b"}}', "map[a:1 b:]1||true"),
    ('{{$d := dict "a" 1}}{{$_ := set $d "b" 2}}{{$_ := unset $d "a"}}{{$d}}', "map[b:2]"),
    (
        '{{$d := dict "b" 1 "a" 2 "Z" 3}}{{keys $d}} {{values $d}} {{pick $d "a" "x"}} {{omit $d "a"}} {{$d}}',
        "[Z a b] [3 2 1] map[a:2] map[Z:3 b:1] map[Z:3 a:2 b:1]",
    ),
    ('{{pluck "a" (dict "a" 1) (dict "b" 2) (dict "a" 3)}}', "[1 3]"),
    (
        '{{dig "u" "r" "n" "guest" (dict "u" (dict "r" (dict "n" "curly")))}}|{{dig "u" "x" "guest" (dict "u" dict)}}',
        "curly|guest",
    ),
    (
        '{{$d := dict "a" 1 "e" "" "n" (dict "x" 1)}}{{merge $d (dict "a" 2 "e" 3 "n" (dict "x" 2 "y" 2))}} {{$d}}',
        "map[a:1 e:3 n:map[x:1 y:2]] map[a:1 e:3 n:map[x:1 y:2]]",
    ),
    (
        '{{$d := dict "a" 1 "n" (dict "x" 1)}}{{mergeOverwrite $d (dict "a" 2 "n" (dict "y" 2)) (dict "a" 3)}}',
        "map[a:3 n:map[x:1 y:2]]",
    ),
    (
        '{{mergeOverwrite (dict "a" 1 "b" 1) (dict "a" "" "b" nil)}}|{{merge (dict "a" (list 1)) (dict "a" (list 2))}}',
        "map[a: b:<nil>]|map[a:[1]]",
    ),
    (
        '{{$d := dict "n" (dict "x" 1)}}{{$c := deepCopy $d}}{{$_ := set $c.n "x" 2}}{{$d}}{{$c}}',
        "map[n:map[x:1]]map[n:map[x:2]]",
    ),
    ('{{deepCopy (semver "1.2.3")}}', "1.2.3"),
    ('{{$y := fromYaml "a: {b: 1}"}}{{merge (dict "a" $y.a) (dict "a" (dict "c" 2))}}', "map[a:map[b:1 c:2]]"),
]
MISTAKES = [
    ('{{set nil "a" 1}}', "error calling set: assignment to entry in nil map"),
    ('{{dig "a" (dict)}}', "error calling dig: dig needs at least three arguments"),
    ('{{dig "a" "b" 1 (dict "a" nil)}}', "interface conversion: interface {} is nil, not map[string]interface {}"),
    ("{{deepCopy nil}}", "error calling deepCopy: reflect: call of reflect.Value.Type on zero Value"),
    (
        '{{merge (dict "a" dict) (fromYaml "a: {b: 1}")}}',
        "reflect.Value.MapIndex: value of type interface {} is not assignable to type string",
    ),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
