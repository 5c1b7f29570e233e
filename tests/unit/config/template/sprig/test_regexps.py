"""Regular expressions with the syntax and the rules of Go."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    ('{{regexMatch "^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+$" "test@acme.com"}}{{regexMatch "(" "a"}}', "truefalse"),
    ('{{regexFind "[a-zA-Z][1-9]" "abcd1234"}}|{{regexFind "x" "a"}}', "d1|"),
    (
        '{{regexFindAll "[2,4,6,8]" "123456789" -1}}{{regexFindAll "[0-9]" "123" 2}}{{regexFindAll "x" "a" -1 | toJson}}',
        "[2 4 6 8][1 2]null",
    ),
    (
        (
            '{{regexReplaceAll "a(x*)b" "-ab-axxb-" "${1}W"}}|{{regexReplaceAll "a(x*)b" "-ab-axxb-" "$1W"}}'
            '|{{regexReplaceAll "(?P<n>b)" "abc" "<$n$$>"}}'
        ),
        "-W-xxW-|---|a<b$>c",
    ),
    ('{{regexReplaceAllLiteral "a(x*)b" "-ab-axxb-" "${1}"}}', "-${1}-${1}-"),
    ('{{regexSplit "z+" "pizza" -1}}{{regexSplit "" "abc" 2}}{{regexSplit "a" "" -1 | len}}', "[pi a][a bc]1"),
    ('{{regexQuoteMeta "1.2.3[x]"}}', "1\\.2\\.3\\[x\\]"),
    (
        '{{regexReplaceAll "" "né" "-"}}|{{regexReplaceAll "b*" "abc" "-"}}|{{regexFindAll "\\\\B" "né" -1 | len}}',
        "-n-é-|-a-c-|1",
    ),
]
MISTAKES = [
    ('{{regexFind "(" "a"}}', "error calling regexFind: regexp: Compile(`(`): error parsing regexp: missing closing ): `(`"),
    ('{{mustRegexFind "a**" ""}}', "error parsing regexp: invalid nested repetition operator: `**`"),
    ('{{mustRegexMatch "(?=a)" ""}}', "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
    ('{{mustRegexMatch "\\\\C" ""}}', "invalid escape sequence: `\\C`"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
