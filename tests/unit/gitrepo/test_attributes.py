from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.objects import Objects
from conveyor.gitrepo.wildmatch import compile_pattern


def lfs_of_git(place, commit, paths):
    """What `git check-attr` says, with the commit in the index."""
    place.git("read-tree", commit)
    said = place.git("check-attr", "--cached", "-z", "--stdin", "filter", feed=b"".join(path + b"\0" for path in paths))
    words = said.split(b"\0")[:-1]
    return sorted(path for path, value in zip(words[::3], words[2::3], strict=True) if value == b"lfs")


def check(place, attributes, paths):
    files = dict.fromkeys(paths, (33188, b"x"))
    files |= {path: (0o100644, text) for path, text in attributes.items()}
    commit = place.commit_files(files)
    repo = place.open()
    found = list(repo.lfs_files(commit, Selector(b"")))
    repo.close()
    assert found == lfs_of_git(place, commit, [*files]), attributes
    return found


PATHS = [
    b"a.bin",
    b"b.txt",
    b"dir/a.bin",
    b"dir/b.txt",
    b"dir/sub/a.bin",
    b"dir/sub/x y",
    b"other/dir/a.bin",
    b"\xff.bin",
    b"#hash",
    b"!bang",
    b'"quote',
    b"b\xc3\xa9",
]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (b"*.bin filter=lfs diff=lfs merge=lfs -text", 5),
        (b"*.bin filter=lfs\n*.bin -filter", 0),
        (b"*.bin filter=lfs\n*.bin !filter", 0),
        (b"*.bin filter=lfs\n*.bin filter", 0),
        (b"*.bin filter=lfs\n*.bin filter=other", 0),
        (b"*.bin filter=other filter=lfs", 5),
        (b"dir/*.bin filter=lfs", 1),
        (b"/dir/** filter=lfs", 4),
        (b"dir/ filter=lfs", 0),
        (b"dir filter=lfs", 0),
        (b"**/sub/* filter=lfs", 2),
        (b"**/*.bin filter=lfs", 5),
        (b"dir/**/a.bin filter=lfs", 2),
        (b"/a.bin filter=lfs", 1),
        (b"* filter=lfs", len(PATHS) + 1),
        (b"** filter=lfs", len(PATHS) + 1),
        (b"[attr]big filter=lfs -text\n*.bin big", 5),
        (b"*.bin big\n[attr]big filter=lfs", 5),
        (b"[attr]big filter=lfs\n[attr]huge big\n*.bin huge", 5),
        (b"[attr]big filter=lfs\n*.bin big\n*.bin -big", 0),
        (b"[attr]big filter=lfs\n*.bin big\na.bin !big", 1),
        (b"[attr]big filter=lfs\n*.bin big -filter", 0),
        (b"[attr]big filter=lfs\n*.bin -filter big", 5),
        (b"[attr]big filter=lfs\n[attr]big filter=other\n*.bin big", 0),
        (b"[attr]big filter=lfs\n*.bin big=1", 0),
        (b"*.bin binary filter=lfs", 5),
        (b"\\#hash filter=lfs", 1),
        (b"#hash filter=lfs", 0),
        (b"!bang filter=lfs", 0),
        (b"\\!bang filter=lfs", 1),
        (b'"dir/sub/x y" filter=lfs', 1),
        (b'"dir/sub/x\\040y" filter=lfs', 1),
        (b'"\\377.bin" filter=lfs', 1),
        (b'"b\\303\\251" filter=lfs', 1),
        (b"b?? filter=lfs", 1),
        (b"b? filter=lfs", 0),
        (b'"quote filter=lfs', 1),
        (b"[[:alpha:]].bin filter=lfs", 4),
        (b"[!a].txt filter=lfs", 2),
        (b"  *.bin \t filter=lfs\r", 5),
        (b"*.bin filter=lfs\r\n*.txt text\r\n", 5),
        (b"*.bin filter=lfs -bad/name", 0),
        (b"*.bin filter=lfs --x", 0),
        (b"*.bin filter=lfs" + b" " * 3000, 0),
        (b"# *.bin filter=lfs", 0),
        (b"*.BIN filter=lfs", 0),
        (b"*.bin filter=lfs2", 0),
        (b"", 0),
    ],
)
def test_lines(shared, text, count):
    assert len(check(shared, {b".gitattributes": text}, PATHS)) == count


def test_deeper_files_have_the_last_word(shared):
    attributes = {
        b".gitattributes": b"*.bin filter=lfs\n*.txt filter=lfs\n[attr]big filter=lfs\n",
        b"dir/.gitattributes": b"*.bin -filter\n[attr]no filter=lfs\n* no\nsub/x* big\n/b.txt !filter\n",
        b"dir/sub/.gitattributes": b"a.bin filter=lfs\n",
    }
    found = check(shared, attributes, PATHS)
    assert found == [b"a.bin", b"b.txt", b"dir/sub/a.bin", b"dir/sub/x y", b"other/dir/a.bin", b"\xff.bin"]


