"""Layers onto plain trees and into upper directories: what Docker would make of them, and what hostile ones may not do."""

import gzip
import io
import os
import stat
import tarfile
import tempfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from stapel.oci.apply import Form, apply_layer
from stapel.oci.archive import Limits, Member
from stapel.oci.errors import BadLayer
from stapel.oci.layer import Entry, opaque, whiteout, write_layer
from stapel.oci.overlay import DEVICE_XATTR

ROOT = os.geteuid() == 0
# Owners and devices only root can make; the rest of the tests run for anybody.
PLAIN = Form(owners=ROOT)
UPPER = Form(overlay="user.", owners=ROOT)
FORMS = pytest.mark.parametrize("form", [PLAIN, UPPER], ids=["plain", "upper"])


@pytest.fixture
def root(tmp_path):
    """The directory that layers are applied to, with a canary beside it that no test may change."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("alive")
    inside = tmp_path / "root"
    inside.mkdir()
    yield inside
    assert [path.name for path in sorted(outside.iterdir())] == ["canary"]
    assert (outside / "canary").read_text() == "alive"
    assert (outside / "canary").stat().st_nlink == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "root"]


def apply(root, layer, form=PLAIN, **options):
    fd = os.open(root, os.O_RDONLY)
    try:
        return apply_layer(io.BytesIO(layer), fd, form, **options)
    finally:
        os.close(fd)


def layer(*entries):
    """A layer of ours, sorted."""
    out = io.BytesIO()
    write_layer(sorted(entries, key=lambda entry: entry.path.split(b"/")), out)
    return out.getvalue()


def archive(*members, format=tarfile.PAX_FORMAT):
    """A tar in any order, with any names: (name, type, content or link, fields)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as written:
        for name, kind, content, *fields in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
            for key, value in (fields[0] if fields else {}).items():
                setattr(info, key, value)
            if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
                info.linkname = content
                written.addfile(info)
            else:
                data = content.encode() if content else b""
                info.size = len(data)
                written.addfile(info, io.BytesIO(data))
    return out.getvalue()


REG, DIR, SYM, LNK, CHR, FIFO = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
)


def file(path, content=b"", **fields):
    return Entry(path, "file", size=len(content), content=content, **{"mode": 0o644, **fields})


def tree(root):
    """All paths below a root, whiteouts as `!path`."""
    found = []
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            info = (path := Path(directory, name)).lstat()
            mark = "!" if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0 else ""
            found.append(f"{mark}{path.relative_to(root)}")
    return sorted(found)


def is_opaque(path):
    return "user.overlay.opaque" in os.listxattr(path)


class Below:
    """Layers below that are a dictionary of members."""

    def __init__(self, **members):
        self._members = {
            path.replace("__", "/").encode(): Member(
                path.encode(), kind, mode, 0, 0, 7_000_000_000, 0, link, (0, 0), {}, None
            )
            for path, (kind, mode, link) in members.items()
        }
        self.contents = {}

    def find(self, path):
        return self._members.get(path)

    def names(self, path):
        return [name for name in self._members if b"/" not in name]

    def open(self, path):
        return io.BytesIO(self.contents[path])


def below_form(**members):
    return Form(overlay="user.", owners=ROOT, below=Below(**members))


# -- what is in a layer is there


