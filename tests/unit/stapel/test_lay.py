"""Plans of Lays: applied as a layer they make of a tree what laying file by file makes of it."""

import hashlib
import io
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stapel.api import File, Lay
from stapel.errors import BadLay, FileChanged
from stapel.lay import plan_lays
from stapel.oci.layer import Entry, write_layer
from stapel.places import Places
from tests.unit.stapel.trees import MemoryTree, Node, apply_layer, directory, file, put_entry, symlink, tree_of

NOW_S = 5_000
PASSWD = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/app:/bin/sh\nbroken line\napp:x:7:7::/:\n"
GROUP = b"root:x:0:\nstaff:x:50:app\n"
PEOPLE = {b"etc/passwd": file(PASSWD), b"etc/group": file(GROUP)}


def laid(path, content=b"", **fields):
    return File(path, "file", fields.pop("mode", 0o644), size=len(content), open=lambda: io.BytesIO(content), **fields)


def linked(path, target, **fields):
    return File(path, "symlink", 0o777, link=target, **fields)


def lay(*files, **fields):
    ordered = sorted(files, key=lambda item: item.path.split(b"/"))
    return Lay(files=partial(iter, ordered), **fields)


def plan(lays, root):
    return plan_lays(lays, MemoryTree(root), now_s=NOW_S)


def after(lays, root):
    """{path: all about it} of the tree with the layer of these Lays."""
    before = root.flat()
    planned = plan(lays, root)
    write_layer(planned.entries(), io.BytesIO())  # in order, and every file as long as it says
    made = apply_layer(root, planned.entries())
    assert root.flat() == before
    return made.flat()


def blob_id(content, algorithm="sha1"):
    return hashlib.new(algorithm, b"blob %d\0" % len(content) + content).hexdigest()


# -- the oracle


class Conflict(Exception):
    """Lays that contradict one another, or a loop of links."""


@dataclass
class Paths:
    """Where paths lead in a tree that stays as it is."""

    root: Node
    followed: set = field(default_factory=set)

    def place(self, path):
        """Links in parents are followed."""
        parent, _, name = path.rpartition(b"/")
        resolved = self.resolve(parent)
        return resolved + b"/" + name if resolved else name

    def resolve(self, path, links=0):
        """Links are followed in every component; what is not there stays as it is written."""
        here = b""
        for name in path.split(b"/") if path else ():
            if name == b"..":
                here = here.rpartition(b"/")[0]
            elif name not in (b"", b"."):
                there = here + b"/" + name if here else name
                node = self.root.at(there)
                if node is not None and node.kind == "symlink":
                    if links == 40:
                        raise Conflict
                    self.followed.add(there)
                    target = node.link if node.link.startswith(b"/") else here + b"/" + node.link
                    there = self.resolve(target, links + 1)
                here = there
        return here


def parents(path):
    while path := path.rpartition(b"/")[0]:
        yield path


def is_directory(root, path):
    node = root.at(path)
    return node is not None and node.kind == "directory"


def lay_by_hand(base, given_lays):
    """The tree after removing, emptying and laying one path after another, and removing what is left empty."""
    made = base.copy()
    before = Paths(base)
    removed = {}
    for one in given_lays:
        for path in one.remove:
            place = before.place(path)
            if base.at(place) is not None and not is_directory(base, place):
                removed.setdefault(place, []).append(before.resolve(one.root))
        before.resolve(one.root)
    for place in removed:
        made.drop(place)

    below = Paths(made.copy())
    empty = [(below.resolve(path), one) for one in given_lays for path in one.empty]
    emptied = {path for path, _ in empty}
    # Of one that is below another it matters which is first: nobody says, so nothing is promised.
    assume(not any(parent in emptied for path in emptied for parent in parents(path)) and b"" not in emptied)
    for path in emptied:
        if is_directory(made, path):
            made.at(path).children.clear()

    below = Paths(made.copy(), below.followed)
    winners = {}
    for one in given_lays:
        for item in one.files():
            path = below.resolve(item.path) if item.kind == "directory" else below.place(item.path)
            winners.pop(path, None)
            winners[path] = (item, one)
    winners.pop(b"", None)
    check_conflicts({path: item.kind for path, (item, _) in winners.items()}, emptied, below.followed)
    for one in given_lays:
        inside = Paths(below.root).resolve(one.root)
        for path, (item, whose) in winners.items():
            if whose is one:
                make_directories(made, path.rpartition(b"/")[0], one, inside)
                put_entry(made, as_entry(path, item, one))
        for path, whose in empty:
            if whose is one:
                make_directories(made, path, one, inside)
    for place, roots in removed.items():
        for root in roots:
            prune(made, place, root, emptied | winners.keys())
    return made


