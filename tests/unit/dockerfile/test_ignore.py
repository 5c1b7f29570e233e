"""Which paths a `.dockerignore` leaves out. `tests/integration/test_dockerignore.py` asks Docker the same."""

import pytest

from conveyor.dockerfile.ignore import BadPattern, Ignore

TABLE = [
    # pattern, left out, kept
    ("a", "a a/b a/b/c", "b ab b/a"),
    ("/a", "a a/b", "b/a"),
    ("a/", "a a/b", "b/a"),
    ("./a//b/../c", "a/c a/c/d", "a a/b"),
    ("*", "a a/b .a", ""),
    ("*.md", "x.md .md", "x.mdx a/x.md"),
    ("*/*.md", "a/x.md", "x.md a/b/x.md"),
    ("**/*.md", "x.md a/x.md a/b/x.md", "x.mdx"),
    ("**/a", "a b/a b/c/a a/x b/a/x", "ab ba"),
    ("a/**", "a/b a/b/c", "b"),
    ("a/**/b", "a/b a/x/b a/x/y/b a/x/b/z", "b a a/bb"),
    ("**", "a a/b .x", ""),
    ("**a", "a xa y/xa", "ax"),
    ("a?", "ab a. ab/c", "a abc a/b"),
    ("[a-c]x", "ax bx", "dx x"),
    ("[^a]x", "bx", "ax x"),
    ("a\\*", "a*", "ab a"),
    ("a.b", "a.b", "axb"),
    ("a+(b)$", "a+(b)$", "aab"),
    ("a b", "a b", "a"),
    ("  a  ", "a", " a"),
    ("#a", "", "a #a"),
    ("a\n!a/b", "a a/c", "a/b a/b/c"),
    ("a\n!a/b\na/b/c", "a/c a/b/c", "a/b a/b/d"),
    ("!a\na", "a a/b", "b"),
    ("*\n!*.md", "a a/b", "x.md"),
    ("**\n!**/*.md", "a a/b", "x.md a/x.md"),
    ("*\n!src\nsrc/*.log", "a src/x.log", "src src/a src/b/x.log"),
    ("! a\na", "a", "b"),
    ("\ufeffa", "a", "b"),
    ("a\r\nb\r\n", "a b", "c"),
    (".", "", "a a/b"),
    ("..", "", "a"),
    ("/", "", "a"),
]


@pytest.mark.parametrize(("text", "left_out", "kept"), TABLE, ids=[repr(row[0]) for row in TABLE])
def test_a_table(text, left_out, kept):
    ignore = Ignore(text.encode())
    names = [left_out] if text == "a b" else left_out.split(" ") if left_out else []
    assert [name for name in names if not ignore.ignores(name.encode())] == []
    others = [kept] if text.startswith("  ") else kept.split()
    assert [name for name in others if ignore.ignores(name.encode())] == []


def test_what_is_left_out_of_a_directory_for_certain():
    assert Ignore(b"a").ignores_all_below(b"a/b")
    assert not Ignore(b"a\n!a/b").ignores_all_below(b"a")
    assert not Ignore(b"b").ignores_all_below(b"a")


@pytest.mark.parametrize(
    ("text", "line"), [("a\n!\n", 2), ("[a\n", 1), ("x\n\n[b-a]", 3), ("[b-]", 1), ("[]a]", 1), ("[^]", 1)]
)
def test_what_is_no_pattern(text, line):
    with pytest.raises(BadPattern) as caught:
        Ignore(text.encode())
    assert caught.value.line == line


def test_names_that_are_no_utf_8():
    assert Ignore(b"**/*.bin").ignores(b"a/\xff.bin")
    assert Ignore(b"\xff").ignores(b"\xff")


@pytest.mark.parametrize("content", [b"a\n" * 5001, b"a" * 5000, b"a" * 2**20 + b"b"])
def test_a_file_without_end_is_refused(content):
    with pytest.raises(BadPattern, match=r"too many|characters"):
        Ignore(content)
