from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conveyor.errors import GitError
from conveyor.gitrepo.api import Selector
from conveyor.gitrepo.matching import compile_matcher
from tests.unit.gitrepo.repositories import as_listed, make_place

ODD = {
    b"plain": (0o100644, b"1"),
    b"with space": (0o100644, b"2"),
    b"new\nline": (0o100644, b"3"),
    b'quote"s\\': (0o100755, b"4"),
    b"-dash/--dash": (0o100644, b"5"),
    b"not\xffutf8/\xfe": (0o100644, b"6"),
    b"\xc3\xa9/\xd0\xb6": (0o100644, b"7"),
    b"tab\t/ ": (0o100644, b""),
    b"link": (0o120000, b"plain"),
    b"a/b/c/d/e": (0o100644, b"8"),
    b"a.b": (0o100644, b"9"),
    b"a0": (0o100644, b"9"),
    b"[x]*?": (0o100644, b"10"),
}
GLOBS = ["a", "a/b", "*", "**/b", "*/a", "b*", "**/*a*", "{a,b}/c", "c/**/a", "[!a]", "a/b/c"]
NAMES = [b"a", b"b", b"c", b"ab", b"a.b", b"\xff", b" "]
FILES = st.dictionaries(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(b"/".join),
    st.tuples(st.sampled_from([0o100644, 0o100755, 0o120000]), st.sampled_from([b"x", b"y", b"z"])),
    max_size=12,
).map(
    lambda files: {path: entry for path, entry in files.items() if not any(other.startswith(path + b"/") for other in files)}
)
GLOB_LISTS = st.lists(st.sampled_from(GLOBS), max_size=2).map(tuple)
SELECTORS = st.builds(Selector, st.sampled_from([b"", b"", b"a", b"a/b", b"c"]), GLOB_LISTS, GLOB_LISTS, GLOB_LISTS)


def selected(listed, selector):
    """What a selector means of a list of files."""
    matcher = compile_matcher(selector.include, selector.exclude, selector.within)
    found = {}
    for path, what in listed.items():
        if not selector.add:
            below = path
        elif path == selector.add:
            below = b""
        elif path.startswith(selector.add + b"/"):
            below = path[len(selector.add) + 1 :]
        else:
            continue
        if matcher.matches(below):
            found[below] = what
    return found


def test_odd_names_modes_and_links(place):
    commit = place.commit_files(ODD)
    repo = place.open()
    blobs = repo.files(commit, Selector(b""))
    assert as_listed(blobs) == place.listed(commit)
    assert [blob.path for blob in blobs] == sorted(ODD)
    assert [blob.path for blob in blobs if blob.is_link] == [b"link"]
    for blob in blobs:
        with repo.open(blob) as content:
            assert content.read() == ODD[blob.path][1]
    assert repo.sizes(blobs) == [len(ODD[blob.path][1]) for blob in blobs]
    repo.close()


def test_a_single_file_is_added_as_no_path(place):
    commit = place.commit_files(ODD)
    repo = place.open()
    assert [(blob.path, blob.mode) for blob in repo.files(commit, Selector(b"-dash/--dash"))] == [(b"", 0o100644)]
    assert repo.is_file(commit, b"link")
    assert not repo.is_file(commit, b"a")
    assert not repo.is_file(commit, b"absent")
    assert not repo.is_file(commit, b"plain/below")
    assert repo.files(commit, Selector(b"plain/below")) == ()
    assert not repo.matches(commit, Selector(b"absent"))
    assert repo.matches(commit, Selector(b"a", ("**/e",)))
    assert not repo.matches(commit, Selector(b"a", ("e",)))


@settings(max_examples=60, deadline=None)
@given(old=FILES, new=FILES, selectors=st.lists(SELECTORS, min_size=1, max_size=6))
def test_walks_digests_and_deltas_are_those_of_git(shared, old, new, selectors):
    first = shared.commit_files(old)
    second = shared.commit_files(new, parents=[first])
    before, after = shared.listed(first), shared.listed(second)
    repo = shared.open()
    for selector in selectors:
        was, now = selected(before, selector), selected(after, selector)
        assert as_listed(repo.files(first, selector)) == was
        assert as_listed(repo.files(second, selector)) == now
        assert repo.matches(second, selector) == bool(now)
        assert (repo.tree_digest(first, selector) == repo.tree_digest(second, selector)) == (was == now)
        delta = repo.delta(first, second, selector)
        assert as_listed(delta.removed) == {path: was[path] for path in was.keys() - now.keys()}
        assert as_listed(blob for _, blob in delta.changed) == {
            path: now[path] for path in now if was.get(path) != now[path]
        }
        assert {blob.path: (old and (old.mode, old.oid)) for old, blob in delta.changed} == {
            path: was.get(path) for path in now if was.get(path) != now[path]
        }
        assert [blob.path for _, blob in delta.changed] == sorted(blob.path for _, blob in delta.changed)
        assert [blob.path for blob in delta.removed] == sorted(blob.path for blob in delta.removed)
        assert bool(delta) == (was != now)
    repo.close()


