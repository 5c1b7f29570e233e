"""The merged tree of upper directories, read without a mount. (The kernel's own are read in test_diff.py.)"""

import os
import stat
from contextlib import ExitStack, contextmanager

import pytest

from stapel.oci.overlay import DEVICE_XATTR, OverlayLayers, kept_xattrs, parse_device


@pytest.fixture
def layers(tmp_path):
    """`layers(*names)` makes directories, the topmost first, and the merged tree of them."""
    with ExitStack() as descriptors:

        def make(*names):
            made = [tmp_path / name for name in names]
            for directory in made:
                directory.mkdir()
            fds = [os.open(directory, os.O_RDONLY) for directory in made]
            for fd in fds:
                descriptors.callback(os.close, fd)
            return OverlayLayers(fds), *made

        yield make


def whiteout(path):
    os.mknod(path, stat.S_IFCHR, os.makedev(0, 0))


def kind(tree, path):
    found = tree.find(path)
    return found and found.kind


def test_the_topmost_counts_and_directories_are_merged(layers):
    tree, top, low = layers("top", "low")
    for directory, text in ((top, "top"), (low, "low")):
        (directory / "d").mkdir(mode=0o700 if directory == top else 0o755)
        (directory / "d/both").write_text(text)
        (directory / "d" / text).write_text(text)
    assert tree.find(b"d").mode == 0o700
    assert tree.open(b"d/both").read() == b"top"
    assert tree.open(b"d/low").read() == b"low"
    assert sorted(tree.names(b"d")) == [b"both", b"low", b"top"]
    assert tree.find(b"d/absent") is None
    assert tree.find(b"absent/f") is None
    assert tree.find(b"").kind == "directory"


def test_both_forms_of_whiteouts_hide_and_an_opaque_directory_hides_all(layers):
    tree, top, low = layers("top", "low")
    for name in ("device", "attribute", "opaque"):
        (low / name).mkdir()
        (low / name / "f").write_text("x")
    whiteout(top / "device")
    (top / "attribute").touch()
    os.setxattr(top / "attribute", "user.overlay.whiteout", b"")
    (top / "opaque/new").mkdir(parents=True)
    os.setxattr(top / "opaque", "user.overlay.opaque", b"y")
    for name in (b"device", b"device/f", b"attribute", b"attribute/f", b"opaque/f"):
        assert tree.find(name) is None
        with pytest.raises(FileNotFoundError):
            tree.open(name)
    assert sorted(tree.names(b"")) == [b"opaque"]
    assert list(tree.names(b"opaque")) == [b"new"]
    assert list(tree.names(b"device")) == []


def test_no_link_is_followed(layers, tmp_path):
    tree, top, low = layers("top", "low")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/f").write_text("secret")
    (low / "link").symlink_to("../outside")
    assert tree.find(b"link").link == b"../outside"
    assert tree.find(b"link/f") is None
    with pytest.raises(FileNotFoundError):
        tree.open(b"link/f")
    (top / "link").mkdir()
    assert kind(tree, b"link") == "directory"
    assert tree.find(b"link/f") is None, "a directory over a link is not merged with what it leads to"


def test_a_placeholder_is_told_as_a_device(layers):
    tree, top = layers("top")
    (top / "null").touch()
    os.setxattr(top / "null", DEVICE_XATTR, b"c 1 3")
    found = tree.find(b"null")
    assert (found.kind, found.device, found.xattrs) == ("character", (1, 3), {})


@pytest.mark.parametrize("value", [b"", b"c", b"c 1", b"c 1 x", b"x 1 3", b"c -1 3"])
def test_values_that_stand_for_no_device(value):
    assert parse_device(value) is None


@contextmanager
def file_with(tmp_path, **xattrs):
    path = tmp_path / "f"
    path.touch()
    for key, value in xattrs.items():
        os.setxattr(path, key.replace("__", "."), value)
    yield str(path)


def test_what_belongs_to_a_file_on_every_machine(tmp_path):
    with file_with(tmp_path, user__a=b"1", user__overlay__origin=b"x", user__stapel__device=b"c 1 3") as path:
        assert kept_xattrs(path) == {"user.a": b"1"}
