"""What is taken out of a store, and what is not: files alone, no worker."""

import json
import threading

import pytest

from stapel.errors import Broken, NotFound
from stapel.runs import open_run
from stapel.sandbox.pins import Pins, read_pins
from stapel.sandbox.store import Store
from stapel.sandbox.taking_out import find_unused, has_leftovers, take_out, take_out_images, take_out_leftovers


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def run(home):
    with open_run(home) as run:
        yield run


@pytest.fixture
def store(home, run):
    store = Store(home, run.id)
    store.open()
    return store


def publish(store, name, below=()):
    filling = store.new_filling()
    (store.absolute(filling) / "fs").mkdir()
    return store.publish(filling, below, f"sha256:{name * 64}", 1, driver="overlay")


def put(store, *layers):
    return store.images.put(json.dumps({"layers": len(layers)}).encode(), layers)


def test_what_an_image_has_or_a_living_run_has_pinned_stays(home, store):
    kept, pinned, unused = (publish(store, name) for name in "abc")
    put(store, kept)
    with open_run(home) as other:
        assert Store(home, other.id).pin([pinned])
        taken = take_out(store, [layer.snapshot for layer in (kept, pinned, unused)])
        assert store.snapshots() == sorted([kept.snapshot, pinned.snapshot])
    assert [store.absolute(path).is_dir() for path in taken] == [True]
    assert find_unused(store) == [pinned.snapshot]


def test_images_go_by_when_they_were_used_and_what_they_share_stays(store):
    shared, own = publish(store, "a"), publish(store, "b")
    old, kept = put(store, shared, own), put(store, shared)
    store.names.set("project", "old", old)
    removed, taken = take_out_images(store, {old: store.images.used_s(old), kept: 0.0})
    assert removed == (old,)
    assert len(taken) == 1
    assert store.snapshots() == [shared.snapshot]
    assert store.names.of("project") == []
    with pytest.raises(NotFound):
        store.images.get(old)


def test_what_a_run_that_is_gone_was_making_is_left_over(home, store):
    with open_run(home) as other:
        theirs = Store(home, other.id)
        theirs.new_filling()
        made = publish(theirs, "a")
        assert not has_leftovers(store)
        assert take_out_leftovers(store) == []
    assert has_leftovers(store)
    assert len(take_out_leftovers(store)) == 2
    assert not (store.dir / "snapshots" / made.snapshot).exists()
    assert not has_leftovers(store)


def test_nothing_is_taken_out_by_who_cannot_read_what_is_used(store):
    layer = publish(store, "a")
    image_id = put(store, layer)
    (store.dir / "images" / image_id.partition(":")[2]).write_bytes(b"{")
    with pytest.raises(Broken):
        take_out(store, [layer.snapshot])
    assert store.snapshots() == [layer.snapshot]
    assert list(store.images.all(readable=True)) == []


def test_nobody_pins_while_somebody_is_alone_with_the_store(home, store, run):
    other = Pins(home, store.dir, "other")
    with store.pins.alone():
        pinning = threading.Thread(target=other.add, args=(["abc"],))
        pinning.start()
        pinning.join(0.1)
        assert pinning.is_alive()
    pinning.join(10)
    assert read_pins([store.dir / "pins/other"]) == {"abc"}
    assert other.missing(["abc", "def"]) == ["def"]
    store.pins.add(["def"])
    store.pins.end()
    store.pins.end()
    assert not (store.dir / "pins" / run.id).exists()
