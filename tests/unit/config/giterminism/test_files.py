"""How files are read: links in the tree, changes of the work tree, what is accepted uncommitted."""

from __future__ import annotations

import pytest

from conveyor.config.giterminism import files as module
from conveyor.errors import GiterminismError
from tests.unit.config.giterminism.conftest import FILES


def link(place, path, target):
    where = place.path / path
    where.parent.mkdir(parents=True, exist_ok=True)
    where.unlink(missing_ok=True)
    where.symlink_to(target)


def test_the_commit_is_read(place, open_files):
    place.write("a", "committed\n")
    place.write("sub/b", "below\n")
    place.commit()
    reading = open_files()
    for path in ("a", "./a", "/a", "sub/../a"):
        assert reading.read(path) == "committed\n"
    assert reading.read("none") is None and reading.read("sub") is None
    assert open_files(directory="sub").read("b") == "below\n"
    assert open_files(directory="sub").read("../a") == "committed\n"
    assert open_files(directory="sub").read("../../a") is None
    assert not reading.refused
    assert reading.files.used == {b"a", b"none", b"sub"}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda place: place.write("a", "committed \n"), 'the file "a" must be committed: it has changes'),
        (lambda place: (place.path / "a").chmod(0o755), 'the file "a" must be committed: it has changes'),
        (lambda place: (place.path / "a").unlink(), 'the file "a" must be committed: it is deleted'),
        (
            lambda place: (place.write("a", "x"), place.git("add", "a")),
            'the file "a" must be committed: it has staged changes',
        ),
    ],
)
def test_a_changed_file_is_refused_and_read_as_committed(place, open_files, change, what):
    place.write("a", "committed\n")
    place.commit()
    change(place)
    reading = open_files()
    assert reading.read("a", subject="werf config") == "committed\n"
    assert reading.refused.startswith("unable to read werf config: " + what)
    assert not reading.files.exists("a", FILES)


def test_an_untracked_file_is_refused_and_read_so_that_the_run_goes_on(place, open_files):
    place.write("a")
    place.commit()
    place.write("b", "untracked\n")
    place.write("c", "staged\n")
    place.git("add", "c")
    reading = open_files()
    assert reading.read("b") == "untracked\n" and reading.read("c") == "staged\n"
    assert 'the untracked file "b" must be committed' in reading.refused
    assert 'the file "c" must be committed: it has staged changes' in reading.refused
    assert open_files(dev=True).read("b") == "untracked\n"


def test_line_ends_that_git_converts_are_no_change(place, open_files):
    place.git("config", "core.autocrlf", "true")
    place.write("a", "one\ntwo\n")
    place.commit()
    (place.path / "a").unlink()
    place.git("checkout", "a")
    assert (place.path / "a").read_bytes() == b"one\r\ntwo\r\n"
    reading = open_files()
    assert reading.read("a") == "one\ntwo\n"
    assert not reading.refused


def test_links_are_followed_in_the_tree_and_each_must_be_clean(place, open_files):
    place.write("real/a", "committed\n")
    link(place, "one", "two")
    link(place, "two", "dir/a")
    link(place, "dir", "real")
    place.commit()
    reading = open_files()
    assert reading.read("one") == "committed\n"
    assert reading.files.used == {b"one", b"two", b"dir", b"real/a"}
    assert not reading.refused
    place.write("real/a", "changed\n")
    link(place, "two", "real/a")
    reading = open_files()
    assert reading.read("one") == "committed\n"
    assert "  - two has changes" in reading.refused and "  - real/a has changes" in reading.refused


def test_links_never_lead_out(place, open_files, tmp_path):
    (tmp_path / "outside").write_text("secret\n")
    place.write("sub/x")
    link(place, "absolute", str(tmp_path / "outside"))
    link(place, "up", "../outside")
    link(place, "sub/up", "../../outside")
    link(place, "around", "around")
    link(place, "sub/lower", "../sub/x")
    place.commit()
    for given, loose in ((None, False), ({FILES: ["**"]}, False), (None, True)):
        reading = open_files(given, loose=loose)
        for path in ("absolute", "up", "sub/up", "around", "../outside", "sub/../../outside"):
            assert reading.read(path) is None, (path, given)
            assert not reading.files.exists(path, FILES)
            assert "not found in the project" in reading.files.explain_missing(path, FILES)[0]
        assert reading.read("sub/lower") == "content\n"
    assert "a link leads out" in open_files().files.explain_missing("up")[0]


def test_what_is_accepted_is_read_from_the_disk(place, open_files):
    place.write(".gitignore", "ignored\n")
    place.write("a", "committed\n")
    place.write("gone", "committed\n")
    place.commit()
    place.write("a", "changed\n")
    place.write("b", "untracked\n")
    place.write("ignored", "ignored\n")
    (place.path / "gone").unlink()
    reading = open_files({FILES: ["a", "b", "ignored", "gone"]})
    assert reading.read("a") == "changed\n" and reading.read("b") == "untracked\n"
    assert reading.read("ignored") == "ignored\n"
    assert reading.read("gone") is None
    assert not reading.refused
    assert {path.name for path in reading.files.read_from_disk} == {"a", "b", "ignored", "gone"}
    other = open_files()
    assert other.read("ignored") is None
    message, hint = other.files.explain_missing("ignored", FILES)
    assert "it is on the disk, and git ignores it" in message and f"accept it on the disk by `{FILES}`" in hint
    assert "is read from the disk: make it there" in open_files({FILES: ["x"]}).files.explain_missing("x", FILES)[1]


