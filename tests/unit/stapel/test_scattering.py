"""Directories whose children a file system is to keep apart."""

import errno
import fcntl
import struct
from pathlib import Path

import pytest

from stapel.sandbox.store import Store
from stapel.scattering import scatter

EXTENTS, TOP = 0x00080000, 0x00020000


@pytest.fixture
def flags(monkeypatch):
    """The flags of each directory, of a file system that knows them."""
    flags = {}

    def ioctl(place, request, argument):
        path = str(Path(f"/proc/self/fd/{place}").readlink())
        if request == 0x80086601:
            return struct.pack("l", flags.get(path, EXTENTS))
        assert request == 0x40086602
        (flags[path],) = struct.unpack("l", argument)
        return argument

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    return flags


def test_a_directory_gets_the_flag_and_keeps_the_others(tmp_path, flags):
    scatter(str(tmp_path))
    assert flags == {str(tmp_path): EXTENTS | TOP}


def test_another_file_system_is_left_as_it_is(tmp_path, monkeypatch):
    def ioctl(*_):
        raise OSError(errno.ENOTTY, "no")

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    scatter(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        scatter(str(tmp_path / "absent"))


def test_the_file_system_that_is_here_takes_it_or_not(tmp_path):
    scatter(str(tmp_path))
    (tmp_path / "a" / "b").mkdir(parents=True)


def test_a_store_keeps_what_is_made_and_removed_all_the_time_apart(tmp_path, flags):
    store = Store(tmp_path, "run")
    store.open()
    scattered = [path.removeprefix(f"{store.dir}") for path in flags]
    assert scattered == ["", "/filling", "/work"]
    flags.clear()
    Store(tmp_path, "another").open()  # it is there
    assert flags == {}