@FORMS
def test_every_kind_with_its_metadata(root, form):
    apply(
        root,
        layer(
            Entry(b"", "directory", 0o711, mtime_s=4),
            Entry(b"d", "directory", 0o1777, mtime_s=5),
            file(b"d/f", b"content", mode=0o4755, mtime_s=-6),
            Entry(b"d/h", "hardlink", link=b"d/f"),
            Entry(b"d/s", "symlink", 0o777, link=b"../../../etc/passwd", mtime_s=7),
            Entry(b"p", "fifo", 0o620, mtime_s=8),
        ),
        form,
    )
    assert tree(root) == ["d", "d/f", "d/h", "d/s", "p"]
    assert (root / "d/f").read_bytes() == b"content"
    assert (root / "d/f").samefile(root / "d/h")
    assert str((root / "d/s").readlink()) == "../../../etc/passwd"
    told = {path: os.lstat(root / path) for path in ("", "d", "d/f", "d/s", "p")}
    assert [stat.S_IMODE(told[path].st_mode) for path in ("", "d", "d/f", "p")] == [0o711, 0o1777, 0o4755, 0o620]
    assert [told[path].st_mtime_ns // 10**9 for path in told] == [4, 5, -6, 7, 8]
    assert stat.S_ISFIFO(told["p"].st_mode)


@pytest.mark.skipif(not ROOT, reason="gives files to others")
def test_owners_by_number_and_capabilities_after_them(root):
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    apply(root, layer(Entry(b"d", "directory", 0o700, 5, 6), file(b"d/f", b"", uid=7, gid=8, mode=0o6755)))
    apply(root, layer(file(b"ping", b"", uid=1, xattrs={"security.capability": capability, "user.note": b"n"})))
    told = [os.lstat(root / path) for path in ("d", "d/f")]
    assert [(info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) for info in told] == [(5, 6, 0o700), (7, 8, 0o6755)]
    assert os.getxattr(root / "ping", "security.capability") == capability
    assert os.getxattr(root / "ping", "user.note") == b"n"


def test_times_to_the_nanosecond_where_they_are_written(root):
    apply(root, archive(("f", REG, "", {"pax_headers": {"mtime": "12.000000345"}}), ("g", REG, "", {"mtime": -3.5})))
    assert (root / "f").stat().st_mtime_ns == 12_000_000_345
    assert (root / "g").stat().st_mtime_ns == -3_500_000_000


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["PAX", "GNU"])
def test_names_links_and_numbers_of_any_length(root, form):
    names = ["a" * 250, "ü" * 120, "d/" * 60 + "f"]
    members = [(name, REG, "x", {"mtime": 2**33, "gid": 2**21 + 5 if ROOT else 0}) for name in names]
    apply(root, archive(*members, ("s", SYM, "t" * 300), format=form))
    for name in names:
        assert (root / name).read_text() == "x"
        assert (root / name).stat().st_mtime == 2**33
    assert str((root / "s").readlink()) == "t" * 300


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress, lambda data: data], ids=["gzip", "zstd", "plain"])
def test_compressed_layers_and_their_diff_id(root, compress):
    tar = layer(file(b"f", os.urandom(3_000_000)))
    result = apply(root, compress(tar))
    again = apply(root, compress(tar), diff_id=result.diff_id)
    assert again == result
    assert (result.entries, result.tar_bytes) == (1, len(tar))


def test_two_members_of_gzip_and_zeros_behind_them(root):
    tar = layer(file(b"f", b"content"))
    assert apply(root, gzip.compress(tar[:600]) + gzip.compress(tar[600:]) + bytes(700)).tar_bytes == len(tar)


@pytest.mark.parametrize("sparse", ["--sparse-version=1.0", "--sparse-version=0.1", "--sparse-version=0.0", "--format=gnu"])
def test_sparse_files_of_every_format(root, tmp_path_factory, sparse):
    import subprocess

    source = tmp_path_factory.mktemp("sparse")
    with (source / "holes").open("wb") as content:
        for number in range(40):  # more pieces than one block of a header holds
            content.seek(number * 200_000)
            content.write(b"%d" % number * 1000)
        content.truncate(50_000_000)
    options = [sparse] if "gnu" in sparse else ["--format=posix", sparse]
    tar = subprocess.run(["tar", "-cS", *options, "-C", source, "holes"], check=True, capture_output=True).stdout
    assert len(tar) < 1_000_000
    apply(root, tar)
    assert (root / "holes").read_bytes() == (source / "holes").read_bytes()
    assert (root / "holes").stat().st_blocks * 512 < 2_000_000


def test_a_missing_parent_is_made(root):
    apply(root, layer(file(b"a/b/f")))
    assert tree(root) == ["a", "a/b", "a/b/f"]
    assert stat.S_IMODE((root / "a/b").stat().st_mode) == 0o755
    assert (root / "a").stat().st_mtime == 0


