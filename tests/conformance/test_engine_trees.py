"""The merged files of an image, as every engine shows them. What stands there is made by commands of busybox."""

import re

import pytest

from stapel.api import File, Run
from stapel.errors import NotFound
from tests.conformance.engines import directory, file, lay, link

MAKE = r"""
umask 0
mkdir -p /t/deep/er /t/empty /t/modes; chmod 755 /t /t/deep /t/deep/er /t/empty
printf text >/t/deep/er/file; chmod 640 /t/deep/er/file; chown 33:100 /t/deep/er/file
head -c 3000000 /dev/zero | tr '\0' x >/t/big
: >/t/deep/nothing
ln /t/deep/er/file /t/deep/hard; ln /t/big /t/zzz-hard
ln -s er /t/deep/link; ln -s /t/deep /t/absolute; ln -s ../../../../../t/deep/er /t/out
ln -s absolute/link /t/chain; ln -s nowhere /t/dangling; ln -s loop-b /t/loop-a; ln -s loop-a /t/loop-b; ln -s self /t/self
mkfifo /t/fifo
for mode in 4755 2755 1777 0000 7777; do : >/t/modes/$mode; chmod $mode /t/modes/$mode; done
printf odd >$'/t/odd \xe9\xff\n'; mkdir $'/t/dir \xff'; printf in >$'/t/dir \xff/in'; ln -s $'odd \xe9\xff\n' $'/t/link \xfe'
touch -d @1234567890 /t/deep/er/file /t/deep/link -h
touch -d @1234567890 /t/empty
"""
# Not every engine lets commands make these.
DEVICES = (
    File(b"t/null", "character", 0o666, uid=1, gid=2, device=(1, 3)),
    File(b"t/loop7", "block", 0o666, device=(7, 300)),
)
ODD_FILE, ODD_DIRECTORY, ODD_LINK = b"t/odd \xe9\xff\n", b"t/dir \xff", b"t/link \xfe"


@pytest.fixture
def made(subject):
    return subject.build(subject.build(subject.base(), Run(MAKE)), lay(*DEVICES))


@pytest.fixture
def tree(subject, made):
    with subject.engine.tree(made) as tree:
        yield tree


def read(tree, path, size=-1):
    with tree.open(path) as content:
        return content.read(size)


def test_what_stands_at_a_path(tree):
    found = tree.stat(b"t/deep/er/file")
    assert found.path == b"t/deep/er/file"
    assert (found.kind, found.mode, found.size) == ("file", 0o640, 4)
    assert (found.uid, found.gid, found.mtime_s) == (33, 100, 1234567890)
    assert tree.stat(b"t/empty").kind == "directory"
    assert tree.stat(b"t/empty").mtime_s == 1234567890
    assert tree.stat(b"t/null").kind == "character"
    assert tree.stat(b"t/null").device == (1, 3)
    assert (tree.stat(b"t/null").uid, tree.stat(b"t/null").gid) == (1, 2)
    assert (tree.stat(b"t/loop7").kind, tree.stat(b"t/loop7").device) == ("block", (7, 300))
    assert tree.stat(b"t/fifo").kind == "fifo"
    assert tree.stat(b"").kind == "directory"
    assert tree.stat(b"").path == b""
    for mode in ("4755", "2755", "1777", "0000", "7777"):
        assert tree.stat(b"t/modes/" + mode.encode()).mode == int(mode, 8)


def test_where_nothing_stands(tree):
    below_files = [b"t/deep/er/file/x", b"t/deep/er/file/x/y", b"t/null/x"]
    for path in [b"no", b"no/deeper", b"t/dangling/x", b"t/self/x", b"t/loop-a/x", *below_files]:
        assert tree.stat(path) is None, path
        assert list(tree.walk(path)) == [], path
        with pytest.raises(NotFound):
            tree.open(path)


def test_what_is_no_file_has_no_content(tree):
    for path in [b"t/empty", b"t/deep/link", b"t/dangling", b"t/self", b"t/null", b"t/fifo", b""]:
        with pytest.raises(NotFound):
            tree.open(path)


