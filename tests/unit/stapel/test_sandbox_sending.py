"""What becomes of a layer that is sent while it is made."""

import contextlib
import io
import os

import pytest

from stapel.errors import Broken, Cancelled
from stapel.oci.compress import compress
from stapel.oci.layer import Entry, write_layer
from stapel.sandbox.sending import Sendings
from stapel.sandbox.store import Store


def made(content):
    tar = io.BytesIO()
    return write_layer([Entry(b"file", "file", size=len(content), content=content)], tar), tar.getvalue()


LAYER, TAR = made(b"a" * 3_000_000)
OTHER, _ = made(b"b" * 3_000_000)


class Taking:
    """A store that takes blobs while they are written, and keeps what happens."""

    def __init__(self):
        self.blobs = []
        self.errors = []

    def put_written(self, write):
        try:
            self.blobs.append(write(io.BytesIO()))
        except Exception as error:
            self.errors.append(type(error))
            raise


class NotTaking:
    """A store that does not."""


def begin(sending):
    sending.begin(os.open(os.devnull, os.O_RDONLY), read)


def read(snapshot):
    assert os.fstat(snapshot)
    return contextlib.nullcontext(io.BytesIO(TAR))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path, "run")
    store.open()
    return store


def test_what_it_was_is_remembered(store):
    sendings, taking = Sendings(store, "gzip"), Taking()
    with sendings.expect(taking) as sending:
        begin(sending)
        sending.settle(LAYER)
    sendings.wait(LAYER.diff_id)
    blob = compress([TAR], io.BytesIO())
    assert [item.digest for item in taking.blobs] == [blob.digest]
    assert store.compressed(LAYER.diff_id, "gzip") == taking.blobs[0]
    sendings.wait(OTHER.diff_id)  # of which nothing is known


def test_another_layer_is_not_remembered(store):
    sendings, taking = Sendings(store, "gzip"), Taking()
    with sendings.expect(taking) as sending:
        begin(sending)
        sending.settle(OTHER)
    sendings.wait(OTHER.diff_id)
    assert (taking.blobs, taking.errors) == ([], [Broken])
    assert store.compressed(OTHER.diff_id, "gzip") is None


def test_a_build_that_fails_ends_it(store):
    sendings, taking = Sendings(store, "gzip"), Taking()
    with pytest.raises(KeyError), sendings.expect(taking) as sending:
        begin(sending)
        raise KeyError
    sending.wait()
    assert (taking.blobs, taking.errors) == ([], [Cancelled])


def test_one_that_is_known_is_not_sent(store):
    sendings, taking = Sendings(store, "gzip"), Taking()
    blob = compress([TAR], io.BytesIO())
    store.remember_compressed(LAYER.diff_id, "gzip", blob)
    with sendings.expect(taking) as sending:
        begin(sending)
        sending.settle(LAYER)
    sending.wait()
    assert (taking.blobs, taking.errors) == ([], [Cancelled])


def test_one_that_did_not_turn_out_to_be_large_is_no_sending(store):
    sendings, taking = Sendings(store, "gzip"), Taking()
    with sendings.expect(taking) as sending:
        sending.settle(LAYER)
    sendings.wait(LAYER.diff_id)
    sendings.close()
    assert (taking.blobs, taking.errors) == ([], [])


def test_the_end_of_a_run_ends_it(store):
    sendings, taking = Sendings(store, "gzip"), Taking()
    with sendings.expect(taking) as sending:
        begin(sending)
    sendings.close()
    assert (taking.blobs, taking.errors) == ([], [Cancelled])


def test_four_are_on_their_way_at_once(store):
    sendings, takings = Sendings(store, "gzip"), [Taking() for _ in range(6)]
    with contextlib.ExitStack() as resources:
        begun = [resources.enter_context(sendings.expect(taking)) for taking in takings]
        for sending in begun[:5]:
            begin(sending)
        begun[0].settle(LAYER)
        begun[0].wait()
        begin(begun[5])
        for sending in begun[1:]:
            sending.settle(OTHER)
        for sending in begun:
            sending.wait()
    assert [len(taking.blobs) + len(taking.errors) for taking in takings] == [1, 1, 1, 1, 0, 1]


def test_nothing_is_expected_by_a_store_that_does_not_take_it(store):
    with Sendings(store, "gzip").expect(NotTaking()) as sending:
        assert sending is None
    with Sendings(store, "gzip").expect(None) as sending:
        assert sending is None