def check_conflicts(kinds, emptied, followed):
    other = {path for path, kind in kinds.items() if kind != "directory"}
    if other & (emptied | followed) or any(parent in other for path in [*kinds, *emptied] for parent in parents(path)):
        raise Conflict


def make_directories(made, path, one, inside):
    """Make a directory and those above it."""
    if not path or is_directory(made, path):
        return
    make_directories(made, path.rpartition(b"/")[0], one, inside)
    owned = inside and (path == inside or path.startswith(inside + b"/"))
    uid = 1000 if owned and one.owner == "app" else 0
    gid = 50 if owned and one.group == "staff" else 0
    made.put(path, directory(uid=uid, gid=gid, mtime_s=NOW_S if one.mtime_s is None else one.mtime_s))


def as_entry(path, item, one):
    uid = {"": item.uid, "app": 1000, "0": 0, "42": 42}[item.owner]
    gid = {"": item.gid, "staff": 50, "42": 42}[item.group]
    mtime_s = item.mtime_s if item.mtime_s is not None else NOW_S if one.mtime_s is None else one.mtime_s
    return Entry(path, item.kind, item.mode, uid, gid, mtime_s, item.size, item.link, open=item.open)


def prune(made, place, root, kept):
    for parent in parents(place):
        if root and not parent.startswith(root + b"/"):
            return
        node = made.at(parent)
        if parent in kept or (node is not None and (node.kind != "directory" or node.children)):
            return
        if node is not None:
            made.drop(parent)