def test_a_parent_that_is_not_in_the_layer_keeps_its_mode_and_time(root):
    (root / "d").mkdir(mode=0o700)
    os.utime(root / "d", ns=(5, 5))
    apply(root, layer(file(b"d/f")))
    assert ((root / "d").stat().st_mtime_ns, stat.S_IMODE((root / "d").stat().st_mode)) == (5, 0o700)


def test_names_that_begin_with_a_slash_or_a_dot_are_inside(root):
    apply(root, archive(("./", DIR, ""), ("/etc/passwd", REG, "x"), ("./a/./b//c", REG, "y"), ("d/", DIR, "")))
    assert tree(root) == ["a", "a/b", "a/b/c", "d", "etc", "etc/passwd"]


def test_a_thousand_directories_deep(root):
    deep = b"/".join([b"d"] * 1000)
    apply(root, layer(file(deep + b"/f", b"x"), file(b"d/e"), file(deep[:-2] + b"/g")))
    apply(root, layer(whiteout(b"d")))
    assert tree(root) == []


# -- what replaces what


@FORMS
@pytest.mark.parametrize("new", [REG, DIR, SYM, FIFO, LNK], ids=["file", "directory", "symlink", "fifo", "hardlink"])
@pytest.mark.parametrize("old", [REG, DIR, SYM, FIFO], ids=["file", "directory", "symlink", "fifo"])
def test_duplicate_entries_are_as_the_last_says(root, form, old, new):
    before = [("p", old, "../outside/canary" if old == SYM else "")] + ([("p/inner", REG, "x")] if old == DIR else [])
    apply(root, archive(("t", REG, "T"), *before, ("p", new, "t" if new in (SYM, LNK) else "")), form)
    kind = stat.S_IFMT(os.lstat(root / "p").st_mode)
    assert kind == {REG: stat.S_IFREG, LNK: stat.S_IFREG, DIR: stat.S_IFDIR, SYM: stat.S_IFLNK, FIFO: stat.S_IFIFO}[new]
    assert (root / "p/inner").exists() == (old == new == DIR)


def test_a_directory_over_a_link_replaces_the_link(root):
    (root / "p").symlink_to("../outside")
    apply(root, archive(("p", DIR, ""), ("p/f", REG, "x")))
    assert not (root / "p").is_symlink()
    assert (root / "p/f").read_text() == "x"


def test_what_a_directory_had_beside_the_layer_is_gone(root):
    (root / "d").mkdir()
    os.setxattr(root / "d", "user.old", b"1")
    apply(root, layer(Entry(b"d", "directory", xattrs={"user.new": b"2"})))
    assert os.listxattr(root / "d") == ["user.new"]


# -- whiteouts