def test_links_are_followed_in_parents_only(tree):
    for path, link_text in (
        (b"t/deep/link", b"er"),
        (b"t/absolute", b"/t/deep"),
        (b"t/out", b"../../../../../t/deep/er"),
        (b"t/dangling", b"nowhere"),
        (b"t/self", b"self"),
        (b"t/loop-a", b"loop-b"),
        (ODD_LINK, ODD_FILE[2:]),
    ):
        found = tree.stat(path)
        assert (found.path, found.kind, found.link, found.open) == (path, "symlink", link_text, None)
        (walked,) = tree.walk(path)
        assert (walked.path, walked.kind, walked.link) == (b"", "symlink", link_text)
    for path in (b"t/deep/link/file", b"t/absolute/er/file", b"t/absolute/link/file", b"t/out/file", b"t/chain/file"):
        found = tree.stat(path)
        assert (found.path, found.kind) == (b"t/deep/er/file", "file")
        assert [item.path for item in tree.walk(path)] == [b""]
        assert read(tree, path) == b"text"
    assert tree.stat(b"t/absolute/link").path == b"t/deep/link"
    assert [item.path for item in tree.walk(b"t/absolute/er")] == [b"", b"file"]
    assert tree.stat(b"t/chain/no") is None


def test_a_walk_shows_parents_before_children_and_all_there_is(tree):
    paths = [item.path for item in tree.walk(b"t")]
    assert paths[0] == b""
    assert len(paths) == len(set(paths))
    for path in paths[1:]:
        assert paths.index(path.rpartition(b"/")[0]) < paths.index(path)
    shown = {path for path in paths if not path.startswith(b"modes/")}
    assert shown == {
        *(
            b"",
            b"deep",
            b"deep/er",
            b"deep/er/file",
            b"deep/nothing",
            b"deep/hard",
            b"deep/link",
            b"empty",
            b"modes",
            b"big",
        ),
        *(
            b"zzz-hard",
            b"absolute",
            b"out",
            b"chain",
            b"dangling",
            b"loop-a",
            b"loop-b",
            b"self",
            b"null",
            b"loop7",
            b"fifo",
        ),
        *(ODD_FILE[2:], ODD_DIRECTORY[2:], ODD_DIRECTORY[2:] + b"/in", ODD_LINK[2:]),
    }


def test_a_walk_tells_what_stat_tells(tree):
    from msgspec.structs import replace

    walked = {item.path: item for item in tree.walk(b"t/deep")} | {
        b"../" + item.path: item for item in tree.walk(b"t/modes")
    }
    for path, item in walked.items():
        place = (b"t/deep/" + path).rstrip(b"/") if not path.startswith(b"..") else (b"t/modes/" + path[3:]).rstrip(b"/")
        assert replace(item, path=place, open=None) == replace(tree.stat(place), open=None)


def test_contents_are_read_during_a_walk_and_after_it(tree):
    contents = {}
    for item in tree.walk(b"t"):
        if item.kind == "file":
            with item.open() as first:
                start = first.read(2)
                contents[item.path] = start + first.read()
            assert len(contents[item.path]) == item.size
        else:
            assert item.open is None
    assert contents.pop(b"big") == contents.pop(b"zzz-hard") == b"x" * 3_000_000
    assert contents.pop(b"deep/hard") == contents.pop(b"deep/er/file") == b"text"
    assert contents.pop(ODD_FILE[2:]) == b"odd"
    assert contents.pop(ODD_DIRECTORY[2:] + b"/in") == b"in"
    assert set(contents.values()) == {b""}
    assert read(tree, b"t/zzz-hard") == b"x" * 3_000_000
    assert read(tree, b"t/deep/nothing") == b""


def test_contents_need_not_be_read(tree):
    for item in tree.walk(b"t"):
        if item.path == b"big":
            with item.open() as content:
                assert content.read(5) == b"xxxxx"
    assert item.path == b"zzz-hard"
    for _ in tree.walk(b""):
        break
    assert read(tree, b"t/big", 3) == b"xxx"


def test_questions_in_the_middle_of_a_walk(tree):
    inner = []
    for item in tree.walk(b"t"):
        if item.path == b"big":
            with item.open() as content, tree.open(b"t/zzz-hard") as other, tree.open(b"t/deep/er/file") as third:
                assert tree.stat(b"t/modes/4755").mode == 0o4755
                inner = [below.path for below in tree.walk(b"t/deep/er")]
                assert content.read(1_000_000) == other.read(1_000_000)
                assert third.read() == b"text"
                assert content.read() == other.read() == b"x" * 2_000_000
    assert inner == [b"", b"file"]


