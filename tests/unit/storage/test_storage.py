import pytest
from memory_store import MemoryStore, facts

from conveyor.storage import lists
from conveyor.storage.names import stage_name
from conveyor.storage.storage import Storage

D, E = "a" * 56, "b" * 56


@pytest.fixture
def store():
    return MemoryStore()


def open_storage(store, tmp_path, *, at_once=False, warnings=None):
    warn = warnings.append if warnings is not None else (lambda message: None)
    return Storage(store, "primary", memory=tmp_path, describes_at_once=at_once, warn=warn)


def put(store, digest, timestamp_ms, **changes):
    image = store.add_image(facts(digest, **changes), seed=str(timestamp_ms))
    name = stage_name(digest, timestamp_ms, image.digest)
    store.name(str(name), image)
    return name


def test_candidates_are_the_stages_of_the_digest(store, tmp_path):
    one, two = put(store, D, 1), put(store, D, 2)
    put(store, E, 1)
    store.names_["latest"] = "whatever"
    assert {stage.name for stage in open_storage(store, tmp_path).candidates(D)} == {one, two}


def test_the_list_is_read_once_until_it_must_be_fresh(store, tmp_path):
    storage = open_storage(store, tmp_path)
    storage.candidates(D)
    storage.candidates(E)
    assert store.lists == 1
    late = put(store, D, 5)
    assert storage.candidates(D) == ()
    assert [stage.name for stage in storage.candidates(D, fresh=True)] == [late]


def test_a_fresh_list_forgets_what_is_gone(store, tmp_path):
    name = put(store, D, 1)
    storage = open_storage(store, tmp_path)
    assert storage.candidates(D)
    del store.names_[str(name)]
    assert storage.candidates(D, fresh=True) == ()


def test_what_this_run_named_is_there_even_where_the_list_lags(store, tmp_path):
    storage = open_storage(store, tmp_path)
    image = store.add_image(facts(D))
    name = stage_name(D, 1, image.digest)
    storage.add(name, image)
    store.hidden.add(str(name))
    assert [stage.name for stage in storage.candidates(D, fresh=True)] == [name]


def test_a_stage_that_lies_is_told_and_left_out(store, tmp_path):
    image = store.add_image(facts(E))
    store.name(str(stage_name(D, 1, image.digest)), image)
    warnings = []
    assert open_storage(store, tmp_path, warnings=warnings).candidates(D) == ()
    assert "does not agree with its name" in warnings[0]


def test_marks_of_rejection_are_read(store, tmp_path):
    name = put(store, D, 1)
    store.put_record(f"{name}-rejected")
    assert open_storage(store, tmp_path).rejected() == {str(name)}


def test_descriptions_are_remembered_between_runs(store, tmp_path):
    name = put(store, D, 1, commits=("c",))
    first = open_storage(store, tmp_path).candidates(D)
    store.images.clear()
    again = open_storage(store, tmp_path).candidates(D)
    assert [stage.facts for stage in again] == [stage.facts for stage in first]
    assert again[0].name == name


def test_a_torn_memory_is_read_again_from_the_store(store, tmp_path):
    put(store, D, 1)
    open_storage(store, tmp_path).candidates(D)
    for path in tmp_path.rglob("*.json"):
        path.write_text("{")
    assert len(open_storage(store, tmp_path).candidates(D)) == 1


def test_a_digest_that_was_stored_once_is_known_to_be_gone(store, tmp_path):
    for at_once in (True, False):
        storage = open_storage(store, tmp_path / str(at_once), at_once=at_once)
        assert not storage.was_stored(D)
        image = store.add_image(facts(D))
        storage.add(stage_name(D, 1, image.digest), image)
        storage.candidates(D)
        store.names_.clear()
        assert open_storage(store, tmp_path / str(at_once), at_once=at_once).was_stored(D)


def test_import_records(store, tmp_path):
    storage = open_storage(store, tmp_path)
    assert storage.import_digest(D) is None
    storage.record_import(D, E)
    assert open_storage(store, tmp_path).import_digest(D) == E


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on only where somebody sleeps; `clock.then` is called with the time of each sleep."""

    class Clock:
        now_s = 0.0

        def then(self, now_s):
            pass

        def monotonic(self):
            return self.now_s

        def sleep(self, seconds):
            self.now_s += seconds
            self.then(self.now_s)

    clock = Clock()
    monkeypatch.setattr(lists, "time", clock)
    return clock


def named(store, storage, timestamp_ms=2):
    image = store.add_image(facts(D), seed="own")
    name = stage_name(D, timestamp_ms, image.digest)
    storage.add(name, image)
    store.hidden.add(str(name))
    return name


def test_a_list_that_lags_is_waited_for_with_one_warning(store, tmp_path, clock):
    warnings = []
    storage = open_storage(store, tmp_path, warnings=warnings)
    own = named(store, storage)
    others = put(store, D, 1)
    store.hidden.add(str(others))
    clock.then = lambda now_s: store.hidden.clear() if now_s > 2 else None
    storage.reload()
    assert {stage.name for stage in storage.candidates(D)} == {own, others}
    assert 2 < clock.now_s < 5
    assert len(warnings) == 1
    assert "lags behind" in warnings[0]


def test_a_list_that_never_catches_up_is_given_up(store, tmp_path, clock):
    warnings = []
    storage = open_storage(store, tmp_path, warnings=warnings)
    own = named(store, storage)
    storage.reload()
    assert {stage.name for stage in storage.candidates(D)} == {own}
    assert lists.LAG_S <= clock.now_s < 2 * lists.LAG_S
    assert len(warnings) == 2
    assert "may go on with other stages" in warnings[1]


def test_what_this_run_named_and_somebody_removed_is_not_waited_for(store, tmp_path, clock):
    storage = open_storage(store, tmp_path)
    own = named(store, storage)
    del store.names_[str(own)]
    storage.reload()
    assert storage.candidates(D) == storage.candidates(D, fresh=True) == ()
    assert clock.now_s == 0


def test_who_was_alone_with_a_store_need_not_look_again(store, tmp_path):
    put(store, D, 1)
    storage = open_storage(store, tmp_path)
    storage.candidates(D)
    image = store.add_image(facts(E))
    storage.add(stage_name(E, 1, image.digest), image)
    storage.candidates(E, fresh=True)
    assert not storage.reload()
    put(store, D, 2)
    assert storage.reload()


@pytest.mark.parametrize("say", [Storage.refuse, Storage.forget, Storage.distrust, Storage.mark_rejected])
def test_who_has_left_a_stage_out_looks_again(store, tmp_path, say):
    name = put(store, D, 1)
    storage = open_storage(store, tmp_path)
    storage.candidates(D)
    say(storage, name)
    assert storage.reload()
