"""Words, quotes and variables."""

import pytest

from conveyor.dockerfile.shell import BadSubstitution, expand, split_pairs, split_words

VALUES = {"a": "A", "empty": "", "path": "src/lib/x.tar.gz", "unknown": None}


def look_up(name):
    return name in VALUES, VALUES.get(name)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$a", "A"),
        ("${a}b$a", "AbA"),
        ("$ab", ""),
        ("$missing", ""),
        ("${missing}", ""),
        ("'$a'", "$a"),
        ('"$a b"', "A b"),
        ("\\$a", "$a"),
        ('"\\$a \\" \\x"', '$a " \\x'),
        ("a\\ b", "a b"),
        ("$", "$"),
        ("a$/b", "a$/b"),
        ("$1x", "x"),
        ("${missing:-x}", "x"),
        ("${missing-x}", "x"),
        ("${empty:-x}", "x"),
        ("${empty-x}", ""),
        ("${a:-x}", "A"),
        ("${a:+x}", "x"),
        ("${empty:+x}", ""),
        ("${empty+x}", "x"),
        ("${missing:-${a}y}", "Ay"),
        ('${missing:-"x y"}', "x y"),
        ("${a:?no}", "A"),
        ("${path#*/}", "lib/x.tar.gz"),
        ("${path##*/}", "x.tar.gz"),
        ("${path%.*}", "src/lib/x.tar"),
        ("${path%%.*}", "src/lib/x"),
        ("${path/lib/LIB}", "src/LIB/x.tar.gz"),
        ("${path//\\//_}", "src_lib_x.tar.gz"),
        ("${path/nothing/x}", "src/lib/x.tar.gz"),
        ("$unknown", None),
        ("x${unknown:-y}", None),
        ("${a:-$unknown}", None),
        ("${unknown%x}", None),
    ],
)
def test_expansion(text, expected):
    assert expand(text, look_up) == expected


def test_another_escape_character():
    assert expand("c:\\x`$a$a", look_up, "`") == "c:\\x$aA"


@pytest.mark.parametrize(
    "text", ["${a", "${", "${a:", "${a!b}", "${a:=b}", "'a", '"a', "${missing:?say it}", "${}", "${a:-b"]
)
def test_what_cannot_be_read(text):
    with pytest.raises(BadSubstitution):
        expand(text, look_up)


def test_pairs():
    assert split_pairs('a=b c="d e" f=g\\ h') == [("a", "b"), ("c", '"d e"'), ("f", "g\\ h")]
    assert split_pairs("a b  c") == [("a", "b  c")]
    assert split_pairs("a=") == [("a", "")]


def test_words():
    assert split_words("A=1 B='x y' C") == ["A=1", "B='x y'", "C"]


def test_patterns_with_many_stars_end_and_long_values_are_not_cut():
    values = {"many": "a" * 300, "long": "a" * 5000}
    assert expand("${many//" + "*a" * 40 + "b/x}", lambda name: (name in values, values.get(name))) == "a" * 300
    with pytest.raises(BadSubstitution, match="a value of 5000 characters"):
        expand("${long#*a}", lambda name: (name in values, values.get(name)))


def test_values_that_double_and_words_without_end_are_refused():
    with pytest.raises(BadSubstitution, match="the value has 600000 characters"):
        expand("$v$v", lambda name: (True, "a" * 300_000))
    with pytest.raises(BadSubstitution, match="nested too deep"):
        expand("${A:-" * 5000 + "}" * 5000, lambda name: (False, None))
    with pytest.raises(BadSubstitution, match="a word of 100001 characters"):
        expand("a" * 100_001, lambda name: (False, None))
