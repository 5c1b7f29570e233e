import itertools

import pytest
from memory_store import MemoryStore, facts
from msgspec.structs import replace

from conveyor.storage.names import stage_name
from conveyor.storage.saving import LISTS, SavedInVain, Saving, lock_name, save
from conveyor.storage.selection import select
from conveyor.storage.storage import Storage
from locking.api import LockTimeout, LockUnavailable
from tests.trace_points import hooked

D = "a" * 56


class Recorded:
    """Locks that note what happens, and let a test act while the lock is held."""

    def __init__(self, error=None, on_acquire=lambda: None):
        self.events = []
        self.error = error
        self.on_acquire = on_acquire

    def acquire(self, name, *, timeout_s, on_wait=None):
        self.events.append(("acquire", name, timeout_s))
        self.on_acquire()
        if self.error:
            raise self.error
        return self

    def release(self):
        self.events.append(("release",))

    def close(self):
        pass


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def storage(store, tmp_path):
    return Storage(store, "primary", memory=tmp_path, describes_at_once=True, warn=lambda message: None)


def suitable(storage):
    return lambda fresh: select(storage.candidates(D, fresh=fresh), rejected=storage.rejected(), ancestors=None).chosen


def saving(locks, warnings=None, now_ms=1_000_000_000_000):
    warn = warnings.append if warnings is not None else (lambda message: None)
    return Saving(locks, 60.0, warn, on_wait=lambda waiting: None, clock_ms=lambda: now_ms)


def save_(storage, digest, image, suitable, saving, **more):
    return save(storage, digest, image, suitable, saving, **{"again": lambda: image, **more})


def other_writer(store, timestamp_ms):
    image = store.add_image(facts(D), seed="other")
    name = stage_name(D, timestamp_ms, image.digest)
    store.name(str(name), image)
    return name


def test_a_stage_is_named_under_the_lock(store, storage):
    locks = Recorded(on_acquire=lambda: None)
    saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), saving(locks))
    assert not saved.discarded
    assert str(saved.chosen.stage.name) in store.names_
    assert locks.events == [("acquire", lock_name(storage, D), 60.0), ("release",)]


def test_what_appeared_before_the_lock_was_ours_is_used(store, storage):
    storage.load()
    locks = Recorded(on_acquire=lambda: other_writer(store, 5))
    saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), saving(locks))
    assert saved.discarded
    assert list(store.names_) == [str(saved.chosen.stage.name)]
    assert locks.events[-1] == ("release",)


def test_an_older_stage_that_appears_at_the_same_time_wins(store, storage, monkeypatch):
    name = store.name

    def name_and_be_late(text, image, *, renew=None):
        name(text, image)
        if len(store.names_) == 1:
            other_writer(store, 5)

    monkeypatch.setattr(store, "name", name_and_be_late)
    saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), saving(Recorded()))
    assert saved.discarded
    assert saved.chosen.stage.name.timestamp_ms == 5


@pytest.mark.parametrize("error", [LockTimeout("l", "them", 60), LockUnavailable("no server")])
def test_without_the_lock_it_goes_on_with_a_warning(store, storage, error):
    warnings = []
    saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), saving(Recorded(error), warnings))
    assert not saved.discarded
    assert len(warnings) == 1
    assert "without a lock" in warnings[0]


def test_the_timestamp_is_later_than_every_name_of_the_digest_and_follows_the_stores_clock(store, storage):
    future = 2_000_000_000_000
    image = store.add_image(facts("b" * 56))  # its label lies, so it is no candidate, but its name counts
    store.name(str(stage_name(D, future, image.digest)), image)
    saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), saving(Recorded()))
    assert saved.chosen.stage.name.timestamp_ms == future + 1


def test_the_clock_is_the_stores(store, storage):
    store.skew_ms = -3_600_000
    saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), saving(Recorded()))
    assert saved.chosen.stage.name.timestamp_ms == 1_000_000_000_000 - 3_600_000


@pytest.mark.parametrize(("skew_ms", "said"), [(3_600_000, "3600 s behind"), (-10_000, "10 s ahead of"), (4_000, "")])
def test_a_clock_that_is_far_off_is_told_of_once(store, tmp_path, skew_ms, said):
    store.skew_ms = skew_ms
    warnings = []
    storage = Storage(store, "primary", memory=tmp_path, describes_at_once=True, warn=warnings.append)
    for digest in (D, "b" * 56):
        image = store.add_image(facts(digest))
        save_(storage, digest, image, lambda fresh, digest=digest: _first(storage, digest, fresh), saving(Recorded()))
    assert len(warnings) == (1 if said else 0)
    assert all(said in text for text in warnings)


def _first(storage, digest, fresh):
    return select(storage.candidates(digest, fresh=fresh), rejected=(), ancestors=None).chosen


def test_the_lock_is_released_when_naming_fails(store, storage):
    locks = Recorded()
    image = store.add_image(facts(D))
    store.images.clear()
    with pytest.raises(Exception, match="sha256"):
        save_(storage, D, image, suitable(storage), saving(locks))
    assert locks.events[-1] == ("release",)
    assert store.names_ == {}