def test_whiteouts_remove_from_a_plain_tree(root):
    for path in ("d/e/f", "d/g", "keep"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    apply(root, layer(whiteout(b"d/e"), whiteout(b"absent"), whiteout(b"no/such/place")))
    assert tree(root) == ["d", "d/g", "keep"]


def test_whiteouts_become_devices_in_an_upper_directory(root):
    apply(root, layer(whiteout(b"a"), Entry(b"d", "directory"), whiteout(b"d/x"), opaque(b"d")), UPPER)
    assert tree(root) == ["!a", "!d/x", "d"]
    assert is_opaque(root / "d")


def test_the_attribute_of_opaque_directories_by_name(root):
    if not ROOT:
        pytest.skip("trusted attributes are root's")
    apply(root, layer(Entry(b"d", "directory"), opaque(b"d")), Form(overlay="trusted."))
    assert os.getxattr(root / "d", "trusted.overlay.opaque") == b"y"


def test_an_opaque_directory_keeps_what_its_layer_holds(root):
    for path in ("d/old", "d/e/old", "d/f/old"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    apply(root, archive(("d/new", REG, ""), ("d/e/new", REG, ""), ("d/.wh..wh..opq", REG, ""), ("d/newer", REG, "")))
    assert tree(root) == ["d", "d/e", "d/e/new", "d/new", "d/newer"]


@FORMS
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_whiteout_never_removes_what_its_own_layer_holds(root, form, first):
    files = [("d", DIR, ""), ("d/f", REG, "new"), ("f", REG, "new")]
    marks = [(".wh.d", REG, ""), (".wh.f", REG, "")]
    if form is PLAIN:
        (root / "d").mkdir()
        (root / "d/old").write_text("old")
    apply(root, archive(*(marks + files if first else files + marks)), form)
    assert tree(root) == ["d", "d/f", "f"]
    if form is UPPER:
        assert is_opaque(root / "d")


@FORMS
def test_a_whiteout_through_a_link_stays_inside(root, form):
    (root.parent / "outside/victim").write_text("x")
    apply(root, archive(("out", SYM, "../outside"), ("out/.wh.victim", REG, ""), ("out/.wh.canary", REG, "")), form)
    assert (root.parent / "outside/victim").exists()
    (root.parent / "outside/victim").unlink()


def test_a_whiteout_of_a_link_removes_the_link(root):
    (root / "link").symlink_to(root.parent / "outside")
    apply(root, layer(whiteout(b"link")))
    assert tree(root) == []


def test_an_opaque_link_empties_what_it_leads_to_inside(root):
    (root / "outside").mkdir()
    (root / "outside/gone").write_text("x")
    apply(root, archive(("link", SYM, "../../outside"), ("link/.wh..wh..opq", REG, "")))
    assert tree(root) == ["link", "outside"]


@FORMS
@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh.", "d/.wh..", "d/.wh..."])
def test_whiteouts_of_no_name_of_dot_and_of_dotdot(root, form, name):
    (root / "keep").write_text("x")
    with pytest.raises(BadLayer, match=r"would remove no file"):
        apply(root, archive(("d", DIR, ""), (name, REG, "")), form)
    assert (root / "keep").exists()


@FORMS
@pytest.mark.parametrize("name", [".wh.x/f", ".wh..wh..opq/f", "d/.wh.x/e/f"])
def test_a_directory_whose_name_marks_a_removal(root, form, name):
    with pytest.raises(BadLayer, match="whose name marks a removal"):
        apply(root, archive((name, REG, "")), form)


@FORMS
def test_what_aufs_kept_for_itself_is_left_out(root, form):
    members = [(".wh..wh.aufs", REG, ""), (".wh..wh.plnk", DIR, ""), (".wh..wh.plnk/1.2", REG, "x"), ("f", REG, "")]
    apply(root, archive(*members), form)
    assert tree(root) == ["f"]


# -- the layers below an upper directory


def test_a_link_below_is_followed_and_not_replaced(root):
    apply(root, layer(file(b"bin/tool")), below_form(bin=("symlink", 0o777, b"usr/bin"), usr=("directory", 0o750, b"")))
    assert tree(root) == ["usr", "usr/bin", "usr/bin/tool"]
    assert stat.S_IMODE((root / "usr").stat().st_mode) == 0o750, "a parent comes with its metadata"
    assert (root / "usr").stat().st_mtime == 7


def test_a_link_below_that_an_entry_replaces_leads_nowhere_any_more(root):
    below = below_form(a=("directory", 0o755, b""), a__l=("symlink", 0o777, b"."))
    with pytest.raises(BadLayer, match="/a/l/other leads through /a/l, which is no directory"):
        apply(root, archive(("a/l/l", REG, ""), ("a/l/other", REG, "")), below)


def test_whiteouts_of_what_is_not_below_are_left_out(root):
    below = below_form(d=("directory", 0o755, b""), d__f=("file", 0o644, b""))
    apply(root, layer(whiteout(b"d/f"), whiteout(b"d/g"), whiteout(b"h/i")), below)
    assert tree(root) == ["!d/f", "d"]


def test_an_opaque_root_hides_each_name_below(root):
    below = below_form(a=("file", 0o644, b""), d=("directory", 0o755, b""), e=("directory", 0o700, b""))
    apply(root, archive(("d", DIR, ""), (".wh..wh..opq", REG, ""), ("e/f", REG, "")), below)
    assert tree(root) == ["!a", "d", "e", "e/f"]
    assert is_opaque(root / "d")
    assert is_opaque(root / "e")
    assert stat.S_IMODE((root / "e").stat().st_mode) == 0o755, "nothing is taken from what is hidden"


def test_an_opaque_root_is_not_taken_where_nothing_is_known_of_what_is_below(root):
    with pytest.raises(BadLayer, match="empties the root"):
        apply(root, layer(opaque(b"")), UPPER)


def test_a_hard_link_to_a_file_below_brings_it_up(root):
    form = below_form(f=("file", 0o640, b""))
    form.below.contents[b"f"] = b"from below"
    apply(root, archive(("h", LNK, "f")), form)
    assert (root / "h").read_text() == "from below"
    assert (root / "h").samefile(root / "f")
    assert stat.S_IMODE((root / "h").stat().st_mode) == 0o640


def test_a_directory_over_a_whiteout_of_its_layer_is_opaque(root):
    apply(root, archive((".wh.a", REG, ""), ("a/b", REG, ""), (".wh.c", REG, ""), ("c", DIR, "")), UPPER)
    assert tree(root) == ["a", "a/b", "c"]
    assert is_opaque(root / "a")
    assert is_opaque(root / "c")


def test_the_kernel_shows_upper_directories_as_the_plain_tree():
    """Layers in any order, with marks, links and what is there twice: both forms make the same image."""
    import subprocess
    import sys

    namespaces = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*namespaces, "true"], capture_output=True).returncode:
        pytest.skip("no user namespaces here")
    command = [*namespaces, sys.executable, Path(__file__).with_name("overlay_oracle.py"), "150"]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    agree, refused = (int(word) for word in told.stdout.split() if word.isdigit())
    assert agree > refused > 0


