"""URLs as net/url has them."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import fail, give

EXAMPLES = [
    (
        (
            '{{$u := urlParse "http://admin:secret@server.com:8080/api?list=false#anchor"}}{{$u.scheme}}'
            " {{$u.host}} {{$u.hostname}} {{$u.path}} {{$u.query}} {{$u.fragment}} {{$u.userinfo}}"
            " {{$u.opaque}}"
        ),
        "http server.com:8080 server.com /api list=false anchor admin:secret ",
    ),
    (
        '{{urlJoin (dict "fragment" "frag ment" "host" "host:80" "path" "/pa th" "query" "q=1" "scheme" "http")}}',
        "http://host:80/pa%20th?q=1#frag%20ment",
    ),
    ('{{urlJoin (urlParse "mailto:a@b")}} {{urlJoin (dict "path" "a:b")}}', "mailto:a@b ./a:b"),
]
MISTAKES = [
    ('{{urlParse "http://a b/"}}', 'unable to parse url: parse "http://a b/": invalid character " " in host name'),
    ('{{urlParse "http://h/%zz"}}', 'invalid URL escape "%zz"'),
    ('{{urlJoin (dict "host" 1)}}', "unable to parse host key, must be of type string, but int found"),
    ('{{urlParse ":x"}}', "missing protocol scheme"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected


@pytest.mark.parametrize(("source", "message"), MISTAKES)
def test_mistakes(source, message):
    assert fail(source).endswith(message)