def test_a_copy_keeps_its_name(store, storage):
    image = store.add_image(facts(D))
    name = stage_name(D, 77, image.digest)
    saved = save_(storage, D, image, suitable(storage), saving(Recorded()), name=name)
    assert saved.chosen.stage.name == name


def test_who_was_held_up_before_naming_lists_again(store, storage):
    """What others named meanwhile is younger than the time that was chosen, and in use."""
    elapsed = iter([0.0, 10.0])
    rest = replace(saving(Recorded()), elapsed_s=lambda: next(elapsed, 10.0))
    names = []

    def come_between(point):
        if point == "save.before-name" and not names:
            names.append(other_writer(store, 2_000_000_000_000))

    with hooked(come_between):
        saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), rest)
    assert saved.discarded
    assert saved.chosen.stage.name == names[0]
    assert list(store.names_) == [str(names[0])]


def test_who_is_always_held_up_names_all_the_same(store, storage):
    elapsed = itertools.count(0.0, 10.0)
    saved = save_(
        storage,
        D,
        store.add_image(facts(D)),
        suitable(storage),
        replace(saving(Recorded()), elapsed_s=lambda: next(elapsed)),
    )
    assert not saved.discarded
    assert store.lists == LISTS + 2  # the first of the run, and the look after naming


class Failing(MemoryStore):
    """A store whose first naming requests fail, some after they have done their work."""

    def __init__(self, *does_its_work, meanwhile=lambda: None):
        super().__init__()
        self.fails = list(does_its_work)
        self.meanwhile = meanwhile

    def name(self, name, image, *, renew=None):
        while self.fails:
            if self.fails.pop(0):
                super().name(name, image)
            self.meanwhile()
            name = renew()
        super().name(name, image)


def storage_of(store, path):
    return Storage(store, "primary", memory=path, describes_at_once=True, warn=lambda message: None)


def passing_time():
    now_ms = itertools.count(1_000_000_000_000, 1000)
    return replace(saving(Recorded()), clock_ms=lambda: next(now_ms))


def test_a_name_that_is_tried_again_is_of_the_time_of_the_last_try(tmp_path):
    store = Failing(False, False)
    storage = storage_of(store, tmp_path)
    saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), passing_time())
    assert not saved.discarded
    assert saved.chosen.stage.name.timestamp_ms == 1_000_000_002_000
    assert list(store.names_) == [str(saved.chosen.stage.name)]


def test_who_tries_again_takes_what_others_have_named_meanwhile(tmp_path):
    store = Failing(False, meanwhile=lambda: names.append(other_writer(store, 2_000_000_000_000)))
    names = []
    storage = storage_of(store, tmp_path)
    saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), passing_time())
    assert saved.discarded
    assert saved.chosen.stage.name == names[0]
    assert list(store.names_) == [str(names[0])]


def test_a_request_that_failed_and_did_its_work_is_ours(tmp_path):
    store = Failing(True)
    storage = storage_of(store, tmp_path)
    saved = save_(storage, D, store.add_image(facts(D)), suitable(storage), passing_time())
    assert not saved.discarded
    assert list(store.names_) == [str(saved.chosen.stage.name)]
    assert saved.chosen.stage.name.timestamp_ms == 1_000_000_000_000


def test_what_is_listed_only_after_it_was_tried_again_is_ours_too(tmp_path):
    """The list lags behind the first request: two names of one image, and the older is everybody's."""
    store = Failing(True)
    storage = storage_of(store, tmp_path)
    image = store.add_image(facts(D))
    first = stage_name(D, 1_000_000_000_000, image.digest)
    store.hidden.add(str(first))

    def catch_up(point):
        if point == "save.after-name":
            store.hidden.clear()

    with hooked(catch_up):
        saved = save_(storage, D, image, suitable(storage), passing_time())
    assert not saved.discarded
    assert saved.chosen.stage.name == first
    assert len(store.names_) == 2


def test_a_copy_that_is_tried_again_keeps_its_name(tmp_path):
    store = Failing(False)
    storage = storage_of(store, tmp_path)
    image = store.add_image(facts(D))
    name = stage_name(D, 77, image.digest)
    saved = save_(storage, D, image, suitable(storage), passing_time(), name=name)
    assert (saved.chosen.stage.name, saved.discarded) == (name, False)


def test_what_is_saved_and_has_to_be_left_out_is_told(storage, store):
    with pytest.raises(SavedInVain, match="cannot be used there"):
        save_(storage, D, store.add_image(facts(D)), lambda fresh: None, saving(Recorded()))


def test_a_name_of_the_end_of_time_does_not_make_ours_one_that_nobody_reads(storage, store):
    store.name(f"{D}-9999999999999-00000000", store.add_image(facts("b" * 56)))
    ours = store.add_image(facts(D))
    saved = save_(storage, D, ours, suitable(storage), saving(Recorded()))
    assert not saved.discarded
    assert str(saved.chosen.stage.name) in store.names_