# -- hostile: ways out


@FORMS
@pytest.mark.parametrize("name", ["../escape", "a/../../escape", "..", "a/..", "/../escape", "a/../b"])
def test_dotdot_in_a_name(root, form, name):
    with pytest.raises(BadLayer, match="leads upwards"):
        apply(root, archive((name, REG, "x")), form)


@FORMS
@pytest.mark.parametrize(
    "links",
    [
        {"l": "../outside"},
        {"l": "../../../../../../outside"},
        {"l": "/outside"},
        {"l": "m", "m": "../outside"},
        {"d/l": "../../outside", "l": "d/l"},
        {"l": "./d/../../outside"},
    ],
    ids=["relative", "far up", "absolute", "nested", "through a directory", "dots"],
)
def test_a_file_through_a_link_stays_inside(root, form, links):
    members = [(name, SYM, target) for name, target in links.items()]
    apply(root, archive(("d", DIR, ""), *members, ("l/f", REG, "x")), form)
    assert (root / "outside/f").read_text() == "x"


@FORMS
def test_links_in_a_circle(root, form):
    with pytest.raises(BadLayer, match="more than 40 links"):
        apply(root, archive(("a", SYM, "b"), ("b", SYM, "a"), ("a/f", REG, "x")), form)


@FORMS
def test_a_file_over_a_link_does_not_write_through_it(root, form):
    target = str(root.parent / "outside/canary")
    apply(root, archive(("l", SYM, target), ("l", REG, "dead")), form)
    assert (root / "l").read_text() == "dead"
    assert not (root / "l").is_symlink()


@FORMS
def test_a_path_through_a_file(root, form):
    with pytest.raises(BadLayer, match=r"/a/b/c leads through /a, which is no directory"):
        apply(root, archive(("a", REG, ""), ("a/b/c", REG, "")), form)


@FORMS
@pytest.mark.parametrize("target", ["../outside/canary", "a/../../outside/canary", "/../outside/canary"])
def test_a_hard_link_upwards(root, form, target):
    with pytest.raises(BadLayer, match="leads upwards"):
        apply(root, archive(("h", LNK, target)), form)


@FORMS
def test_a_hard_link_outside_through_a_link(root, form):
    with pytest.raises(BadLayer, match="which is not there"):
        apply(root, archive(("l", SYM, "../outside"), ("h", LNK, "l/canary")), form)


@FORMS
def test_a_hard_link_to_an_absolute_name_is_inside(root, form):
    apply(root, archive(("etc/f", REG, "x"), ("h", LNK, "/etc/f")), form)
    assert (root / "h").samefile(root / "etc/f")


