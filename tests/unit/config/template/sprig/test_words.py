"""Words: the examples of sprig's documentation, and scripts other than Latin."""

from __future__ import annotations

import pytest

from tests.unit.config.template.sprig.rendering import give

EXAMPLES = [
    (
        '{{upper "hello"}}{{lower "HELLO"}}{{title "hello world"}}{{untitle "Hello World"}}',
        "HELLOhelloHello Worldhello world",
    ),
    ('{{upper "straße ﬁ"}}|{{lower "İΣ"}}|{{title "l\'été foo_bar ǆ"}}', "STRAßE ﬁ|iσ|L'Été Foo_bar ǅ"),
    ('{{nospace "hello w o r l d"}}|{{initials "First Try"}}|{{swapcase "This Is A.Test"}}', "helloworld|FT|tHIS iS a.tEST"),
    ('{{snakecase "FirstName"}}|{{camelcase "http_server"}}|{{kebabcase "FirstName"}}', "first_name|HttpServer|first-name"),
    (
        '{{snakecase "HTTPServer2xx"}}|{{snakecase "Bld4Floor3rd"}}|{{kebabcase "GO_PATH v2"}}',
        "http_server_2xx|bld4_floor_3rd|go-path-v2",
    ),
    ('{{camelcase "__"}}|{{camelcase "a--b"}}|{{camelcase "_x_"}}', "___|A-B|_X_"),
    ('{{abbrev 5 "hello world"}}|{{abbrev 3 "hello"}}|{{abbrevboth 5 10 "1234 5678 9123"}}', "he...|hello|...5678..."),
    ('{{wrap 5 "aaa bbb ccccccc d"}}|{{wrapWith 5 "\\t" "Hello World"}}', "aaa\nbbb\nccccccc\nd|Hello\tWorld"),
]


@pytest.mark.parametrize(("source", "expected"), EXAMPLES)
def test_examples(source, expected):
    assert give(source) == expected