def test_targets_of_accepted_links_must_be_accepted_too(place, open_files):
    place.write("first")
    place.commit()
    place.write("deep/file", "on disk\n")
    link(place, "to-directory", "deep")
    link(place, "a", "to-directory/file")
    reading = open_files({FILES: ["a"]})
    assert reading.read("a", subject="werf config") == "on disk\n"
    assert (
        'unable to read werf config: accepted file "a" check failed: the link target "to-directory/file" should be also '
        "accepted by giterminism config" in reading.refused
    )
    assert 'the link target "deep/file" should be also accepted' in reading.refused
    reading = open_files({FILES: ["a", "to-directory", "deep/*"]})
    assert reading.read("a") == "on disk\n"
    assert not reading.refused


def test_what_exists(place, open_files):
    place.write("dir/a")
    place.write("clean/b")
    place.commit()
    place.write("dir/new")
    files = open_files().files
    assert files.exists("dir/a", FILES) and files.exists("/clean", FILES)
    assert not files.exists("dir/new", FILES) and not files.exists("none", FILES)
    assert files.is_directory("clean", FILES) and not files.is_directory("clean/b", FILES)
    assert not files.is_directory("dir", FILES)  # with a change in it
    accepted = open_files({FILES: ["dir"]}).files
    assert accepted.exists("dir/new", FILES) and accepted.is_directory("dir", FILES)
    loose = open_files(loose=True).files
    assert loose.exists("dir/new", FILES) and loose.is_directory("dir", FILES) and not loose.is_directory("none", FILES)


def matching(reading, pattern):
    return {name: content.decode() for name, content in reading.files.matching(pattern, FILES).items()}


def test_what_a_glob_means(place, open_files):
    for path in ("images/b/Dockerfile", "images/a/werf.inc.yaml", "images/a/x", "other/y", "top"):
        place.write(path, path)
    place.write("sub/images/c", "below")
    place.commit()
    reading = open_files()
    assert list(matching(reading, "images/*/{Dockerfile,werf.inc.yaml}")) == [
        "images/a/werf.inc.yaml",
        "images/b/Dockerfile",
    ]
    assert list(matching(reading, "/images/a")) == ["images/a/werf.inc.yaml", "images/a/x"]
    assert matching(reading, "**/y") == {"other/y": "other/y"}
    assert matching(reading, "top") == {"top": "top"}
    assert len(matching(reading, "**")) == len(matching(reading, ".")) == 6
    assert matching(reading, "none/*") == {}
    assert matching(open_files(directory="sub"), "images/*") == {"images/c": "below"}
    assert not reading.refused


def test_a_glob_finds_what_is_not_committed_and_refuses_it(place, open_files):
    place.write("a/one", "1")
    place.write("a/two", "2")
    place.commit()
    place.write("a/one", "changed")
    place.write("a/new", "untracked")
    place.write("b/new", "elsewhere")
    (place.path / "a/two").unlink()
    reading = open_files()
    assert matching(reading, "a/*") == {"a/new": "untracked", "a/one": "1", "a/two": "2"}
    assert 'untracked file "a/new"' in reading.refused
    assert "a/one has changes" in reading.refused and "a/two is deleted" in reading.refused
    assert "b/new" not in reading.refused
    reading = open_files({FILES: ["a"]})
    assert matching(reading, "a/*") == {"a/new": "untracked", "a/one": "changed"}
    assert not reading.refused
    assert {path.name for path in reading.files.read_from_disk} == {"a", "one", "two", "new"}
    assert reading.files.is_repeatable
    assert open_files({FILES: ["b"]}).files.names("a/*", FILES) == ["a/new", "a/one", "a/two"]
    assert matching(open_files(loose=True), "**/new") == {"a/new": "untracked", "b/new": "elsewhere"}


def test_links_in_a_glob(place, open_files, tmp_path):
    place.write("real/x/file", "x")
    place.write("real/y", "y")
    link(place, "images/linked", "../real")
    link(place, "images/file", "../real/y")
    link(place, "images/up", "..")
    link(place, "images/out", str(tmp_path))
    link(place, "base", "real")
    place.commit()
    reading = open_files()
    assert matching(reading, "base/*") == {"base/x/file": "x", "base/y": "y"}
    assert matching(reading, "images/*") == {"images/file": "y", "images/linked/x/file": "x", "images/linked/y": "y"}
    assert not reading.refused