@FORMS
def test_a_hard_link_to_a_link_is_another_name_of_the_link(root, form):
    apply(root, archive(("l", SYM, str(root.parent / "outside/canary")), ("h", LNK, "l")), form)
    assert (root / "h").is_symlink()
    apply(root, archive(("h", REG, "x")), form)
    assert (root / "h").read_text() == "x"
    assert (root / "l").is_symlink()


@FORMS
@pytest.mark.parametrize(
    ("target", "word"),
    [("d", "directory"), ("/", "root"), ("absent", "not there"), ("no/such", "not there"), ("h", "itself")],
)
def test_hard_links_that_cannot_be(root, form, target, word):
    with pytest.raises(BadLayer, match=f"/h is a hard link to .*{word}"):
        apply(root, archive(("d", DIR, ""), ("h", LNK, target)), form)


def test_the_root_cannot_be_a_file(root):
    for kind in (REG, SYM, FIFO):
        with pytest.raises(BadLayer, match="root itself"):
            apply(root, archive(("./", kind, "x" if kind == SYM else "")))


# -- hostile: attributes and devices


@FORMS
def test_attributes_of_overlayfs_and_ours_are_dropped(root, form):
    xattrs = {"user.overlay.opaque": "y", "trusted.overlay.redirect": "/x", "user.overlay.whiteout": "", "user.ok": "1"}
    headers = {f"SCHILY.xattr.{key}": value for key, value in {**xattrs, DEVICE_XATTR: "b 8 0"}.items()}
    for name, kind in (("d", DIR), ("f", REG)):
        apply(root, archive((name, kind, "", {"pax_headers": headers})), form)
        assert os.listxattr(root / name) == ["user.ok"]


def test_attributes_that_the_kernel_does_not_take_are_told(root):
    headers = {"SCHILY.xattr.nonsense.name": "1"}
    assert apply(root, archive(("f", REG, "", {"pax_headers": headers}))).dropped_xattrs == ("nonsense.name",)


@FORMS
def test_a_device_that_would_be_a_whiteout(root, form):
    with pytest.raises(BadLayer, match="0/0"):
        apply(root, archive(("etc", CHR, "", {"devmajor": 0, "devminor": 0})), form)


@FORMS
def test_a_placeholder_for_a_device(root, form):
    form = Form(overlay=form.overlay, owners=form.owners, devices="placeholder")
    apply(root, layer(Entry(b"null", "character", 0o666, device=(1, 3)), Entry(b"sda", "block", 0, device=(8, 0))), form)
    assert [os.getxattr(root / name, DEVICE_XATTR) for name in ("null", "sda")] == [b"c 1 3", b"b 8 0"]
    told = os.lstat(root / "null")
    assert (stat.S_ISREG(told.st_mode), told.st_size, stat.S_IMODE(told.st_mode)) == (True, 0, 0o666)


