from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.errors import GitError
from conveyor.gitrepo.matching import compile_matcher


def takes(glob, path):
    return compile_matcher((glob,), ()).matches(path.encode() if isinstance(path, str) else path)


@pytest.mark.parametrize(
    ("glob", "taken", "left"),
    [
        ("dir", ["dir", "dir/a", "dir/a/b"], ["dirs", "a/dir", "di"]),
        ("dir/*", ["dir", "dir/a", "dir/a/b"], ["dirs"]),
        ("dir/**", ["dir", "dir/a", "dir/a/b"], ["dirs"]),
        ("dir/**/*", ["dir", "dir/a", "dir/a/b"], ["dirs"]),
        ("/dir/", ["dir", "dir/a"], ["dirs"]),
        ("./dir", ["dir", "dir/a"], ["dirs"]),
        ("*", ["a", "a/b", ".hidden", ""], []),
        ("**", ["a", "a/b", ""], []),
        ("*.go", ["a.go", ".go", "a.go/below"], ["a/b.go", "a.gox"]),
        ("**/*.go", ["a.go", "a/b.go", "a/b/c.go"], ["a.gox"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b", "a/x/b/below"], ["ab", "a/xb", "x/a/b"]),
        ("a**b", ["ab", "axxb"], ["a/b"]),
        ("?", ["a", "é", "a/b"], ["ab", ""]),
        ("[abc]", ["a", "c"], ["d", "[abc]"]),
        ("[a-c]x", ["bx"], ["dx", "-x"]),
        ("[^a]", ["b", "^"], ["a"]),
        ("[!a]", ["b", "!"], ["a"]),
        ("a[^b]c", ["axc"], ["abc", "a/c"]),
        ("[\\]]", ["]"], ["\\"]),
        ("[а-я]", ["щ"], ["w"]),
        ("{a,b}", ["a", "b/c"], ["c", "{a,b}"]),
        ("{a,b{c,d}}x", ["ax", "bcx", "bdx"], ["bx"]),
        ("{a/b,c}/d", ["a/b/d", "c/d"], ["a/d", "b/d"]),
        ("{a,**}/d", ["a/d", "d", "x/y/d"], ["a"]),
        ("{a,b/*}", ["a", "b", "b/c/d"], ["c"]),
        ("a{,b}", ["a", "ab"], ["abc"]),
        ("{a,}", ["a"], ["b", ""]),
        ("{a/b,}", ["a/b"], ["b", ""]),
        ("b/{a,}", ["b", "b/a", "b/x"], ["c"]),
        ("\\*", ["*", "*/a"], ["a"]),
        ("\\{a,b\\}", ["{a,b}"], ["a"]),
        ("a\\[b", ["a[b"], []),
        ("[", ["["], ["a"]),
        ("{a", ["{a"], ["a"]),
        ("a.b", ["a.b"], ["axb"]),
        ("a\nb", ["a\nb"], ["a"]),
        ("a b", ["a b"], ["a"]),
    ],
)
def test_globs(glob, taken, left):
    assert [path for path in [*taken, *left] if takes(glob, path)] == taken


def test_bytes_that_are_no_text_are_characters():
    assert takes("a?b", b"a\xffb")
    assert not takes("a?b", b"a\xff\xfeb")
    assert takes("a*", b"a\xff\n\xfe")
    assert not compile_matcher((), ("*\n*",)).matches(b"\xff\n")


def test_an_exclude_is_stronger_than_an_include():
    matcher = compile_matcher(("src",), ("src/vendor", "**/*.md"))
    assert matcher.matches(b"src/a.go")
    assert not matcher.matches(b"src/vendor/a.go")
    assert not matcher.matches(b"src/a/b.md")
    assert not matcher.matches(b"other")


def test_within_narrows_what_is_included():
    matcher = compile_matcher(("src",), ("src/x",), ("**/*.lock",))
    assert matcher.matches(b"src/a.lock")
    assert not matcher.matches(b"src/a.txt")
    assert not matcher.matches(b"a.lock")
    assert not matcher.matches(b"src/x/a.lock")


def test_a_file_that_is_itself_added_has_no_name_to_match():
    assert compile_matcher((), ()).matches(b"")
    assert compile_matcher(("**",), ()).matches(b"")
    assert not compile_matcher(("name",), ()).matches(b"")
    assert not compile_matcher((), ("*",)).matches(b"")


@pytest.mark.parametrize(
    ("include", "exclude", "directory", "taken"),
    [
        ((), (), b"", "all"),
        (("a/b",), (), b"", "partial"),
        (("a/b",), (), b"a", "partial"),
        (("a/b",), (), b"a/b", "all"),
        (("a/b",), (), b"a/b/c", "all"),
        (("a/b",), (), b"b", "none"),
        (("a/b",), (), b"a/c", "none"),
        (("*.go",), (), b"a", "none"),
        (("*/x",), (), b"a", "partial"),
        (("*/x",), (), b"a/b", "none"),
        (("a/**/x",), (), b"a/b/c", "partial"),
        (("a/**/x",), (), b"b", "none"),
        (("a/*", "b"), (), b"b", "all"),
        ((), ("a",), b"a", "none"),
        ((), ("a",), b"b", "all"),
        ((), ("a/b",), b"a", "partial"),
        ((), ("**/*.md",), b"a", "partial"),
        ((), ("**",), b"", "none"),
        (("a",), ("a/b",), b"a", "partial"),
        (("a",), ("a/b",), b"a/c", "all"),
    ],
)
def test_directories_are_entered_only_where_something_may_match(include, exclude, directory, taken):
    assert compile_matcher(include, exclude).directory(directory) == taken


def test_a_glob_with_thousands_of_alternatives_is_refused():
    with pytest.raises(GitError) as raised:
        compile_matcher(("{a/b,c}" * 13,), ())
    assert raised.value.reason == "glob_too_large"


def test_matchers_are_compiled_once():
    assert compile_matcher(("a",), ("b",)) is compile_matcher(("a",), ("b",))


def test_stars_that_match_nothing_take_no_time():
    assert not takes("*a*a*a*a*b", "a" * 60)
    assert not takes("**/a/**/a/**/a/**/b", "/".join("a" * 40))


# An oracle that follows werf's words: each pattern in three forms, each form component by component, character by character.

TOKENS = [
    "a",
    "b",
    "/",
    "/",
    "*",
    "?",
    "**",
    "[ab]",
    "[^a]",
    "[!b]",
    "[a-b]",
    "{a,b}",
    "{a/b,b}",
    "{**,a}",
    "{a,}",
    "\\*",
    ".",
]
GLOBS = st.lists(st.sampled_from(TOKENS), min_size=1, max_size=7).map("".join)
PATHS = [
    "/".join(parts) for depth in range(1, 4) for parts in itertools.product(["a", "b", "ab", "b*", "a.b"], repeat=depth)
]


def expand(glob):
    found = re.search(r"\{([^{}]*)\}", glob)
    if found is None:
        return [glob]
    return [text for part in found[1].split(",") for text in expand(glob[: found.start()] + part + glob[found.end() :])]


def names_match(glob, name):
    if not glob:
        return not name
    if glob[0] == "*":
        return names_match(glob[1:], name) or (bool(name) and names_match(glob, name[1:]))
    if not name:
        return False
    if glob[0] == "[":
        end = glob.index("]")
        inner = glob[1:end]
        negated = inner[0] in "^!"
        members = "ab" if "-" in inner else inner.strip("^!")
        return (name[0] in members) != negated and names_match(glob[end + 1 :], name[1:])
    if glob[0] == "\\":
        return glob[1] == name[0] and names_match(glob[2:], name[1:])
    return glob[0] in ("?", name[0]) and names_match(glob[1:], name[1:])


def parts_match(glob, path):
    if not glob:
        return not path
    if glob[0] == "**":
        return parts_match(glob[1:], path) or (bool(path) and parts_match(glob, path[1:]))
    return bool(path) and names_match(glob[0], path[0]) and parts_match(glob[1:], path[1:])


def oracle(glob, path):
    for text in expand(glob):
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if not parts and text != glob:
            continue  # an empty alternative
        trimmed = list(parts)
        while trimmed and not trimmed[-1].strip("*"):
            trimmed.pop()
        path_parts = path.split("/") if path else []
        if any(parts_match(form, path_parts) for form in (parts, trimmed, [*trimmed, "**", "*"])):
            return True
    return False


@settings(max_examples=400, deadline=None)
@given(GLOBS, st.lists(st.sampled_from(PATHS), max_size=20))
def test_globs_match_what_werfs_three_forms_match(glob, paths):
    for path in paths:
        assert takes(glob, path) == oracle(glob, path), (glob, path)


@settings(max_examples=200, deadline=None)
@given(st.lists(GLOBS, max_size=3), st.lists(GLOBS, max_size=2), st.lists(GLOBS, max_size=2))
def test_what_is_said_of_a_directory_is_true_of_the_files_below_it(include, exclude, within):
    matcher = compile_matcher(tuple(include), tuple(exclude), tuple(within))
    for directory in ["", *(path for path in PATHS if path.count("/") < 2)]:
        taken = matcher.directory(directory.encode())
        below = [path for path in PATHS if not directory or path.startswith(directory + "/")]
        matched = {matcher.matches(path.encode()) for path in below}
        assert taken == "partial" or matched == {taken == "all"}, (directory, taken)
