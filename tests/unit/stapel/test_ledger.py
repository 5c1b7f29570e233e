"""Notes of what a run makes in an engine, as the next run finds them."""

from __future__ import annotations

import pytest

from stapel.docker.ledger import Ledger, Note, find_left
from stapel.runs import open_run

ENGINE = "unix:///engine.sock"


def notes(home, endpoint=ENGINE):
    return [(left.run_id, left.notes) for left in find_left(home, endpoint)]


@pytest.fixture
def dead_run(tmp_path):
    """The id of a run that is not alive any more."""
    with open_run(tmp_path) as run:
        pass
    return run.id


def test_notes_of_a_run_are_found_when_it_is_gone(tmp_path):
    with open_run(tmp_path) as run:
        ledger = Ledger(tmp_path, run.id, ENGINE)
        ledger.note("image", "sha256:01")
        ledger.note("tag", "localhost:5000/a b:upload-01")
        assert notes(tmp_path) == [], "it is alive"
    assert notes(tmp_path) == [(run.id, (Note("image", "sha256:01"), Note("tag", "localhost:5000/a b:upload-01")))]


def test_what_is_settled_is_open_no_more_and_the_end_leaves_nothing(tmp_path, dead_run):
    ledger = Ledger(tmp_path, dead_run, ENGINE)
    ledger.note("image", "sha256:01")
    ledger.note("image", "sha256:01")
    ledger.note("container", "filling")
    ledger.settle("image", "sha256:01")
    ledger.settle("image", "sha256:02")
    assert ledger.open_notes() == (Note("container", "filling"),)
    ledger.end()
    ledger.end()
    assert notes(tmp_path) == []
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_run_whose_things_carry_labels_is_found_without_notes(tmp_path, dead_run):
    ledger = Ledger(tmp_path, dead_run, ENGINE)
    assert notes(tmp_path) == [], "a run that has made nothing leaves nothing"
    ledger.begin()
    assert notes(tmp_path) == [(dead_run, ())]


def test_another_engine_is_not_asked_for_it(tmp_path, dead_run):
    Ledger(tmp_path, dead_run, ENGINE).note("image", "sha256:01")
    assert notes(tmp_path, "tcp://other:2375") == []


def test_half_a_line_and_words_of_later_versions_are_left_out(tmp_path, dead_run):
    Ledger(tmp_path, dead_run, ENGINE).note("image", "sha256:01")
    (path,) = (tmp_path / "runs").iterdir()
    path.write_text("volume x\n" + path.read_text() + "image sha256:")
    assert notes(tmp_path) == [(dead_run, (Note("image", "sha256:01"),))]


def test_a_home_without_runs_has_nothing_left(tmp_path):
    assert notes(tmp_path) == []
