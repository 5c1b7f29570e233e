"""Marks of broken stages: counted, never taken away, the same for everybody who has read the same ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_store import MemoryStore, facts

from conveyor.storage.marks import Marks
from conveyor.storage.names import Mark, parse_mark, stage_name
from conveyor.storage.rejecting import find_first_with, reject, unreject
from conveyor.storage.saving import Saving
from conveyor.storage.storage import Storage
from locking.api import LockUnavailable
from locking.null import NullLocks
from stapel.errors import NotFound, Refused, Unreachable

D = "a" * 56
STAGE = f"{D}-1700000000123-01234567"


def marks_of(*marks):
    made = Marks()
    for mark in marks:
        made.add(mark)
    return made


def test_each_rejection_and_each_lift_is_a_mark_of_its_own():
    marks = Marks()
    assert marks.rejected() == frozenset()
    assert marks.lift(STAGE) is None
    names = []
    for step in range(6):
        found = marks.lift(STAGE) if step % 2 else marks.rejection(STAGE)
        assert found is not None
        marks.add(found)
        names.append(str(found).removeprefix(STAGE))
    assert names == ["-rejected", "-unrejected", "-rejected-2", "-unrejected-2", "-rejected-3", "-unrejected-3"]
    assert marks.rejected() == frozenset()


def test_what_is_rejected_is_not_rejected_again():
    marks = marks_of(Mark(STAGE, 1, lifted=False))
    assert marks.rejected() == {STAGE}
    assert marks.rejection(STAGE) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 5)), max_size=12), st.randoms())
def test_writers_that_have_read_different_marks_agree_when_all_have_read_all(steps, random):
    written: list[Mark] = []
    for _, lifts, missed in steps:
        # Each writer has read all but some of the marks; nobody waits for anybody.
        seen = random.sample(written, max(0, len(written) - missed))
        marks = marks_of(*seen)
        mark = marks.lift(STAGE) if lifts else marks.rejection(STAGE)
        if mark is not None:
            written.append(mark)
    readers = []
    for _ in range(3):
        random.shuffle(written)
        readers.append(marks_of(*written, *written).rejected())
    assert readers[0] == readers[1] == readers[2]
    # Whoever acts alone now is obeyed.
    marks = marks_of(*written)
    last = marks.lift(STAGE) if readers[0] else marks.rejection(STAGE)
    assert last is not None
    assert (STAGE in marks_of(*written, last).rejected()) == (STAGE not in readers[0])


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def name(store):
    image = store.add_image(facts(D))
    made = stage_name(D, 1_700_000_000_000, image.digest)
    store.name(str(made), image)
    return made


def open_storage(store, tmp_path, warnings=None):
    warn = warnings.append if warnings is not None else (lambda message: None)
    return Storage(store, "primary", memory=tmp_path, describes_at_once=True, warn=warn)


def saving(warnings=None, locks=None):
    warn = warnings.append if warnings is not None else (lambda message: None)
    return Saving(locks or NullLocks(), 1.0, warn, on_wait=lambda waiting: None)


def test_a_rejected_stage_is_rejected_for_everybody_until_it_is_lifted(store, name, tmp_path):
    assert reject(open_storage(store, tmp_path), name, saving())
    assert open_storage(store, tmp_path).rejected() == {str(name)}
    assert unreject(open_storage(store, tmp_path), name, saving())
    assert open_storage(store, tmp_path).rejected() == frozenset()
    assert not unreject(open_storage(store, tmp_path), name, saving())
    assert reject(open_storage(store, tmp_path), name, saving())
    assert open_storage(store, tmp_path).rejected() == {str(name)}
    assert sorted(text for text in store.names_ if parse_mark(text)) == sorted(
        f"{name}{ending}" for ending in ("-rejected", "-rejected-2", "-unrejected")
    )


def test_a_mark_that_another_has_written_meanwhile_is_not_written_again(store, name, tmp_path):
    ours, theirs = open_storage(store, tmp_path), open_storage(store, tmp_path)
    ours.load()
    reject(theirs, name, saving())
    assert reject(ours, name, saving())
    assert len([text for text in store.names_ if parse_mark(text)]) == 1


@pytest.mark.parametrize("error", [Refused("no right"), Unreachable("no answer")])
def test_without_a_mark_the_run_alone_leaves_it_out_with_one_warning(store, name, tmp_path, monkeypatch, error):
    def refuse(text):
        raise error

    monkeypatch.setattr(store, "put_record", refuse)
    warnings = []
    storage = open_storage(store, tmp_path, warnings)
    assert not reject(storage, name, saving(warnings))
    assert storage.rejected() == {str(name)}
    assert len(warnings) == 1
    assert "this run leaves it out" in warnings[0]
    assert open_storage(store, tmp_path).rejected() == frozenset()


def test_a_mark_is_written_under_the_lock_and_without_it_where_nobody_gives_it(store, name, tmp_path):
    events = []

    class Lease:
        def release(self):
            events.append(("release", len([text for text in store.names_ if parse_mark(text)])))

    class Locks(NullLocks):
        def acquire(self, lock, *, timeout_s, on_wait=None):
            events.append(("acquire", lock))
            return Lease()

    class NoLocks(NullLocks):
        def acquire(self, lock, *, timeout_s, on_wait=None):
            raise LockUnavailable("no server")

    reject(open_storage(store, tmp_path), name, saving(locks=Locks()))
    assert events == [("acquire", f"{store.address}.{D}"), ("release", 1)]
    warnings = []
    assert unreject(open_storage(store, tmp_path), name, saving(warnings, NoLocks()))
    assert "without a lock" in warnings[0]


def test_records_that_may_not_be_written_are_told_of_once(store, tmp_path, monkeypatch):
    asked = []

    def refuse(text):
        asked.append(text)
        raise Refused("status 403")

    monkeypatch.setattr(store, "put_record", refuse)
    warnings = []
    storage = open_storage(store, tmp_path, warnings)
    storage.record_import(D, "b" * 56)
    storage.record_import("c" * 56, D)
    assert len(warnings) == len(asked) == 1
    assert storage.import_digest("c" * 56) == D


def test_the_first_of_a_line_that_has_the_blob_is_found():
    line = tuple(stage_name(D, number, f"sha256:{number:08d}") for number in (1, 2, 3, 4))
    layers = {line[1]: {"a"}, line[2]: {"a", "b"}, line[3]: {"a", "b", "c"}}

    def layers_of(name):
        if name not in layers:
            raise NotFound(str(name))
        return frozenset(layers[name])

    assert find_first_with("b", line, layers_of) == line[2]
    assert find_first_with("a", line, layers_of) == line[1]
    assert find_first_with("d", line, layers_of) is None
