import os

import pytest

from conveyor.storage.memory import write_once
from tests.trace_points import hooked


@pytest.fixture(params=["nameless", "aside"])
def no_nameless_files(request, monkeypatch):
    """A file system with files that have no name yet, and one without."""
    if request.param == "aside":
        nameless, opened = os.O_TMPFILE, os.open

        def refuse(path, flags, *rest, **places):
            if flags & nameless == nameless:
                raise OSError(95, "not supported")
            return opened(path, flags, *rest, **places)

        monkeypatch.setattr(os, "open", refuse)


@pytest.mark.usefixtures("no_nameless_files")
def test_a_file_is_written_whole_and_alone(tmp_path):
    path = tmp_path / "stage.json"
    write_once(path, b"facts")
    write_once(path, b"facts")
    assert path.read_bytes() == b"facts"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.usefixtures("no_nameless_files")
def test_half_a_file_is_written_anew(tmp_path):
    path = tmp_path / "stage.json"
    path.write_bytes(b"fa")
    write_once(path, b"facts")
    assert path.read_bytes() == b"facts"


def test_who_is_stopped_before_the_name_leaves_nothing(tmp_path):
    def stop(point):
        if point == "memory.before-name":
            raise KeyboardInterrupt

    with hooked(stop), pytest.raises(KeyboardInterrupt):
        write_once(tmp_path / "stage.json", b"facts")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_written_to_is_an_error(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        write_once(tmp_path / "nowhere" / "stage.json", b"facts")
