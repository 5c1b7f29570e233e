"""Layers out of directories. What is written, applied and read again is the same to the byte."""

import io
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stapel.oci.apply import Form, apply_layer
from stapel.oci.diff import RootMetadata, diff_trees, diff_upper
from stapel.oci.layer import Entry, LayerError, opaque, whiteout, write_layer
from stapel.oci.overlay import DEVICE_XATTR, OverlayLayers

ROOT = os.geteuid() == 0
OWN = (os.geteuid(), os.getegid())


@contextmanager
def opened(*directories):
    fds = [os.open(directory, os.O_RDONLY) for directory in directories]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


def written(entries):
    out = io.BytesIO()
    write_layer(entries, out)
    return out.getvalue()


def upper_of(directory, **options):
    with opened(directory) as (fd,):
        return [read_now(entry) for entry in diff_upper(fd, **options)]


def trees(old, new, **options):
    with opened(old, new) as fds:
        return [read_now(entry) for entry in diff_trees(*fds, **options)]


def read_now(entry):
    """With the content, while it can be read."""
    if entry.kind != "file" or entry.content is not None or entry.open is None:
        return entry
    with entry.open() as content:
        data = b"".join(iter(lambda: content.read(1 << 20), b""))
    return replace(entry, open=None, content=data, extents=None)


def apply(entries, directory, form):
    with opened(directory) as (fd,):
        apply_layer(io.BytesIO(written(entries)), fd, form)


def paths(entries):
    return [entry.path.decode() for entry in entries]


def file(path, content=b"", **fields):
    return Entry(path, "file", size=len(content), content=content, **{"mode": 0o644, **fields})