def test_only_what_is_selected(place):
    commit = place.commit_files(
        {
            b".gitattributes": (0o100644, b"*.bin filter=lfs"),
            b"a/x.bin": (0o100644, b"1"),
            b"a/y.bin": (0o120000, b"x.bin"),
            b"b/x.bin": (0o100644, b"1"),
            b"c/.gitattributes": (0o100644, b"x filter=lfs"),
            b"c/x": (0o100644, b"1"),
        }
    )
    repo = place.open()
    assert repo.lfs_files(commit, Selector(b"a")) == (b"a/x.bin",)  # a link is no content
    assert repo.lfs_files(commit, Selector(b"a/x.bin")) == (b"a/x.bin",)
    assert repo.lfs_files(commit, Selector(b"", ("**/x.bin",), ("a",))) == (b"b/x.bin",)
    assert repo.lfs_files(commit, Selector(b"c")) == (b"c/x",)
    assert repo.lfs_files(commit, Selector(b"absent")) == ()


def test_attributes_that_are_a_link_or_a_directory_are_not_read(place):
    commit = place.commit_files({b".gitattributes": (0o120000, b"real"), b"real": (0o100644, b"* filter=lfs")})
    assert place.open().lfs_files(commit, Selector(b"")) == ()
    commit = place.commit_files({b".gitattributes/x": (0o100644, b"* filter=lfs")})
    assert place.open().lfs_files(commit, Selector(b"")) == ()


def test_a_mark_of_utf_8_at_the_start_is_skipped_as_in_a_work_tree(place):
    place.write(".gitattributes", b"\xef\xbb\xbf*.bin filter=lfs\n")
    place.write("a.bin")
    commit = place.commit()
    assert place.git("check-attr", "filter", "a.bin") == b"a.bin: filter: lfs\n"
    assert place.open().lfs_files(commit, Selector(b"")) == (b"a.bin",)


WORDS = ["filter=lfs", "-filter", "!filter", "filter", "filter=x", "m", "-m", "!m", "n", "text"]
PATTERNS = [
    "*",
    "a",
    "*.b",
    "/a",
    "d/a",
    "d/*",
    "**/a",
    "d/**",
    "d/**/a",
    "[ab]",
    "?",
    "*a*",
    "d/",
    "\\a",
    "**",
    "[!a]*",
    "d**",
]
LINE = st.builds(
    lambda start, words: " ".join([start, *words]),
    st.sampled_from([*PATTERNS, "[attr]m", "[attr]n"]),
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=3),
)
TEXT = st.lists(LINE, max_size=5).map(lambda lines: "\n".join(lines).encode())


@settings(max_examples=120, deadline=None)
@given(st.fixed_dictionaries({b".gitattributes": TEXT}, optional={b"d/.gitattributes": TEXT, b"d/e/.gitattributes": TEXT}))
def test_any_attributes_are_read_as_git_reads_them(shared, attributes):
    check(shared, attributes, [b"a", b"x.b", b"d/a", b"d/x.b", b"d/e/a", b"d/e/f/a", b"dd"])


PIECES = [
    "*",
    "**",
    "?",
    "/",
    "a",
    "b",
    "[ab]",
    "[!a]",
    "[^b]",
    "[a-c]",
    "[]a]",
    "[[:alpha:]]",
    "[[:x:]]",
    "[",
    "\\",
    "-",
    "[\\]]",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join))
def test_patterns_match_as_in_git(shared, pattern):
    paths = [b"a", b"b", b"ab", b"c", b"]", b"-", b"a/b", b"b/a", b"a/b/a", b"ab/c", b"\\", b"[", b"a/]", b"[a"]
    quoted = pattern.replace("\\", "\\\\")
    text = f'"/{quoted}" filter=lfs'.encode()
    check(shared, {b".gitattributes": text}, _leaves(paths))
    check(shared, {b".gitattributes": text.replace(b"/", b"", 1)}, _leaves(paths))


def _leaves(paths):
    """Paths that can be files of one commit: `a` and `a/b` cannot."""
    return [path for path in paths if not any(other.startswith(path + b"/") for other in paths)]


def test_a_pattern_that_cannot_be_read_matches_nothing():
    for pattern in (b"[a", b"a\\", b"[[:none:]]", b"[]"):
        assert not compile_pattern(pattern).fullmatch(pattern)


def test_what_is_known_of_trees_is_kept_and_says_nothing_of_others(place, read_trees):
    for number in range(30):
        place.write(f"d{number}/e/f", f"{number}\n")
    place.commit()
    assert list_lfs(place) == ()
    assert len(read_trees) == 61
    assert list_lfs(place) == ()
    assert len(read_trees) == 61 + 1  # the root, whose own attributes count for all
    place.write("d7/e/g", "")
    place.commit()
    assert list_lfs(place) == ()
    assert len(read_trees) == 62 + 3
    place.write("d7/e/.gitattributes", "f filter=lfs\n")
    place.commit()
    assert list_lfs(place) == (b"d7/e/f",)


def list_lfs(place):
    repo = place.open()
    try:
        return repo.lfs_files(repo.head, Selector(b""))
    finally:
        repo.close()


@pytest.fixture
def read_trees(monkeypatch):
    """The trees that are read."""
    read = []
    load = Objects._load
    monkeypatch.setattr(Objects, "_load", lambda self, oids: read.extend(oids) or load(self, oids))
    return read
