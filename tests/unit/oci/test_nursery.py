"""What a nursery does where making a file takes long: by a clock of the test."""

import errno
import io
import os
from contextlib import closing

import pytest

from stapel.oci import nursery as module
from stapel.oci.apply import apply_layer
from stapel.oci.layer import Entry, whiteout, write_layer
from stapel.oci.nursery import Nursery

QUICK_NS, SLOW_NS = 10_000, 400_000


@pytest.fixture
def clock(monkeypatch):
    """What is made takes `step_ns`, of the next so many of `steps_ns` what stands there."""

    class Clock:
        now_ns = 0
        step_ns = QUICK_NS
        steps_ns = ()

        def __call__(self):
            first, *self.steps_ns = self.steps_ns or [self.step_ns]
            self.now_ns += first
            return self.now_ns

    clock = Clock()
    monkeypatch.setattr(module, "perf_counter_ns", clock)
    return clock


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    fd = os.open(tmp_path / "root", os.O_RDONLY)
    yield fd
    os.close(fd)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "places").mkdir()
    return os.fsencode(tmp_path / "places" / "of-ours-")


def make_files(nursery, root, count):
    for number in range(count):
        os.close(nursery.make_file(b"%d" % number, root))


def places(tmp_path):
    return sorted(os.listdir(tmp_path / "places"))


def test_where_it_is_quick_all_is_made_where_it_belongs(clock, root, place, tmp_path):
    with closing(Nursery(place)) as nursery:
        make_files(nursery, root, 300)
        nursery.make_directory(b"a", root)
        assert places(tmp_path) == []
    assert len(os.listdir(root)) == 301


def test_where_it_is_slow_directories_are_made_elsewhere_and_moved(clock, root, place, tmp_path):
    with closing(Nursery(place)) as nursery:
        # The clock is read twice a file; the first place that is tried is slow, too, and the second is not.
        clock.steps_ns = [SLOW_NS] * (2 * 64 + 2) + [QUICK_NS]
        clock.step_ns = QUICK_NS
        make_files(nursery, root, 64)
        assert places(tmp_path) == ["of-ours-0", "of-ours-1"]
        nursery.make_directory(b"a", root)
        assert os.listdir(tmp_path / "places" / "of-ours-1") == []
        assert os.stat("a", dir_fd=root).st_mode & 0o7777 == 0o700
    assert places(tmp_path) == []
    assert "a" in os.listdir(root)


def test_where_every_place_is_slow_it_goes_on_with_the_last(clock, root, place, tmp_path):
    clock.step_ns = SLOW_NS
    with closing(Nursery(place)) as nursery:
        make_files(nursery, root, 300)
        assert len(places(tmp_path)) == 64
        nursery.make_directory(b"a", root)
    assert places(tmp_path) == []
    assert len(os.listdir(root)) == 301


def test_what_is_there_is_never_replaced(clock, root, place):
    clock.step_ns = SLOW_NS
    with closing(Nursery(place)) as nursery:
        make_files(nursery, root, 64)
        os.mkdir(b"directory", dir_fd=root)
        os.symlink(b"nowhere", b"link", dir_fd=root)
        for name in (b"directory", b"link", b"0"):
            with pytest.raises(FileExistsError):
                nursery.make_directory(name, root)


def test_without_a_place_nothing_is_made_elsewhere(clock, root):
    clock.step_ns = SLOW_NS
    with closing(Nursery()) as nursery:
        make_files(nursery, root, 300)
        nursery.make_directory(b"a", root)
    assert len(os.listdir(root)) == 301


def test_places_that_cannot_be_made_are_done_without(clock, root, tmp_path):
    clock.step_ns = SLOW_NS
    with closing(Nursery(os.fsencode(tmp_path / "nowhere" / "x"))) as nursery:
        make_files(nursery, root, 300)
        nursery.make_directory(b"a", root)
    assert len(os.listdir(root)) == 301


def test_what_cannot_be_moved_is_made_where_it_belongs(clock, root, place, tmp_path, monkeypatch):
    def refuse(source, target, **directories):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    clock.step_ns = SLOW_NS
    with closing(Nursery(place)) as nursery:
        make_files(nursery, root, 64)
        monkeypatch.setattr(os, "rename", refuse)
        for name in (b"a", b"b"):
            nursery.make_directory(name, root)
    assert places(tmp_path) == []
    assert {"a", "b"} < set(os.listdir(root))


def tree(path):
    return {str(found.relative_to(path)): found.lstat().st_mode for found in path.rglob("*")}


def test_a_layer_is_the_same_wherever_its_directories_were_made(clock, place, tmp_path):
    entries = []
    for directory in range(8):
        entries.append(Entry(b"d%d" % directory, "directory", 0o750))
        entries.append(Entry(b"d%d/inner" % directory, "directory", 0o711))
        entries += [Entry(b"d%d/inner/%02d" % (directory, file), "file", size=1, content=b"x") for file in range(40)]
    entries.append(whiteout(b"gone"))
    layer = io.BytesIO()
    write_layer(sorted(entries, key=lambda entry: entry.path.split(b"/")), layer)
    trees = []
    for step_ns in (QUICK_NS, SLOW_NS):
        clock.step_ns = step_ns
        target = tmp_path / str(step_ns)
        target.mkdir()
        (target / "gone").touch()
        (target / "d7").mkdir()
        fd = os.open(target, os.O_RDONLY)
        layer.seek(0)
        apply_layer(layer, fd, place=place)
        os.close(fd)
        trees.append(tree(target))
    assert trees[0] == trees[1]
    assert len(trees[0]) == 8 * 42
    assert places(tmp_path) == []