def test_a_glob_leads_over_links_to_directories(place, open_files, tmp_path):
    """By the path over the link, as if the directory stood there; nothing leads out, and no circle is gone through twice."""
    place.write("real/x/conf", "x")
    place.write("real/conf", "r")
    place.write("real/other", "o")
    place.write("app/own/conf", "own")
    link(place, "app/linked", "../real")
    link(place, "app/deep/er", "../../real/x")
    link(place, "app/up", "..")
    link(place, "app/itself", "itself")
    link(place, "app/out", str(tmp_path))
    link(place, "app/outside", "../../..")
    link(place, "app/nowhere", "none")
    link(place, "app/conf-of", "own/conf")
    link(place, "real/x/back", "../../app")
    place.commit()
    reading = open_files()
    assert matching(reading, "app/*/conf") == {"app/linked/conf": "r", "app/own/conf": "own"}
    assert matching(reading, "app/l*/**/conf") == {"app/linked/conf": "r", "app/linked/x/conf": "x"}
    assert matching(reading, "*/*/*/{conf,other}") == {"app/deep/er/conf": "x", "app/linked/x/conf": "x"}
    assert list(matching(reading, "**/other")) == ["app/linked/other", "real/other", "real/x/back/linked/other"]
    assert not reading.refused
    assert {b"app", b"real", b"real/x"} <= reading.files.used
    loose = open_files(loose=True)
    for pattern in ("app/*/conf", "app/l*/**/conf", "*/*/*/{conf,other}", "**/other", "app/conf-of", "**"):
        assert matching(loose, pattern) == matching(open_files(), pattern), pattern


def test_what_is_not_committed_behind_links_in_a_glob(place, open_files):
    place.write("real/conf", "1")
    link(place, "app/linked", "../real")
    place.commit()
    place.write("real/new", "2")
    place.write("real/conf", "changed")
    reading = open_files()
    assert matching(reading, "app/*/*n*") == {"app/linked/conf": "1", "app/linked/new": "2"}
    assert 'untracked file "app/linked/new"' in reading.refused
    assert 'the file "real/conf" must be committed' in reading.refused
    reading = open_files({FILES: ["app/*/{conf,new}", "real"]})
    assert matching(reading, "app/*/*n*") == {"app/linked/conf": "changed", "app/linked/new": "2"}
    assert not reading.refused
    assert not reading.files.is_repeatable
    reading = open_files({FILES: ["app/*/{conf,new}"]})
    assert matching(reading, "app/*/*n*")
    assert 'the link target "real/conf" should be also accepted' in reading.refused


def test_links_that_multiply_are_bounded(place, open_files):
    for number in range(12):
        for name in ("a", "b"):
            link(place, f"level/{number}/{name}", f"../{number + 1}")
    place.write("level/12/file")
    place.commit()
    for loose in (False, True):
        with pytest.raises(GiterminismError, match=r"leads over more than 1000 links to directories"):
            open_files(loose=loose).files.names("level/0/**/x", FILES)
        assert len(open_files(loose=loose).files.names("level/8/{a,b}/a/b", FILES)) == 4
        assert len(open_files(loose=loose).files.names("level/11/*/file", FILES)) == 2


def test_a_list_of_hundreds_of_directories_is_not_repeatable(place, open_files):
    place.write("x")
    place.commit()
    for number in range(300):
        place.write(f"many/{number}/file")
    reading = open_files({FILES: ["many/*/file"]})
    assert len(matching(reading, "many/*/*")) == 300
    assert not reading.files.is_repeatable
    reading = open_files({FILES: ["many/1/file"]})
    assert list(matching(reading, "many/1*/*")) == [f"many/{n}/file" for n in sorted(map(str, range(300))) if n[0] == "1"]
    assert {path.name for path in reading.files.read_from_disk} == {"many", "1", "file"}
    assert reading.files.is_repeatable


def test_what_is_read_is_bounded(place, open_files, monkeypatch):
    for name in "abc":
        place.write(name, "0123456789")
    place.commit()
    place.write("d", "0123456789")
    with pytest.raises(GiterminismError, match=r"matches 4 files, and at most 3 are read"):
        open_files().files.matching("*", FILES, most=3)
    monkeypatch.setattr(module, "MAX_LISTED_BYTES", 15)
    with pytest.raises(GiterminismError, match="20 bytes"):
        open_files().files.matching("[abc]", FILES)
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 9)
    with pytest.raises(GiterminismError, match=r'the file "a" has 10 bytes'):
        open_files().read("a")


def test_submodules_are_part_of_the_commit(place, open_files, tmp_path):
    inner = type(place)(tmp_path / "inner")
    inner.path.mkdir()
    inner.git("init", "--quiet", "--initial-branch=main")
    inner.write("x", "inside\n")
    inner.commit()
    place.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    place.commit()
    assert open_files().read("sub/x") == "inside\n"
    place.write("sub/x", "changed\n")
    reading = open_files()
    assert reading.read("sub/x") == "inside\n"
    assert reading.refused.startswith('the submodule "sub" is not clean and must be committed: it has changes inside')