@settings(max_examples=40, deadline=None)
@given(old=FILES, new=FILES)
def test_a_delta_of_everything_is_what_diff_tree_says(shared, old, new):
    first = shared.commit_files(old)
    second = shared.commit_files(new, parents=[first])
    words = shared.git("diff-tree", "-r", "-z", "--no-renames", first, second).split(b"\0")[:-1]
    said = {path: about.split()[-1][:1] for about, path in zip(words[::2], words[1::2], strict=True)}
    repo = shared.open()
    delta = repo.delta(first, second, Selector(b""))
    repo.close()
    assert {blob.path for blob in delta.removed} == {path for path, letter in said.items() if letter == b"D"}
    assert {blob.path for old, blob in delta.changed if old is None} == {p for p, letter in said.items() if letter == b"A"}
    assert {blob.path for old, blob in delta.changed if old is not None} == {p for p in said if said[p] in (b"M", b"T")}


@settings(max_examples=40, deadline=None)
@given(files=FILES, selector=SELECTORS)
def test_a_digest_is_the_id_that_git_gives_to_a_tree_of_the_selected_files(shared, files, selector):
    commit = shared.commit_files(files)
    taken = selected(shared.listed(commit), selector)
    repo = shared.open()
    digest = repo.tree_digest(commit, selector)
    repo.close()
    if not taken:
        assert digest == ""
    elif b"" in taken:
        assert digest == f"{taken[b''][0]:o} {taken[b''][1]}"
    else:
        index = shared.path / "an-index"
        lines = b"".join(b"%o %s\t%s\0" % (mode, oid.encode(), path) for path, (mode, oid) in taken.items())
        shared.git("update-index", "-z", "--index-info", feed=lines, GIT_INDEX_FILE=str(index))
        assert digest == shared.git("write-tree", GIT_INDEX_FILE=str(index)).decode().strip()
        index.unlink()


def test_a_digest_of_files_stays_when_others_change_and_follows_mode_path_and_content(place):
    base = {b"src/a.py": (0o100644, b"1"), b"src/b.md": (0o100644, b"1"), b"other": (0o100644, b"1")}
    variants = {
        "same": base,
        "others": {**base, b"src/b.md": (0o100644, b"2"), b"src/c/d.md": (0o100644, b"2"), b"other": (0o100644, b"2")},
        "mode": {**base, b"src/a.py": (0o100755, b"1")},
        "content": {**base, b"src/a.py": (0o100644, b"2")},
        "path": {b"src/A.py": (0o100644, b"1"), b"src/b.md": (0o100644, b"1")},
        "more": {**base, b"src/c/d.py": (0o100644, b"1")},
    }
    commits = {name: place.commit_files(files) for name, files in variants.items()}
    repo = place.open()
    digests = {name: repo.tree_digest(commit, Selector(b"src", ("**/*.py",))) for name, commit in commits.items()}
    assert digests["same"] == digests["others"]
    assert len(set(digests.values())) == 5


def test_empty_directories_that_other_tools_write_are_no_files(place):
    empty = place.git("mktree", feed=b"").decode().strip()
    tree = place.git("mktree", feed=b"040000 tree %s\tempty\n" % empty.encode()).decode().strip()
    commit = place.git("commit-tree", "-m", "x", tree).decode().strip()
    place.git("update-ref", "refs/heads/main", commit)
    repo = place.open()
    assert repo.files(commit, Selector(b"")) == ()
    assert not repo.matches(commit, Selector(b""))
    assert repo.tree_digest(commit, Selector(b"empty")) == repo.tree_digest(commit, Selector(b"absent")) == ""


