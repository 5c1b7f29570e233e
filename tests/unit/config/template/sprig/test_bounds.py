"""No function makes more than the bounds of a template allow, and each says so before it makes it."""

from __future__ import annotations

import pytest

from conveyor.config.template import execution
from conveyor.config.template.functions import MAX_ELEMENTS, MAX_TEXT_BYTES
from tests.unit.config.template.sprig.rendering import fail, give

TOO_LONG = [
    '{{repeat 300000000000 "ab"}}',
    '{{indent 300000000 "a"}}',
    '{{nindent 300000000 "a"}}',
    '{{$a := repeat 100000 "a"}}{{replace "a" $a $a}}',
    '{{$a := repeat 100000 "a"}}{{replace "" $a $a}}',
    '{{$a := repeat 100000 "a"}}{{wrapWith 1 $a $a}}',
    '{{$a := repeat 90000 "a"}}{{regexReplaceAll "a" $a $a}}',
    '{{$a := repeat 90000 "a"}}{{regexReplaceAllLiteral "" $a $a}}',
    '{{$a := repeat 100000 "a"}}{{regexReplaceAll "(a+)" $a (repeat 1000 "$1")}}',
    '{{$a := repeat 100000 "a"}}{{join $a (until 1000)}}',
    '{{$a := repeat 3000000 "a"}}{{cat $a $a}}',
    '{{$a := repeat 2150000 "a"}}{{quote $a $a}}',
    '{{$a := repeat 3000000 "a"}}{{squote $a $a}}',
    '{{$a := repeat 3000000 "a"}}{{list $a $a | toJson | len}}',
    '{{$a := repeat 3000000 "a"}}{{list $a $a | toYaml | len}}',
    '{{repeat 4000000 "a" | b64enc}}',
    '{{repeat 4000000 "a" | b32enc}}',
    '{{repeat 4000000 "." | regexQuoteMeta}}',
]
TOO_MANY = [
    "{{until 300000000000}}",
    "{{untilStep 0 300000000000 1}}",
    "{{untilStep 9223372036854775807 -9223372036854775808 -1}}",
    "{{seq 300000000000}}",
    '{{$a := repeat 510000 "a"}}{{splitList "" $a}}',
    '{{$a := repeat 510000 "a"}}{{split "a" $a}}',
    "{{$a := until 300000}}{{concat $a $a}}",
]


@pytest.mark.parametrize("source", TOO_LONG)
def test_texts_that_would_be_too_long(source):
    assert f"a template may make a text of {MAX_TEXT_BYTES} at most" in fail(source)


@pytest.mark.parametrize("source", TOO_MANY)
def test_lists_that_would_be_too_long(source):
    assert f"a template may make a list of {MAX_ELEMENTS} at most" in fail(source)


@pytest.mark.parametrize("call", ['regexFindAll "a" $a -1', 'regexSplit "a" $a -1', 'regexReplaceAll "a" $a ""'])
def test_patterns_that_match_too_often(call):
    assert "matches more than 100000 times" in fail('{{$a := repeat 100001 "a"}}{{' + call + "}}")


def test_a_regular_expression_takes_no_exponential_time():
    assert give('{{regexMatch "^(a+)+$" (print (repeat 50000 "a") "b")}}') == "false"
    constraint = '{{semverCompare (print "1" (repeat 3000 " ") ", 2" (repeat 3000 " ") "!") "1.0.0"}}'
    assert "improper constraint" in fail(constraint)


@pytest.mark.parametrize(
    "function", ["deepCopy $d", "mustToJson $d", "toYaml $d", "toString $d", "quote $d", "merge $d (deepCopy $d)"]
)
def test_what_holds_itself_ends(function):
    assert "werfConfig:1:" in fail("{{$d := dict}}{{$_ := set $d `d` $d}}{{" + function + "}}")


def test_many_values_are_compared_in_time_that_grows_with_their_number():
    assert give("{{until 100000 | uniq | len}} {{without (until 100000) 7 8 | len}}") == "100000 99998"
    assert give("{{until 20000 | chunk 1 | uniq | len}}") == "20000"


@pytest.mark.parametrize("call", ["deepCopy $l", "deepEqual $l $l", "list $l $l | uniq", "toJson $l", "toYaml $l"])
def test_what_holds_itself_a_billion_times_ends(call):
    assert "werfConfig:1:" in fail("{{$l := list 1}}{{range 60}}{{$l = list $l $l}}{{end}}{{" + call + "}}")


def test_functions_that_are_slow_by_their_nature_count_that_before_they_begin(monkeypatch):
    monkeypatch.setattr(execution, "MAX_STEPS", 2_000_000)
    source = '{{derivePassword 1 "long" "x" "user" "example.com"}}'
    assert "error calling derivePassword: the templates took more than" in fail(source)


def test_aliases_of_aliases_end():
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    lines += [
        f"{name}: &{name} [{', '.join(['*' + before] * 10)}]" for before, name in zip("abcdefg", "bcdefgh", strict=True)
    ]
    assert "document contains excessive aliasing" in fail("{{fromYaml .text}}", {"text": "\n".join(lines)})


DEAR = [
    '{{regexReplaceAll "a.*z|b" (repeat 10000 "ab") ""}}',
    '{{regexMatch "[ab]*a[ab]{400}c" (repeat 20000 "ab")}}',
    '{{range until 200}}{{$_ := regexMatch (printf "(a{900})%d" .) "a"}}{{end}}',
    '{{range until 3}}{{$_ := regexMatch (printf "(\\\\pL{30}){30}%d" .) "a"}}{{end}}',
    '{{regexReplaceAll "a" (repeat 100 "a") (repeat 1000 "$9")}}',
    '{{semverCompare (repeat 5000 ">1 ") "1.2.3"}}',
    '{{fromYaml (print "a: &a {a: 1, b: 1}\\n" (repeat 10000 "<<: *a\\n"))}}',
    '{{fromYaml (repeat 30000 "a: 1\\n")}}',
    "{{$l := until 15000}}{{range until 9}}{{$_ := print $l | len}}{{end}}",
    "{{$l := until 15000}}{{range until 9}}{{$_ := dict $l 1}}{{end}}",
    '{{$d := split "," (repeat 9000 "a,")}}{{range until 90}}{{range $d}}{{break}}{{end}}{{end}}',
    '{{$f := repeat 40000 "%d"}}{{printf $f 1 | len}}',
    '{{range until 10000}}{{$_ := printf "%.1000g" 1.5}}{{end}}',
    "{{range until 10000}}{{((((((((((1))))))))))}}{{and 1 1 1 1 1 1}}{{end}}",
    '{{range until 4}}{{tpl (print (repeat 2500 "{{1}}") .) $}}{{end}}',
    '{{/* */}}{{"' + "\\x41" * 60_000 + '"}}',
]


@pytest.mark.parametrize("source", DEAR)
def test_what_takes_long_is_counted_by_what_it_takes(source, monkeypatch):
    monkeypatch.setattr(execution, "MAX_STEPS", 1_000_000)
    assert "the templates took more than" in fail(source)
