from __future__ import annotations

import os

import pytest

from conveyor.gitrepo.api import Change, Selector


def changes(place, **options):
    repo = place.open(**options)
    try:
        return {change.path: change.kind for change in repo.uncommitted()}
    finally:
        repo.close()


@pytest.fixture
def filled(place):
    for path in ("kept", "modified", "staged", "both", "deleted", "removed", "to-link", "mode", "dir/below"):
        place.write(path, f"{path}\n")
    place.write(".gitignore", "*.log\n")
    place.commit()
    return place


def test_kinds(filled):
    place = filled
    place.write("modified", "2\n")
    place.write("staged", "2\n")
    place.write("added", "1\n")
    place.write("both", "2\n")
    place.git("add", "staged", "added", "both")
    place.write("both", "3\n")
    (place.path / "deleted").unlink()
    place.git("rm", "--quiet", "removed")
    place.git("mv", "dir/below", "dir/moved")
    (place.path / "to-link").unlink()
    (place.path / "to-link").symlink_to("kept")
    (place.path / "mode").chmod(0o755)
    place.write("untracked/a/b")
    place.write("untracked/c")
    place.write("x.log")
    place.write("meant")
    place.git("add", "--intent-to-add", "meant")
    assert changes(place) == {
        b"modified": "modified",
        b"staged": "staged",
        b"added": "staged",
        b"both": "modified",
        b"deleted": "deleted",
        b"removed": "deleted",
        b"dir/below": "deleted",
        b"dir/moved": "staged",
        b"to-link": "modified",
        b"mode": "modified",
        b"untracked/a/b": "untracked",
        b"untracked/c": "untracked",
        b"meant": "modified",
    }


def test_a_clean_work_tree(filled):
    assert changes(filled) == {}


@pytest.mark.parametrize(
    "setting",
    [
        ("status.showUntrackedFiles", "no"),
        ("status.renames", "copies"),
        ("status.relativePaths", "true"),
        ("status.short", "true"),
        ("status.branch", "true"),
        ("status.showStash", "true"),
        ("core.quotePath", "true"),
        ("color.status", "always"),
        ("diff.ignoreSubmodules", "all"),
        ("core.untrackedCache", "true"),
    ],
)
def test_settings_of_the_user_have_no_say(filled, setting):
    filled.git("config", *setting)
    filled.write('a b\n"é', "1\n")
    filled.git("mv", "dir/below", "dir/moved")
    assert changes(filled, directory="dir") == {
        'a b\n"é'.encode(): "untracked",
        b"dir/below": "deleted",
        b"dir/moved": "staged",
    }


def test_odd_names(place):
    names = [b"with space", b"new\nline", b"\xff\xfe", b"-dash", b'"quoted"', b"tab\t", b"? x", b"1 .M", b" lead"]
    for name in names:
        place.write(name, "1\n")
    place.commit()
    for name in names:
        place.write(name, "2\n")
        place.write(b"new " + name)
    expected = dict.fromkeys(names, "modified") | {b"new " + name: "untracked" for name in names}
    assert changes(place) == expected


def test_a_conflict(place):
    place.write("a", "1\n")
    place.commit()
    place.git("checkout", "--quiet", "-b", "other")
    place.write("a", "2\n")
    place.commit()
    place.git("checkout", "--quiet", "main")
    place.write("a", "3\n")
    place.commit()
    import subprocess

    subprocess.run(["git", "-C", place.path, "merge", "--quiet", "other"], capture_output=True)
    assert changes(place) == {b"a": "modified"}


def test_it_is_asked_once_and_the_index_is_not_written(filled):
    index = filled.path / ".git/index"
    before = index.read_bytes(), index.stat().st_mtime_ns
    os.utime(filled.path / "kept", (1, 1))
    repo = filled.open()
    assert repo.uncommitted() == ()
    filled.write("later")
    assert repo.uncommitted() == ()
    assert (index.read_bytes(), index.stat().st_mtime_ns) == before


def test_a_repository_inside_is_one_directory(filled):
    filled.git("init", "--quiet", "nested/inner")
    filled.write("nested/inner/a")
    assert changes(filled) == {b"nested/inner/": "untracked"}
    repo = filled.open()
    for selector, expected in [
        (Selector(b""), 1),
        (Selector(b"nested"), 1),
        (Selector(b"nested/inner"), 1),
        (Selector(b"nested/inner/a"), 1),
        (Selector(b"dir"), 0),
        (Selector(b"nested", ("inner/x",)), 1),
        (Selector(b"nested", ("other",)), 0),
        (Selector(b"", (), ("nested",)), 0),
    ]:
        assert len(list(repo.select_changes(repo.uncommitted(), selector))) == expected, selector


@pytest.mark.parametrize(
    ("change", "selector", "selected"),
    [
        (Change(b"a/b", "modified"), Selector(b""), True),
        (Change(b"a/b", "modified"), Selector(b"a"), True),
        (Change(b"a/b", "modified"), Selector(b"a/b"), True),
        (Change(b"a/bc", "modified"), Selector(b"a/b"), False),
        (Change(b"a/b", "modified"), Selector(b"a", ("b",)), True),
        (Change(b"a/b", "modified"), Selector(b"a", ("c",)), False),
        (Change(b"a/b", "modified"), Selector(b"a", (), ("b",)), False),
        (Change(b"a/b", "untracked"), Selector(b"a", (), (), ("c",)), False),
        (Change(b"a/b", "deleted"), Selector(b"a/b/c"), False),
        (Change(b"a/b", "untracked"), Selector(b"a/b/c"), False),
        (Change(b"sub", "submodule"), Selector(b"sub/x"), True),
        (Change(b"sub", "submodule"), Selector(b"sub"), True),
        (Change(b"sub", "submodule"), Selector(b"", ("sub/x",)), True),
        (Change(b"sub", "submodule"), Selector(b"", ("other",)), False),
        (Change(b"sub", "submodule"), Selector(b"", (), ("sub",)), False),
        (Change(b"sub", "submodule"), Selector(b"subs"), False),
    ],
)
def test_changes_inside_of_a_selection(filled, change, selector, selected):
    assert list(filled.open().select_changes([change], selector)) == [change] * selected