NAMES = st.sampled_from([b"a", b"b", b"l", b"m"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(b"/".join)
TARGETS = st.sampled_from(
    [b"a", b"b/a", b"../a", b"/a/b", b"m", b"/", b"..", b"/nowhere/x", b"l", b".", b"../../m", b"./m/"]
)
TIMES = st.integers(1, 9)
OWNERS = st.sampled_from([0, 5])
NODES = st.one_of(
    st.builds(file, st.binary(max_size=3), mode=st.sampled_from([0o644, 0o755]), uid=OWNERS, mtime_s=TIMES),
    st.builds(symlink, TARGETS, uid=OWNERS, mtime_s=TIMES),
    st.builds(directory, st.sampled_from([0o755, 0o1777]), uid=OWNERS, gid=OWNERS, mtime_s=TIMES),
)
TREES = st.dictionaries(PATHS, NODES, max_size=10).map(lambda nodes: tree_of({**nodes, **PEOPLE}))


@st.composite
def lays(draw):
    nodes = draw(st.dictionaries(PATHS, NODES, max_size=4))
    consistent = tree_of(nodes)
    common = {"owner": draw(st.sampled_from(["", "app", "0", "42"])), "group": draw(st.sampled_from(["", "staff", "42"]))}
    files = [
        File(
            path,
            node.kind,
            node.mode,
            size=len(node.content),
            uid=node.uid,
            gid=node.gid,
            link=node.link,
            mtime_s=draw(st.sampled_from([None, 77])),
            open=(lambda content=node.content: io.BytesIO(content)) if node.kind == "file" else None,
            **common,
        )
        for path, node in nodes.items()
        if consistent.at(path) is node
    ]
    return lay(
        *files,
        remove=draw(st.lists(PATHS, max_size=4)),
        empty=draw(st.lists(PATHS, max_size=1)),
        root=draw(st.sampled_from([b"", b"a", b"l", b"a/b", b"absent"])),
        owner=draw(st.sampled_from(["", "app"])),
        group=draw(st.sampled_from(["", "staff"])),
        mtime_s=draw(st.sampled_from([0, 99, None])),
    )


@settings(max_examples=600, deadline=None)
@given(TREES, st.lists(lays(), min_size=1, max_size=3))
def test_a_layer_makes_what_laying_by_hand_makes(root, given_lays):
    try:
        expected = lay_by_hand(root, given_lays).flat()
    except Conflict:
        event("conflict")
        with pytest.raises(BadLay):
            plan(given_lays, root)
    else:
        assert after(given_lays, root) == expected


@settings(max_examples=300, deadline=None)
@given(TREES, st.lists(lays(), min_size=1, max_size=3))
def test_an_archive_and_then_removals_make_the_same_as_the_layer(root, given_lays):
    """In a build container the archive is put first, and then the script removes."""
    given_lays = [replace(one, empty=()) for one in given_lays]
    try:
        planned = plan(given_lays, root)
    except BadLay:
        assume(False)
    made = root.copy()
    for entry in planned.archive():
        put_entry(made, entry)
    for path in planned.removals:
        made.drop(path)
    assert made.flat() == apply_layer(root, planned.entries()).flat()


# -- laying


def test_links_in_parents_are_followed_and_stay():
    root = tree_of({b"bin": symlink(b"usr/bin"), b"usr/bin/sh": file(b"sh", mode=0o755)})
    found = after([lay(laid(b"bin/tool", b"t"))], root)
    assert found[b"bin"][:3] == ("symlink", b"", b"usr/bin")
    assert found[b"usr/bin/tool"][:2] == ("file", b"t")
    assert found[b"usr/bin/sh"] == root.flat()[b"usr/bin/sh"]


def test_parents_keep_what_they_are_and_missing_ones_are_made():
    root = tree_of({b"tmp": directory(0o1777, uid=3, gid=4, mtime_s=9)})
    found = after([lay(laid(b"tmp/new/deep/x"), mtime_s=50)], root)
    assert found[b"tmp"] == ("directory", b"", b"", 0o1777, 3, 4, 9)
    assert found[b"tmp/new"] == found[b"tmp/new/deep"] == ("directory", b"", b"", 0o755, 0, 0, 50)


def test_a_link_out_of_the_root_stays_inside():
    root = tree_of({b"d/l": symlink(b"../../../../up")})
    assert b"up/x" in after([lay(laid(b"d/l/x"))], root)


@pytest.mark.parametrize("target", [b"l", b"/d/l", b"../d/m", b"l/x"])
def test_a_loop_of_links_is_an_error(target):
    root = tree_of({b"d/l": symlink(target), b"d/m": symlink(b"l")})
    with pytest.raises(BadLay, match="too many links on the way to /d"):
        plan([lay(laid(b"d/l/x"))], root)


def test_forty_links_in_a_row_are_followed():
    root = tree_of({b"l%d" % n: symlink(b"l%d" % (n + 1)) for n in range(39)} | {b"l39": directory()})
    assert b"l39/x" in after([lay(laid(b"l0/x"))], root)


def test_something_of_another_kind_in_the_way_is_replaced():
    root = tree_of({b"was-dir/x": file(), b"was-file": file(), b"was-link": symlink(b"was-dir")})
    found = after([lay(laid(b"was-dir", b"f"), laid(b"was-file/x"), linked(b"was-link", b"elsewhere"))], root)
    assert found[b"was-dir"][0] == "file"
    assert found[b"was-file"][0] == "directory"
    assert found[b"was-link"][2] == b"elsewhere"
    assert b"was-dir/x" not in found


def test_of_two_that_lay_one_path_the_later_wins():
    root = tree_of({b"bin": symlink(b"usr/bin"), b"usr/bin": directory()})
    found = after([lay(laid(b"bin/x", b"one"), laid(b"bin/y", b"one")), lay(laid(b"usr/bin/x", b"two"))], root)
    assert found[b"usr/bin/x"][1] == b"two"
    assert found[b"usr/bin/y"][1] == b"one"


def test_a_lay_whose_links_change_the_order_keeps_its_contents():
    root = tree_of({b"a": symlink(b"z"), b"z": directory()})
    files = [laid(b"a/%03d" % n, b"a%d" % n) for n in range(50)] + [laid(b"b/%03d" % n, b"b%d" % n) for n in range(50)]
    found = after([lay(*files), lay(laid(b"m"))], root)
    for n in range(50):
        assert found[b"z/%03d" % n][1] == b"a%d" % n
        assert found[b"b/%03d" % n][1] == b"b%d" % n


@pytest.mark.parametrize("path", [b"", b"/a", b"a/", b"a//b", b"../a", b"a/..", b"a/./b", b".", b"a\0b"])
def test_a_path_that_is_not_plainly_below_the_root_is_an_error(path):
    for one in (lay(laid(path)), lay(remove=[path])):
        with pytest.raises(BadLay, match="no path below the root"):
            plan([one], tree_of({}))


@pytest.mark.parametrize("path", [b".wh.a", b"d/.wh..wh..opq", b".wh.d/a"])
def test_a_name_that_means_a_removal_in_a_layer_is_refused(path):
    with pytest.raises(BadLay, match="what is removed"):
        plan([lay(laid(path))], directory())


def test_files_below_what_is_laid_as_a_file_are_an_error():
    with pytest.raises(BadLay, match="/a/b is laid below /a, which is laid as a file"):
        plan([lay(laid(b"a")), lay(laid(b"a/b"))], tree_of({}))


def test_a_link_that_one_lay_replaces_and_another_goes_through_is_an_error():
    root = tree_of({b"l": symlink(b"d"), b"d": directory()})
    with pytest.raises(BadLay, match="through the link /l, which is replaced by a file"):
        plan([lay(laid(b"l")), lay(laid(b"l/x"))], root)


def test_nothing_to_lay_is_an_empty_layer():
    assert list(plan([lay()], tree_of({b"a": file()})).entries()) == []
    assert list(plan([], tree_of({})).entries()) == []


# -- what a commit changes


def test_a_link_becomes_a_directory():
    root = tree_of({b"app/l": symlink(b"d"), b"app/d/x": file(b"old")})
    found = after([lay(laid(b"app/l/x", b"new"), remove=[b"app/l"], root=b"app", expected={b"app/l": blob_id(b"d")})], root)
    assert found[b"app/l"][0] == "directory"
    assert found[b"app/l/x"][1] == b"new"
    assert found[b"app/d/x"][1] == b"old"


@pytest.mark.parametrize("new", [laid(b"app/d", b"f"), linked(b"app/d", b"e")], ids=["file", "link"])
def test_a_directory_becomes_something_else(new):
    root = tree_of({b"app/d/x": file(), b"app/d/s/y": file(), b"app/d/made-by-a-command": file(), b"app/e/x": file(b"e")})
    planned = plan([lay(new, remove=[b"app/d/x", b"app/d/s/y"], root=b"app")], root)
    assert planned.removals == ()
    found = after([lay(new, remove=[b"app/d/x", b"app/d/s/y"], root=b"app")], root)
    assert found[b"app/d"][0] == new.kind
    assert found[b"app/e/x"][1] == b"e"
    assert not [path for path in found if path.startswith(b"app/d/")]


def test_a_file_becomes_a_directory():
    root = tree_of({b"app/f": file(b"old")})
    found = after([lay(laid(b"app/f/x"), remove=[b"app/f"], root=b"app")], root)
    assert found[b"app/f"][0] == "directory"
    assert b"app/f/x" in found


# -- removing


def test_emptied_parents_go_and_the_root_of_the_lay_stays():
    root = tree_of({b"srv/app/a/b/c": file(), b"srv/app/kept/x": file(), b"srv/app/kept/y": file()})
    planned = plan([lay(remove=[b"srv/app/a/b/c", b"srv/app/kept/x"], root=b"srv/app")], root)
    assert planned.removals == (b"srv/app/a", b"srv/app/kept/x")
    found = after([lay(remove=[b"srv/app/a/b/c", b"srv/app/kept/x"], root=b"srv/app")], root)
    assert set(found) == {b"", b"srv", b"srv/app", b"srv/app/kept", b"srv/app/kept/y"}


def test_the_root_itself_stays_when_all_of_it_is_removed():
    root = tree_of({b"srv/app/x": file()})
    assert set(after([lay(remove=[b"srv/app/x"], root=b"srv/app")], root)) == {b"", b"srv", b"srv/app"}


def test_below_the_root_of_the_image_all_that_is_left_empty_goes():
    assert set(after([lay(remove=[b"a/b/c"])], tree_of({b"a/b/c": file()}))) == {b""}


def test_a_root_that_is_reached_by_a_link_stays():
    root = tree_of({b"app": symlink(b"srv"), b"srv/x": file()})
    assert set(after([lay(remove=[b"app/x"], root=b"app")], root)) == {b"", b"app", b"srv"}


def test_a_directory_that_holds_something_else_stays():
    for other in (file(), symlink(b"nowhere"), directory()):
        root = tree_of({b"d/x": file(), b"d/other": other})
        assert set(after([lay(remove=[b"d/x"])], root)) == {b"", b"d", b"d/other"}


def test_a_directory_that_gets_something_new_stays_as_it_is():
    root = tree_of({b"d/x": file()})
    found = after([lay(laid(b"d/new"), remove=[b"d/x"])], root)
    assert found[b"d"] == root.flat()[b"d"]
    assert b"d/x" not in found


def test_what_is_gone_already_and_directories_are_left_alone():
    root = tree_of({b"d/x": file()})
    assert after([lay(remove=[b"d", b"absent", b"d/x/y"])], root) == root.flat()


def test_two_lays_empty_a_directory_together():
    root = tree_of({b"a/d/x": file(), b"a/d/y": file()})
    found = after([lay(remove=[b"a/d/x"], root=b"a"), lay(remove=[b"a/d/y"], root=b"a")], root)
    assert set(found) == {b"", b"a"}


# -- emptying


def test_directories_are_emptied_and_made_where_they_are_absent():
    root = tree_of({b"cache/x/y": file(), b"cache/z": symlink(b"x"), b"l": symlink(b"cache")})
    found = after([lay(empty=[b"l", b"new/mount"])], root)
    assert set(found) == {b"", b"cache", b"l", b"new", b"new/mount"}
    assert found[b"cache"] == root.flat()[b"cache"]
    assert found[b"new/mount"][:6] == ("directory", b"", b"", 0o755, 0, 0)


def test_files_may_be_laid_into_what_is_emptied():
    root = tree_of({b"cache/x/y": file(), b"cache/l": symlink(b"/etc"), b"etc": directory()})
    found = after([lay(laid(b"cache/x/new"), laid(b"cache/l/new"), empty=[b"cache"])], root)
    assert set(found) == {b"", b"cache", b"cache/l", b"cache/l/new", b"cache/x", b"cache/x/new", b"etc"}


def test_a_mount_point_below_another():
    root = tree_of({b"a/b/c": file(), b"a/d": file()})
    for empty in ([b"a", b"a/b"], [b"a/b", b"a"]):
        assert set(after([lay(empty=empty)], root)) == {b"", b"a", b"a/b"}


# -- owners


@pytest.mark.parametrize(("owner", "group", "ids"), [("app", "staff", (1000, 50)), ("7", "", (7, 3)), ("", "8", (2, 8))])
def test_owners_are_looked_up_in_the_image(owner, group, ids):
    planned = plan([lay(laid(b"x", owner=owner, group=group, uid=2, gid=3))], tree_of(PEOPLE))
    (entry,) = planned.entries()
    assert (entry.uid, entry.gid) == ids


def test_the_first_line_of_a_name_counts_and_lines_may_be_broken():
    root = tree_of({b"etc/passwd": file(b"\n:::\na:x\na:x:no\na:x:1:\na:x:2:\n\xff:x:9:9\n"), b"etc/group": file()})
    (entry,) = plan([lay(laid(b"x", owner="a"))], root).entries()
    assert entry.uid == 1


@pytest.mark.parametrize("people", [{}, PEOPLE, {b"etc/passwd": directory()}, {b"etc": file()}])
def test_an_unknown_owner_is_an_error(people):
    with pytest.raises(BadLay, match="no user nobody in /etc/passwd") as caught:
        plan([lay(laid(b"x", owner="nobody"))], tree_of(people))
    assert caught.value.hint
    with pytest.raises(BadLay, match="no group nobody in /etc/group"):
        plan([lay(laid(b"x", group="nobody"))], tree_of(people))


def test_directories_made_at_the_root_and_below_have_its_owner():
    one = lay(laid(b"srv/app/d/x", uid=9), root=b"srv/app", owner="app", group="staff")
    found = after([one], tree_of(PEOPLE))
    owners = {path: fields[4:6] for path, fields in found.items()}
    assert owners[b"srv"] == (0, 0)
    assert owners[b"srv/app"] == owners[b"srv/app/d"] == (1000, 50)
    assert owners[b"srv/app/d/x"] == (9, 0)


def test_no_owner_is_looked_up_that_nobody_asked_for():
    tree = MemoryTree(tree_of(PEOPLE))
    plan_lays([lay(laid(b"x"), laid(b"y", owner="5"))], tree, now_s=NOW_S)
    assert tree.opened == []


# -- expected files


@pytest.mark.parametrize("count", [1, 2, 32, 33, 100])
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_files_as_they_were_laid_pass_and_a_changed_one_is_named(count, algorithm):
    paths = [b"app/%d/f%d" % (n % 3, n) for n in range(count)]
    root = tree_of({path: file(b"content of " + path) for path in paths})
    expected = {path: blob_id(b"content of " + path, algorithm) for path in paths}
    plan([lay(expected=expected)], root)
    root.at(paths[-1]).content += b"!"
    with pytest.raises(FileChanged) as caught:
        plan([lay(expected=expected)], root)
    assert caught.value.paths == (b"/" + paths[-1],)


@pytest.mark.parametrize("count", [1, 50])
def test_contents_are_compared_by_their_own_digests_too(count):
    paths = [b"app/f%d" % n for n in range(count)]
    root = tree_of({path: file(b"content of " + path) for path in paths})
    expected = {path: f"sha256:{hashlib.sha256(b'content of ' + path).hexdigest()}" for path in paths}
    plan([lay(expected=expected)], root)
    root.at(paths[0]).content += b"!"
    with pytest.raises(FileChanged, match="/app/f0"):
        plan([lay(expected=expected)], root)
    linked = tree_of({path: symlink(b"content of " + path) for path in paths})
    with pytest.raises(FileChanged):
        plan([lay(expected=expected)], linked)


@pytest.mark.parametrize("count", [1, 50])
def test_links_are_compared_by_where_they_lead(count):
    nodes = {b"d/l%d" % n: symlink(b"to%d" % n) for n in range(count)}
    expected = {path: blob_id(node.link) for path, node in nodes.items()}
    plan([lay(expected=expected)], tree_of(nodes))
    nodes[b"d/l0"] = symlink(b"elsewhere")
    with pytest.raises(FileChanged, match="/d/l0"):
        plan([lay(expected=expected)], tree_of(nodes))


@pytest.mark.parametrize("now", [None, directory(), symlink(b"y"), file(b"other"), Node("fifo")], ids=str)
@pytest.mark.parametrize("more", [0, 40])
def test_anything_else_in_its_place_is_a_change(now, more):
    others = {b"d/%d" % n: file() for n in range(more)}
    root = tree_of({**others, **({b"d/f": now} if now else {b"d": directory()})})
    with pytest.raises(FileChanged) as caught:
        plan([lay(expected={**dict.fromkeys(others, blob_id(b"")), b"d/f": blob_id(b"x")})], root)
    assert caught.value.paths == (b"/d/f",)


def test_an_expected_file_is_looked_for_where_its_parents_lead():
    root = tree_of({b"app": symlink(b"srv"), b"srv/f": file(b"x")})
    plan([lay(expected={b"app/f": blob_id(b"x")})], root)
    with pytest.raises(FileChanged) as caught:
        plan([lay(expected={b"app/f": blob_id(b"y")})], root)
    assert caught.value.paths == (b"/srv/f",)


def test_all_changes_of_all_lays_are_named_in_order():
    root = tree_of({b"b": file(b"1"), b"a": file(b"2")})
    with pytest.raises(FileChanged) as caught:
        plan([lay(expected={b"b": blob_id(b"")}), lay(expected={b"a": blob_id(b""), b"c": blob_id(b"")})], root)
    assert caught.value.paths == (b"/a", b"/b", b"/c")


# -- what it costs


def test_a_plan_reads_the_parents_of_what_is_laid_and_no_content():
    class Counting(MemoryTree):
        asked = 0

        def stat(self, path):
            self.asked += 1
            return super().stat(path)

    root = tree_of({b"big/%d/%d" % (n % 10, n): file(b"x") for n in range(1000)})
    tree = Counting(root)
    plan_lays([lay(*(laid(b"big/%d/new%d" % (n % 10, n)) for n in range(500)))], tree, now_s=NOW_S)
    assert tree.asked <= 20
    assert tree.opened == []


def test_a_directory_is_resolved_once():
    root = tree_of({b"a/b/c": directory()})
    places = Places(MemoryTree(root))
    assert places.directory(b"a/b/c") == b"a/b/c"
    assert places.directory(b"a/b/x/y") == b"a/b/x/y"
    assert places.missing == {b"a/b/x", b"a/b/x/y"}
