import pytest
from hypothesis import given
from hypothesis import strategies as st

from conveyor.events.lines import LineBuffer, strip_control


def joined(chunks, **options):
    buffer = LineBuffer(**options)
    return [line for chunk in chunks for line in buffer.feed(chunk)] + buffer.flush()


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"10%\r50%\r100%\ndone\n", ["100%", "done"]),
        (b"10%\r50%\r", ["50%"]),
        (b"50%\r\r\n", ["50%"]),
        (b"\xff\xe2\x82\xac\n", ["\ufffd\u20ac"]),
        (b"\x00\n", ["\x00"]),
    ],
)
def test_lines(data, lines):
    assert joined([data]) == lines


chunks = st.lists(st.binary(max_size=6) | st.sampled_from([b"\n", b"\r", b"\r\n", b"a", "\u20ac".encode(), b"abcdefgh"]))


@given(chunks)
def test_where_chunks_are_cut_does_not_matter(parts):
    whole = b"".join(parts)
    assert joined(parts) == joined([whole])
    assert joined([bytes([byte]) for byte in whole]) == joined([whole])


@given(st.binary())
def test_lines_are_those_of_the_text(data):
    expected = [part.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace") for part in data.split(b"\n")]
    lines = joined([data])
    assert lines in (expected, expected[:-1])
    if lines != expected:
        assert data.endswith(b"\n") or not data


@given(st.text(st.sampled_from("a\u00e4\u20ac\U0001f600"), max_size=60), st.integers(1, 9))
def test_pieces_of_a_long_line_lose_nothing_and_cut_no_character(text, step):
    data = text.encode()
    pieces = joined([data[start : start + step] for start in range(0, len(data), step)], limit=8)
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= 8 for piece in pieces)


def test_a_long_line_is_cut():
    lines = joined([b"x" * 30 + b"y" * 5, b"z", b"\nnext\n"], limit=8, long="cut")
    assert lines == ["xxxxxxxx\u2026", "next"]


def test_memory_is_bounded_by_the_limit():
    buffer = LineBuffer(limit=1000, long="cut")
    for _ in range(2000):
        buffer.feed(b"x" * 100_000)
    assert len(buffer.partial()) <= 1000


@pytest.mark.parametrize(
    ("text", "stripped", "colored"),
    [
        ("plain\ttext", "plain\ttext", "plain\ttext"),
        ("\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m\x1b[0m"),
        ("\x1b[2J\x1b[1;1Hhome", "home", "home"),
        ("\x1b[?25lhid\x1b[K", "hid", "hid"),
        ("\x1b]0;title\x07x", "x", "x"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link", "link"),
        ("\x1b(Bx\x1b=y\x1b7z", "xyz", "xyz"),
        ("a\x08b\x07\x00\x7f\x9bc", "abc", "abc"),
        ("end\x1b", "end", "end"),
        ("\x1b]0;never ends", "", ""),
    ],
)
def test_strip_control(text, stripped, colored):
    assert strip_control(text) == stripped
    assert strip_control(text, keep_colors=True) == colored


@given(st.text(st.sampled_from("\x1b[]0;1mHKJ(B\x07\\ a\x9b?"), max_size=30))
def test_nothing_that_controls_is_left(text):
    left = strip_control(text)
    assert all(character == "\t" or character.isprintable() for character in left)