@pytest.fixture
def directory():
    """Empty, and with the metadata that a root has where nobody said another."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


ROOT_HERE = RootMetadata(0o755, *OWN)


# -- there and back

NAMES = st.sampled_from([b"a", b"b", b"a-b", b"a.b", "ü".encode(), b"\xff", b"x" * 200, b"...", b"\n", b" "])
OWNERS = st.tuples(st.sampled_from([0, 1000, 2**21]), st.sampled_from([0, 8**7])) if ROOT else st.just(OWN)
TIMES = st.sampled_from([0, 1, 1_700_000_000, 8**11, -1])
XATTRS = st.dictionaries(st.sampled_from(["user.a", "user.ü"]), st.binary(max_size=20), max_size=2)


@st.composite
def layers(draw, marks=True, depth=3):
    """Sorted entries in which every parent is a directory of the layer. Devices are what placeholders stand for."""
    found = []
    files = []

    def fill(parent, left, is_hidden=False):
        if marks and parent and draw(st.booleans()):
            found.append(opaque(parent))
            is_hidden = True
        # Where nothing below is seen, a whiteout removes nothing, and is not kept.
        removals = ["whiteout"] if marks and not is_hidden else []
        kinds = ["file", "directory", "symlink", "fifo", "hardlink", "character", *removals]
        for name in sorted(draw(st.sets(NAMES, max_size=4))):
            path = parent + b"/" + name if parent else name
            kind = draw(st.sampled_from(kinds))
            uid, gid = draw(OWNERS)
            common = {"mode": draw(st.sampled_from([0o644, 0o755, 0o4711, 0o1777, 0o600])), "mtime_s": draw(TIMES)}
            common |= {"uid": uid, "gid": gid}
            if kind == "directory" and left:
                found.append(Entry(path, kind, xattrs=draw(XATTRS), **common))
                fill(path, left - 1, is_hidden)
            elif kind == "symlink":
                link = draw(st.sampled_from([b"a", b"/etc/x", b"../" * 50, b"\xfe"]))
                found.append(Entry(path, kind, 0o777, uid, gid, common["mtime_s"], link=link))
            elif kind == "fifo":
                found.append(Entry(path, kind, **common))
            elif kind == "character":
                found.append(Entry(path, draw(st.sampled_from(["character", "block"])), device=(1, 3), **common))
            elif kind == "whiteout":
                found.append(whiteout(path))
            elif kind == "hardlink" and files:
                first = draw(st.sampled_from(files))
                found.append(replace(first, path=path, kind=kind, link=first.path, size=0, content=None, xattrs={}))
            else:
                content = draw(st.binary(max_size=600) | st.sampled_from([b"x" * 300_000]))
                found.append(file(path, content, xattrs=draw(XATTRS), **common))
                files.append(found[-1])

    fill(b"", depth)
    found.sort(key=lambda entry: entry.path.split(b"/"))
    # A hard link stands behind the first name of its file.
    names = {}
    return [entry for entry in found if names.setdefault(entry.path, entry.kind) and _stands(entry, names)]


def _stands(entry, names):
    return entry.kind != "hardlink" or names.get(entry.link) == "file"


@settings(max_examples=120, deadline=None)
@given(layers())
def test_written_applied_and_read_an_upper_directory_is_the_same(entries):
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        apply(entries, made, Form(overlay="user.", devices="placeholder", owners=ROOT))
        assert written(upper_of(made, root=ROOT_HERE)) == written(entries)


@settings(max_examples=60, deadline=None)
@given(layers(marks=False), layers(marks=False))
def test_the_difference_of_two_trees_makes_one_the_other(first, second):
    form = Form(devices="placeholder", owners=ROOT)
    with tempfile.TemporaryDirectory() as made:
        old, new, copy = (Path(made, name) for name in ("old", "new", "copy"))
        for tree in (old, new, copy):
            tree.mkdir(mode=0o755)
        apply(first, old, form)
        apply(first, copy, form)
        apply(second, new, form)
        # From nothing, all is in the layer.
        (empty := Path(made, "empty")).mkdir(mode=0o755)
        assert written(trees(empty, new)) == written(second)
        apply(trees(old, new), copy, form)
        assert listed_by_tar(copy) == listed_by_tar(new)
        assert trees(copy, new) == []


def listed_by_tar(directory):
    """GNU tar as the oracle: all metadata and contents of what is in a directory."""
    options = ["--sort=name", "--numeric-owner", "--format=posix", "--xattrs", "--xattrs-include=*"]
    options += ["--pax-option=delete=atime,delete=ctime", "--verbatim-files-from", "--null", "--files-from=-"]
    names = b"\0".join(sorted(os.fsencode(path.name) for path in directory.iterdir()))
    return subprocess.run(["tar", "-cC", directory, *options], input=names, check=True, capture_output=True).stdout


# -- upper directories


def test_the_root_only_where_it_changed(directory):
    assert upper_of(directory, root=ROOT_HERE) == []
    (directory / "f").touch()
    assert paths(upper_of(directory, root=ROOT_HERE)) == ["f"]
    directory.chmod(0o1777)
    assert paths(upper_of(directory, root=ROOT_HERE)) == ["", "f"]
    assert upper_of(directory, root=replace(ROOT_HERE, mode=0o1777))[0].path == b"f"


def test_both_forms_of_whiteouts_and_of_opaque_directories(directory):
    for prefix in ("user", "trusted") if ROOT else ("user",):
        (top := directory / prefix).mkdir()
        os.mknod(top / "device", stat.S_IFCHR, os.makedev(0, 0))
        (top / "opaque").mkdir()
        os.setxattr(top / "opaque", f"{prefix}.overlay.opaque", b"y")
        (top / "others").mkdir()
        os.setxattr(top / "others", f"{prefix}.overlay.opaque", b"x")
        (top / "others/empty").touch()
        (top / "others/gone").touch()
        os.setxattr(top / "others/gone", f"{prefix}.overlay.whiteout", b"")
        assert [path.removeprefix(f"{prefix}/") for path in paths(upper_of(top, root=ROOT_HERE))] == [
            ".wh.device",
            "opaque",
            "opaque/.wh..wh..opq",
            "others",
            "others/.wh.gone",
            "others/empty",
        ]


def test_marks_of_overlayfs_are_in_no_entry(directory):
    (directory / "d").mkdir()
    (directory / "f").touch()
    for name in ("d", "f"):
        os.setxattr(directory / name, "user.overlay.origin", b"x")
        os.setxattr(directory / name, "user.kept", b"1")
    assert [entry.xattrs for entry in upper_of(directory, root=ROOT_HERE)] == [{"user.kept": b"1"}] * 2


@pytest.mark.parametrize("mark", ["redirect", "metacopy"])
def test_what_overlayfs_keeps_elsewhere_is_an_error(directory, mark):
    (directory / "d").mkdir()
    (directory / "d/f").touch()
    os.setxattr(directory / ("d" if mark == "redirect" else "d/f"), f"user.overlay.{mark}", b"/x")
    with pytest.raises(LayerError, match=mark):
        upper_of(directory)


def test_a_name_that_would_mark_a_removal_is_an_error(directory):
    (directory / ".wh.f").touch()
    with pytest.raises(LayerError, match="no image can hold it"):
        upper_of(directory)


def test_sockets_are_left_out_and_hide_what_is_below(directory):
    below, upper = directory / "below", directory / "upper"
    for made in (below, upper):
        made.mkdir()
        (made / "a").touch()
        os.utime(made / "a", (0, 0))  # the same, whenever the second begins
    (below / "hides").touch()
    for name in ("hides", "alone"):
        with socket.socket(socket.AF_UNIX) as bound, _in(upper):
            bound.bind(name)
    assert paths(upper_of(upper, root=ROOT_HERE)) == ["a"]
    with opened(below) as layers_below:
        assert paths(upper_of(upper, root=ROOT_HERE, below=OverlayLayers(layers_below))) == [".wh.hides", "a"]
    assert paths(trees(below, upper)) == [".wh.hides"]
    assert trees(upper, upper) == []


@contextmanager
def _in(directory):
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def test_owners_are_mapped(directory):
    (directory / "f").touch()
    (entry,) = upper_of(directory, root=ROOT_HERE, owners=lambda uid, gid: (uid + 5, gid + 6))[-1:]
    assert (entry.uid, entry.gid) == (OWN[0] + 5, OWN[1] + 6)


def test_names_of_one_file_are_hard_links_to_the_first(directory):
    (directory / "b").mkdir()
    (directory / "b/second").write_text("x")
    (directory / "a").hardlink_to(directory / "b/second")
    (directory / "c").hardlink_to(directory / "a")
    told = [(entry.path, entry.kind, entry.link) for entry in upper_of(directory, root=ROOT_HERE)]
    assert told == [
        (b"a", "file", b""),
        (b"b", "directory", b""),
        (b"b/second", "hardlink", b"a"),
        (b"c", "hardlink", b"a"),
    ]


def test_a_placeholder_is_a_device_again(directory):
    for name, value in (("c", b"c 1 3"), ("b", b"b 8 1"), ("nonsense", b"x")):
        (directory / name).touch()
        os.setxattr(directory / name, DEVICE_XATTR, value)
    told = {entry.path: (entry.kind, entry.device, entry.xattrs) for entry in upper_of(directory, root=ROOT_HERE)}
    assert told == {b"c": ("character", (1, 3), {}), b"b": ("block", (8, 1), {}), b"nonsense": ("file", (0, 0), {})}


def test_a_path_that_no_image_can_hold(directory):
    with opened(directory) as (fd,):
        deep = fd
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=deep)
            inner = os.open("d" * 250, os.O_RDONLY, dir_fd=deep)
            if deep != fd:
                os.close(deep)
            deep = inner
        os.close(deep)
        with pytest.raises(LayerError, match="longer than an image can hold"):
            list(diff_upper(fd))


# -- two trees


@pytest.fixture
def pair(directory):
    """A tree and its copy, made before `since`."""
    old, new = directory / "old", directory / "new"
    (old / "d/e").mkdir(parents=True)
    (old / "d/e/f").write_text("content")
    (old / "d/g").write_text("other")
    (old / "l").symlink_to("d")
    shutil.copytree(old, new, symlinks=True)
    assert trees(old, new) == []
    return old, new


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda new: (new / "d/e/f").write_text("changed"), ["d", "d/e", "d/e/f"]),
        (lambda new: (new / "d/e/f").chmod(0o600), ["d", "d/e", "d/e/f"]),
        (lambda new: os.utime(new / "d/g", ns=(1, 1)), ["d", "d/g"]),
        (lambda new: os.setxattr(new / "d/g", "user.a", b"1"), ["d", "d/g"]),
        (lambda new: os.setxattr(new / "d/e", "user.a", b"1"), ["d", "d/e"]),
        (lambda new: (new / "d/e").chmod(0o700), ["d", "d/e"]),
        (lambda new: (new / "d/g").unlink(), ["d", "d/.wh.g"]),
        (lambda new: shutil.rmtree(new / "d"), [".wh.d"]),
        (lambda new: ((new / "l").unlink(), (new / "l").symlink_to("e")), ["l"]),
        (lambda new: ((new / "l").unlink(), (new / "l").mkdir(), (new / "l/x").touch()), ["l", "l/x"]),
        (lambda new: (shutil.rmtree(new / "d"), (new / "d").write_text("")), ["d"]),
        (lambda new: (new / "h").hardlink_to(new / "d/g"), ["d", "d/g", "h"]),
    ],
    ids=[
        "content",
        "mode",
        "time",
        "attribute",
        "attribute of a directory",
        "mode of a directory",
        "removed",
        "directory removed",
        "link",
        "link to directory",
        "directory to file",
        "another name",
    ],
)
def test_what_changed_is_in_the_layer_with_its_parents(pair, change, expected):
    old, new = pair
    change(new)
    assert paths(trees(old, new)) == expected


def test_content_of_the_same_size_and_time_is_compared(pair):
    old, new = pair
    info = (new / "d/g").stat()
    (new / "d/g").write_text("OTHER")
    os.utime(new / "d/g", ns=(info.st_atime_ns, info.st_mtime_ns))
    assert paths(trees(old, new)) == ["d", "d/g"]


def test_what_nothing_has_touched_since_is_not_read(pair):
    old, new = pair
    (old / "d/g").write_text("OTHER")
    os.utime(old / "d/g", ns=(0, (new / "d/g").stat().st_mtime_ns))
    assert paths(trees(old, new)) == ["d", "d/g"]
    assert trees(old, new, since_ns=(new / "d/g").stat().st_ctime_ns + 1) == []


def test_files_that_have_changed_their_partners(directory):
    for tree, pairs in (("old", "ab cd"), ("new", "ac bd")):
        (directory / tree).mkdir()
        for one, other in pairs.split():
            (directory / tree / one).write_text("same")
            os.utime(directory / tree / one, ns=(1, 1))
            (directory / tree / other).hardlink_to(directory / tree / one)
    assert paths(trees(directory / "old", directory / "new")) != []


# -- holes


def test_a_hole_of_ten_gigabytes_costs_nothing(directory):
    from stapel.oci.compress import write_compressed

    with (directory / "holes").open("wb") as content:
        content.write(b"begin")
        content.seek(10 << 30)
        content.write(b"end")
    out = io.BytesIO()
    with opened(directory) as (fd,):
        result = write_compressed(diff_upper(fd, root=ROOT_HERE), out)
    assert result.size_bytes < 2000
    assert result.tar_bytes < 100_000
    (again := directory / "again").mkdir()
    with opened(again) as (fd,):
        apply_layer(io.BytesIO(out.getvalue()), fd, Form(owners=ROOT), diff_id=result.diff_id)
    told = (again / "holes").stat()
    assert (told.st_size, told.st_blocks < 100) == ((10 << 30) + 3, True)
    with (again / "holes").open("rb") as content:
        assert content.read(6) == b"begin\0"
        content.seek(-4, 2)
        assert content.read() == b"\0end"


def test_small_holes_are_written_as_zeros(directory):
    with (directory / "holes").open("wb") as content:
        content.truncate(3_000_000)
    with opened(directory) as (fd,):
        data = written(diff_upper(fd, root=ROOT_HERE))
    assert len(data) > 3_000_000
    assert b"GNU.sparse" not in data


def test_gnu_tar_reads_holes(directory):
    (source := directory / "source").mkdir()
    places = (5_000_000, 100_000_000, 350_000_000)
    with (source / "holes").open("wb") as content:
        for at in places:
            content.seek(at)
            content.write(b"%d" % at)
        content.truncate(400_000_000)
    with opened(source) as (fd,):
        data = written(diff_upper(fd, root=ROOT_HERE))
    assert len(data) < 200_000
    (read := directory / "read").mkdir()
    subprocess.run(["tar", "-xC", read], input=data, check=True)
    told = (read / "holes").stat()
    assert (told.st_size, told.st_blocks < 1000) == (400_000_000, True)
    with (read / "holes").open("rb") as content:
        for at in places:
            content.seek(at - 1)
            assert content.read(12).strip(b"\0") == b"%d" % at


# -- the kernel's overlay

SCRIPT = """
set -e
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir lower upper work merged
mkdir -p lower/d/e lower/gone lower/again/inner lower/kept
echo f > lower/d/e/f
echo g > lower/d/g
touch lower/gone/x lower/again/x lower/again/inner/y lower/kept/z
mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work,userxattr overlay merged
cd merged
echo changed > d/g
rm d/e/f
rm -r gone again
mkdir again
touch again/new
ln d/g link
touch file
cd ..
umount merged
exec "$2" -c "$3" "$1/upper" "$1/lower"
"""
PROGRAM = """
import os, sys
from stapel.oci.diff import diff_upper
from stapel.oci.overlay import OverlayLayers
upper, lower = (os.open(path, os.O_RDONLY) for path in sys.argv[1:3])
for entry in diff_upper(upper):
    print(entry.path.decode(), entry.kind, entry.link.decode())