def test_contents_are_closed_in_any_order(tree):
    first, second = tree.open(b"t/big"), tree.open(b"t/zzz-hard")
    assert first.read(1) == second.read(1) == b"x"
    first.close()
    third = tree.open(b"t/big")
    assert len(third.read()) == 3_000_000
    second.close()
    third.close()
    assert read(tree, b"t/deep/er/file") == b"text"


def test_odd_names(tree):
    assert tree.stat(ODD_FILE).size == 3
    assert tree.stat(ODD_FILE).path == ODD_FILE
    assert read(tree, ODD_FILE) == b"odd"
    assert [item.path for item in tree.walk(ODD_FILE)] == [b""]
    assert tree.stat(ODD_DIRECTORY).kind == "directory"
    assert tree.stat(ODD_DIRECTORY).path == ODD_DIRECTORY
    assert [item.path for item in tree.walk(ODD_DIRECTORY)] == [b"", b"in"]
    assert tree.stat(ODD_DIRECTORY + b"/in").size == 2
    assert read(tree, ODD_DIRECTORY + b"/in") == b"in"
    assert tree.stat(b"t/odd \xe9\xfe\n") is None
    with pytest.raises(NotFound):
        tree.open(b"t/odd \xe9\xfe\n")


def test_the_whole_image_is_walked(subject, tree):
    walked = {item.path: item for item in tree.walk(b"")}
    said = subject.run(subject.base(), "find / -xdev")
    in_container = {line.strip("/").encode() for line in said.splitlines()}
    # Of an empty directory not every engine can tell whose it is.
    engines_own = {
        b"dev",
        b".dockerenv",
        b"dev/console",
        b"dev/pts",
        b"dev/shm",
        b"etc/hosts",
        b"etc/hostname",
        b"etc/resolv.conf",
        b"etc/mtab",
    }
    shown = {path for path in walked if not re.match(rb"t(/|$)|\.conveyor", path)}
    assert {
        path for path in in_container if not re.match(rb"(proc|sys|dev|\.conveyor)/|\.conveyor$", path)
    } - engines_own == shown - {b"dev"}
    assert shown.isdisjoint(engines_own - {b"dev"})
    assert walked[b"bin/busybox"].size == walked[b"bin/sh"].size > 100_000
    with tree.open(b"bin/sh") as content:
        assert content.read(4) == b"\x7fELF"


def test_what_an_image_has_where_engines_mount_is_seen(subject):
    files = [
        file(b"dev/own", b"d"),
        file(b"dev/shm/own", b"s"),
        file(b"etc/own", b"e"),
        directory(b"proc", 0o555),
        file(b"sys/own", b"s"),
    ]
    with subject.engine.tree(subject.build(subject.scratch(), lay(*files))) as tree:
        shown = [item.path for item in tree.walk(b"")]
        assert shown == [
            b"",
            b"dev",
            b"dev/own",
            b"dev/shm",
            b"dev/shm/own",
            b"etc",
            b"etc/own",
            b"proc",
            b"sys",
            b"sys/own",
        ]
        assert [item.path for item in tree.walk(b"dev")] == [b"", b"own", b"shm", b"shm/own"]
        assert tree.stat(b"dev/shm").kind == tree.stat(b"etc").kind == tree.stat(b"proc").kind == "directory"
        assert tree.stat(b"dev/pts") is None
        assert tree.stat(b"etc/hosts") is None
        assert read(tree, b"dev/shm/own") == b"s"


def test_extended_attributes(subject):
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    made = subject.build(subject.base(), lay(file(b"able", b"x", 0o755, xattrs={"security.capability": capability})))
    with subject.engine.tree(made) as tree:
        assert tree.stat(b"able").xattrs == {"security.capability": capability}
        assert tree.stat(b"bin").xattrs == {}


def test_an_image_that_is_not_stored_yet_is_read(subject):
    made = subject.build(subject.base(), lay(file(b"a", b"1"), link(b"way", b"tmp")))
    over = subject.build(made, lay(file(b"way/b", b"2"), remove=[b"a"]))
    with subject.engine.tree(over) as tree, subject.engine.tree(made) as below:
        assert read(tree, b"tmp/b") == b"2"
        assert tree.stat(b"a") is None
        assert read(below, b"a") == b"1"
        assert below.stat(b"tmp/b") is None
