"""Whatever the text, parsing ends, with templates or with a `TemplateError` that has a place in it."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from conveyor.config.template.errors import TemplateError
from conveyor.config.template.lexer import END, ERROR, LEFT, RIGHT, SPACE, TEXT, tokens_of
from conveyor.config.template.parser import parse

WORDS = """{{ }} {{- -}} /* */ | . $ ( ) " ` ' - = := , end else if range with define block template break nil true 1 0x 1e9
.a $x \\ é ² _ 1i 09 + {{end}} {{if} {{range}"""
PIECES = st.sampled_from([*WORDS.split(), "\n", "\udcff", "\x00"])


def parsed(source: str) -> set[str]:
    return set(parse(source, "main", {"print", "len"}, lambda name: ""))


@given(st.lists(st.one_of(PIECES, st.just(" "), st.text(max_size=3)), max_size=30).map("".join))
@settings(max_examples=150, deadline=None)
def test_any_text_is_parsed_or_refused_with_a_place(source: str) -> None:
    try:
        assert "main" in parsed(source)
    except TemplateError as error:
        (spot,) = error.spots
        assert 1 <= spot.line <= source.count("\n") + 1
        assert spot.shown == source.split("\n")[spot.line - 1]
        assert str(error) == f"template: main:{spot.line}: {error.cause}"


@given(st.lists(st.one_of(PIECES, st.just(" ")), max_size=30).map("".join))
@example("{{\n-}}a")
@settings(max_examples=100, deadline=None)
def test_tokens_stand_where_they_say(source: str) -> None:
    tokens = tokens_of(source)
    assert tokens[-1].kind in (END, ERROR)
    for token in tokens[:-1]:
        assert source.startswith(token.text, token.position)
        assert token.line == source.count("\n", 0, token.position) + 1


def test_text_that_is_no_action_is_one_token() -> None:
    assert [token.kind for token in tokens_of("a { } }} b")] == [TEXT, END]


def test_blanks_before_a_trimming_end_belong_to_it() -> None:
    assert [(token.kind, token.text) for token in tokens_of("{{ 1  -}} x")][-4:] == [
        (SPACE, " "),
        (RIGHT, "}}"),
        (TEXT, "x"),
        (END, ""),
    ]
    assert tokens_of("a {{- 1}}")[0].text == "a"
    assert tokens_of("a {{-1}}")[0].text == "a "
    assert tokens_of("{{-1}}")[0].kind == LEFT


@pytest.mark.parametrize("source", ["{{" + "(" * 300 + "1" + ")" * 300 + "}}", "{{if 1}}" * 300 + "{{end}}" * 300])
def test_deep_nesting_is_refused(source: str) -> None:
    with pytest.raises(TemplateError, match="nested more than 200 deep"):
        parsed(source)


def test_every_definition_is_found() -> None:
    source = '{{define "a"}}x{{end}}{{block "b" .}}{{define "no"}}{{end}}{{end}}'
    with pytest.raises(TemplateError, match="unexpected <define> in command"):
        parsed(source)
    assert parsed('{{define "a"}}x{{end}}{{if 1}}{{block "b" .}}y{{end}}{{end}}') == {"main", "a", "b"}