def test_old_modes_are_read_as_git_reads_them(place):
    blob = place.git("hash-object", "-w", "--stdin", feed=b"x").decode().strip()
    raw = b"100664 a\0" + bytes.fromhex(blob)
    tree = place.git("hash-object", "-t", "tree", "--literally", "-w", "--stdin", feed=raw).decode().strip()
    commit = place.git("commit-tree", "-m", "x", tree).decode().strip()
    place.git("update-ref", "refs/heads/main", commit)
    assert as_listed(place.open().files(commit, Selector(b""))) == {b"a": (0o100644, blob)}


def test_a_file_that_becomes_a_directory(place):
    old = place.commit_files({b"x": (0o100644, b"1"), b"y/z": (0o100644, b"1")})
    new = place.commit_files({b"x/z": (0o100644, b"1"), b"y": (0o120000, b"1")}, parents=[old])
    repo = place.open()
    delta = repo.delta(old, new, Selector(b""))
    assert [blob.path for blob in delta.removed] == [b"x", b"y/z"]
    assert [(before, blob.path, blob.mode) for before, blob in delta.changed] == [
        (None, b"x/z", 0o100644),
        (None, b"y", 0o120000),
    ]
    delta = repo.delta(old, new, Selector(b"x"))
    assert [blob.path for blob in delta.removed] == [b""]
    assert [blob.path for _, blob in delta.changed] == [b"z"]


def test_read_file_follows_links_inside_of_the_repository(place):
    commit = place.commit_files(
        {
            b"file": (0o100644, b"content"),
            b"link": (0o120000, b"file"),
            b"again": (0o120000, b"./link"),
            b"dir/up": (0o120000, b"../file"),
            b"dir/deep/file": (0o100644, b"deep"),
            b"to-dir": (0o120000, b"dir/deep"),
            b"through": (0o120000, b"to-dir/../up"),
            b"absolute": (0o120000, b"/file"),
            b"out": (0o120000, b"../file"),
            b"out-and-in": (0o120000, b"dir/../../file"),
            b"circle": (0o120000, b"circle"),
            b"nowhere": (0o120000, b"absent"),
            b"below-file": (0o120000, b"file/x"),
        }
    )
    repo = place.open()
    assert {path: repo.read_file(commit, path) for path in (b"file", b"link", b"again", b"dir/up", b"to-dir/file")} == {
        b"file": b"content",
        b"link": b"content",
        b"again": b"content",
        b"dir/up": b"content",
        b"to-dir/file": b"deep",
    }
    assert repo.read_file(commit, b"through") == b"content"  # as the system does: `..` of dir/deep is dir
    assert repo.read_file(commit, b"dir//./up") == b"content"
    for path in (
        b"absolute",
        b"out",
        b"out-and-in",
        b"circle",
        b"nowhere",
        b"below-file",
        b"dir",
        b"",
        b"absent",
        b"file/x",
    ):
        assert repo.read_file(commit, path) is None, path


def test_links_are_followed_forty_times(place):
    files = {b"0": (0o100644, b"content")}
    files.update({str(number).encode(): (0o120000, str(number - 1).encode()) for number in range(1, 42)})
    commit = place.commit_files(files)
    repo = place.open()
    assert repo.read_file(commit, b"40") == b"content"
    assert repo.read_file(commit, b"41") is None


def test_sha256(tmp_path):
    place = make_place(tmp_path / "repository", "--object-format=sha256")
    old = place.commit_files(ODD)
    new = place.commit_files({**ODD, b"plain": (0o100755, b"other")}, parents=[old])
    repo = place.open()
    assert len(repo.head) == 64
    assert as_listed(repo.files(new, Selector(b""))) == place.listed(new)
    assert [blob.path for _, blob in repo.delta(old, new, Selector(b"")).changed] == [b"plain"]
    assert repo.tree_digest(new, Selector(b"")) == place.head(f"{new}^{{tree}}")
    assert len(repo.tree_digest(new, Selector(b"", ("a",)))) == 64
    assert repo.exists([old, new, "0" * 40]) == {old, new}


def test_a_tree_that_is_missing_is_named(place):
    commit = place.commit_files({b"a/b": (0o100644, b"1")})
    place.git("repack", "-adq")
    place.git("unpack-objects", "-q", feed=_packs(place))
    tree = place.head(f"{commit}:a")
    (place.path / ".git/objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(GitError, match=tree) as raised:
        place.open().files(commit, Selector(b""))
    assert raised.value.reason == "object_missing"


def _packs(place):
    """The bytes of the only pack, which is taken away."""
    directory = place.path / ".git/objects/pack"
    pack = next(directory.glob("*.pack"))
    data = pack.read_bytes()
    for file in directory.iterdir():
        file.unlink()
    return data