@pytest.mark.skipif(not ROOT, reason="makes devices")
def test_devices(root):
    try:
        os.mknod(root / "probe", stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices cannot be made here")
    apply(root, layer(Entry(b"null", "character", 0o666, device=(1, 3))))
    told = os.lstat(root / "null")
    assert (stat.S_ISCHR(told.st_mode), told.st_rdev, stat.S_IMODE(told.st_mode)) == (True, os.makedev(1, 3), 0o666)


# -- hostile: the stream


def test_a_diff_id_that_differs(root):
    with pytest.raises(BadLayer, match=r"its diff id is sha256:.*, not sha256:00"):
        apply(root, layer(file(b"f")), diff_id="sha256:" + "0" * 64)


def test_a_header_that_promises_more_than_comes(root):
    tar = layer(file(b"f", bytes(5000)))
    for cut in (1, 100, 511, 512 + 700, 512 + 4999):
        with pytest.raises(BadLayer, match="ends in the middle of"):
            apply(root, tar[:cut])


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_compressed_layer_that_is_cut_or_damaged(root, compress):
    data = compress(layer(file(b"f", os.urandom(200_000))))
    with pytest.raises(BadLayer, match="ends"):
        apply(root, data[: len(data) // 2])
    with pytest.raises(BadLayer, match=r"damaged|makes no sense|checksum|ends"):
        apply(root, data[:30] + bytes(100) + data[130:])


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_a_size_bomb_ends_at_the_limit(root, compress):
    bomb = compress(layer(file(b"zeros", bytes(30_000_000))))
    assert len(bomb) < 100_000
    with pytest.raises(BadLayer, match="larger than 2000000 bytes"):
        apply(root, bomb, limits=Limits(bytes=2_000_000))
    assert (root / "zeros").stat().st_size < 3_500_000


def test_an_entry_bomb_ends_at_the_limit(root):
    bomb = layer(*(file(b"%d" % number) for number in range(1000)))
    with pytest.raises(BadLayer, match="more than 100 entries"):
        apply(root, bomb, limits=Limits(entries=100))
    assert len(tree(root)) == 100
    assert apply(root, layer(*(file(b"%d" % number) for number in range(100))), limits=Limits(entries=100)).entries == 100


def test_no_tar_at_all(root):
    for data in (b"hello" * 200, b"\xff" * 512, b"x"):
        with pytest.raises(BadLayer, match=r"no tar|ends in the middle"):
            apply(root, data)


def test_empty_streams_are_empty_layers(root):
    for data in (b"", bytes(512), bytes(1024), bytes(10240)):
        assert apply(root, data).entries == 0


def _patched(tar, offset, data):
    """A tar with other bytes in its first header, and a checksum that is right."""
    block = bytearray(tar[:512])
    block[offset : offset + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + tar[512:]


@pytest.mark.parametrize(
    ("offset", "data"),
    [
        (124, b"-0000000777\0"),
        (124, b"9999\0"),
        (124, b"1_000\0"),
        (124, b"\xff" * 12),
        (156, b"Z"),
        (156, b"M"),
    ],
    ids=["negative", "no octal", "underscore", "negative in base 256", "unknown type", "a volume"],
)
def test_headers_that_make_no_sense(root, offset, data):
    with pytest.raises(BadLayer, match=r"no number|size of -|unknown type"):
        apply(root, _patched(layer(file(b"f")), offset, data))


@pytest.mark.parametrize(
    "record",
    [
        b"999 path=a\n",
        b"5 path=a\n",
        b"x path=a\n",
        b"9 path=a",
        b"0 \n",
        b"8 patha\n",
        b"11 path=a\0b\n",
        b"13 mtime=1.x\n",
    ],
)
def test_extended_headers_that_make_no_sense(root, record):
    pax = _patched(layer(file(b"PaxHeaders/x", record)), 156, b"x")[:1024]
    with pytest.raises(BadLayer, match="extended header"):
        apply(root, pax + layer(file(b"f")))


def pax(**records):
    """A tar with a file of these records, written as they are."""
    body = b""
    for key, value in records.items():
        rest = b" " + key.replace("__", ".").encode() + b"=" + value + b"\n"
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        body += b"%d" % length + rest
    header = layer(file(b"PaxHeaders/x", body))
    return _patched(header, 156, b"x")[: len(header) - 1024] + layer(file(b"f"))


@pytest.mark.parametrize(
    ("records", "word"),
    [
        ({"uid": b"-1"}, "no ids"),
        ({"gid": b"4294967295"}, "no ids"),
        ({"uid": b"99999999999999999999"}, "no ids"),
        ({"uid": b"x"}, "no number"),
        ({"mtime": b"9" * 40}, "time that makes no sense"),
        ({"mtime": b"-" + b"9" * 30 + b".5"}, "time that makes no sense"),
        ({"size": b"9223372036854775807"}, "size of"),
        ({"size": b"-5"}, "size of"),
        ({"GNU__sparse__map": b"0,0", "GNU__sparse__size": b"9999999999999999999"}, "map"),
        ({"SCHILY__xattr__user__a\0b": b"x"}, "makes no sense"),
        ({"SCHILY__xattr__user__" + "a" * 300: b"x"}, "cannot be made"),
        ({"SCHILY__xattr__user__a": b"x" * 70_000}, "cannot be made"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:40],
)
def test_numbers_and_attributes_that_no_system_takes(root, records, word):
    with pytest.raises(BadLayer, match=word):
        apply(root, pax(**records))


def test_a_time_that_no_file_system_holds_is_the_nearest(root):
    apply(root, pax(mtime=b"9999999999999"))
    assert (root / "f").stat().st_mtime > 2**33


def test_a_sparse_map_of_many_pieces(root):
    sparse = b"200000\n" + b"0\n0\n" * 200_000
    sparse += bytes(-len(sparse) % 512)
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": "1000"}
    apply(root, archive(("f", REG, sparse.decode(), {"pax_headers": headers})))
    assert (root / "f").read_bytes() == bytes(1000)


ALL_KINDS = archive(
    ("d", DIR, "", {"pax_headers": {"SCHILY.xattr.user.a": "1", "mtime": "1.5"}}),
    ("d/" + "f" * 150, REG, "content" * 100),
    ("l", SYM, "d"),
    ("l/g", REG, "x", {"pax_headers": {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9"}}),
    ("h", LNK, "l/g"),
    (".wh.x", REG, ""),
    ("d/.wh..wh..opq", REG, ""),
    ("c", CHR, "", {"devmajor": 1, "devminor": 3}),
    ("p", FIFO, ""),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(ALL_KINDS) - 1), st.binary(min_size=1, max_size=12)), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([PLAIN, UPPER]),
)
def test_changed_bytes_are_another_layer_or_a_clear_error(changes, repaired, form):
    data = bytearray(ALL_KINDS)
    for at, new in changes:
        data[at : at + len(new)] = new
    for block in range(0, len(data) - 511, 512) if repaired else ():
        if data[block + 257 : block + 262] == b"ustar":  # so that more than the checksum is looked at
            data[block + 148 : block + 156] = b" " * 8
            data[block + 148 : block + 156] = b"%06o\0 " % sum(data[block : block + 512])
    with tempfile.TemporaryDirectory() as made:
        (inside := Path(made, "root")).mkdir()
        try:
            apply(inside, bytes(data), Form(overlay=form.overlay, owners=ROOT, devices="placeholder"))
        except BadLayer as error:
            assert str(error)
        assert [path.name for path in Path(made).iterdir()] == ["root"]
        for directory, _, _ in os.walk(inside):
            Path(directory).chmod(0o700)  # so that everybody can remove them


def test_an_extended_header_bomb(root):
    pax = _patched(layer(file(b"x", b"")), 124, b"77777777777\0")
    with pytest.raises(BadLayer, match="longer than any reader takes"):
        apply(root, _patched(pax, 156, b"x"))


@pytest.mark.parametrize(
    "sparse",
    [b"1\n0\n999999999\n", b"2\n100\n10\n50\n10\n", b"1\n-5\n3\n", b"99999999999\n", b"\n", b"1\n0\n5\n"],
    ids=["beyond the end", "backwards", "negative", "too many", "empty", "not what is stored"],
)
def test_maps_of_sparse_files_that_make_no_sense(root, sparse):
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": "1000"}
    content = sparse.ljust(512, b"\0").decode() + "x" * 20
    with pytest.raises(BadLayer, match=r"map"):
        apply(root, archive(("f", REG, content, {"pax_headers": headers})))


def test_names_that_are_too_long_for_linux(root):
    with pytest.raises(BadLayer, match="longer than Linux takes"):
        apply(root, archive(("a/" * 2500 + "f", REG, "")))
    with pytest.raises(BadLayer, match="File name too long"):
        apply(root, archive(("a" * 256, REG, "")))


def test_an_owner_that_there_is_not_here(root, tmp_path_factory):
    """In a user namespace with one id."""
    import subprocess
    import sys

    (tar := tmp_path_factory.mktemp("layer") / "layer.tar").write_bytes(layer(file(b"f", uid=5000)))
    program = (
        "import os, sys; from stapel.oci.apply import *; from stapel.oci.errors import *\n"
        "try: apply_layer(open(sys.argv[1], 'rb'), os.open(sys.argv[2], os.O_RDONLY))\n"
        "except BadLayer as error: print(error, error.hint)"
    )
    told = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", program, tar, root], capture_output=True, text=True
    )
    if "unshare" in told.stderr:
        pytest.skip("no user namespace here")
    assert "/f belongs to 5000:0, which there is not in this user namespace" in told.stdout
    assert "/etc/subuid" in told.stdout