merged = OverlayLayers([upper, lower])
for path in (b"d/e/f", b"gone", b"gone/x", b"again/x", b"again/inner/y", b"again/new", b"kept/z", b"d/g/x"):
    found = merged.find(path)
    print(path.decode(), found and found.kind)
print(sorted(merged.names(b"")), sorted(merged.names(b"again")), sorted(merged.names(b"d/e")), merged.open(b"d/g").read())
"""


def test_an_upper_directory_of_the_kernel(tmp_path):
    namespaces = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*namespaces, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    told = subprocess.run(
        [*namespaces, "sh", "-c", SCRIPT, "sh", tmp_path, sys.executable, PROGRAM], capture_output=True, text=True
    )
    assert told.stderr == ""
    assert told.stdout.splitlines() == [
        ".wh.gone file ",
        "again directory ",
        "again/.wh..wh..opq file ",
        "again/new file ",
        "d directory ",
        "d/e directory ",
        "d/e/.wh.f file ",
        "d/g file ",
        "file file ",
        "link hardlink d/g",
        "d/e/f None",
        "gone None",
        "gone/x None",
        "again/x None",
        "again/inner/y None",
        "again/new file",
        "kept/z file",
        "d/g/x None",
        "[b'again', b'd', b'file', b'kept', b'link'] [b'new'] [] b'changed\\n'",
    ]
