"""The two parsers, and tabs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.config import nodes
from conveyor.config.documents import Document
from conveyor.config.nodes import DocumentError, Node, compose
from conveyor.config.parser import open_parser, python_parser


def plain(node: Node):
    if node.kind == "scalar":
        return (node.text, node.plain, node.offset)
    return [plain(item) for item in node.items] if node.kind == "list" else [(plain(k), plain(v)) for k, v in node.pairs]


def texts(node: Node):
    if node.kind == "scalar":
        return node.text
    return [texts(item) for item in node.items] if node.kind == "list" else {texts(k): texts(v) for k, v in node.pairs}


@pytest.fixture(params=["default", "python"])
def read(request, monkeypatch):
    monkeypatch.setattr(nodes, "open_parser", open_parser if request.param == "default" else python_parser())
    return lambda text: compose(Document(text, 0))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: b\t# c\nd: e", {"a": "b", "d": "e"}),
        ("a: b \t # c\r\nd: e\r\n", {"a": "b", "d": "e"}),
        ("a: 'b'\t# c\nd: \"e\"\t#f", {"a": "b", "d": "e"}),
        ("a:\t# c\n  b:\t\tc\n", {"a": {"b": "c"}}),
        ("- a\t# b\n- c\t\n", ["a", "c"]),
        ("a: [b,\tc\t# x\n, d]\t# y", {"a": ["b", "c", "d"]}),
        ("a: {b: c}\t# y\nd: e", {"a": {"b": "c"}, "d": "e"}),
        ("a: |\t# c\n  x\t# kept\n  y\n", {"a": "x\t# kept\ny\n"}),
        ("a: >-\t\n  x\n  y\n", {"a": "x y"}),
        ("a: 'x\t# kept'\nb: \"\t# kept\"", {"a": "x\t# kept", "b": "\t# kept"}),
        ("a: b\tc\td#e\t#f", {"a": "b\tc\td#e"}),
        ("a: b\n  c\t# d\ne: f", {"a": "b c", "e": "f"}),
        ("a\t: b\n'c'\t: d", {"a": "b", "c": "d"}),
        ("x: &b\ty\na: *b\t# c", {"x": "y", "a": "y"}),
    ],
)
def test_tabs_inside_a_line(read, text, value):
    assert texts(read(text)) == value


@pytest.mark.parametrize("text", ["a:\n\tb: c\n", "\ta: b\n", "-\ta\n- b", "a: b\n\tc: d\n"])
def test_tabs_that_indent_are_refused(read, text):
    with pytest.raises(DocumentError) as caught:
        read(text)
    assert "spaces" in caught.value.hint or "tab" in str(caught.value)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["a", "'b'", '"c d"', "e f", "1.10", "|\n  x\ty", "[g, h]", "{i: j}", "&k l", "!!str m", "n: o", "~", ""]
            ),
            st.sampled_from(["", " ", "\t", " \t", "\t\t "]),
            st.sampled_from(["", "# c", "#\td"]),
        ),
        max_size=6,
    )
)
def test_both_parsers_read_the_same(rows):
    text = "".join(f"k{number}: {value}{blank}{comment}\n" for number, (value, blank, comment) in enumerate(rows))
    found = []
    for parser in (open_parser, python_parser()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nodes, "open_parser", parser)
            try:
                found.append(plain(compose(Document(text, 0))))
            except DocumentError as error:
                found.append(error.offset if "mapping values" in str(error) else "error")
    assert found[0] == found[1]


@settings(deadline=None)
@given(st.text(alphabet=" \t\n-:#'\"[]{},&*!|>ab", max_size=40))
def test_any_text_is_read_or_refused(text):
    for parser in (open_parser, python_parser()):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nodes, "open_parser", parser)
            try:
                compose(Document(text, 7))
            except DocumentError as error:
                assert 7 <= error.offset <= 7 + len(text)


def test_scalars_of_untyped_places():
    from conveyor.config.scalars import integer, scalar_type

    def node(text, is_plain=True):
        return Node("scalar", 0, text, is_plain, size=1)

    for kind, found in {
        "integer": ["0", "1", "-1", "+12", "1_000", "0x1F", "0o17", "0b101", "0777"],
        "float": ["1.0", ".5", "1e3", "-2.5E-3", ".inf", "-.Inf", ".nan", "089"],
        "boolean": ["y", "Off", "TRUE"],
        "null": ["", "~", "Null"],
        "text": ["22:22", "2020-01-01", "1.2.3", "yEs", "0xg", "nan", "inf", "--", "a", "1e"],
    }.items():
        assert {text: scalar_type(node(text)) for text in found} == dict.fromkeys(found, kind)
    assert scalar_type(node("1", False)) == "text"
    assert [integer(node(text)) for text in ("0777", "0o17", "1_000", "-0x10", "2.0", "2.5", ".inf", "a", "0b2")] == [
        511, 15, 1000, -16, 2, None, None, None, None,
    ]  # fmt: skip
