"""The bytes of layers that are compressed when somebody reads them."""

import contextlib
import io

import pytest

from stapel.errors import Broken
from stapel.oci import compress as compressing
from stapel.oci.layer import Entry, write_layer
from stapel.sandbox.image import SandboxImage
from stapel.sandbox.records import Layer, StoredImage
from stapel.sandbox.sending import Sendings
from stapel.sandbox.store import Store

TAR = io.BytesIO()
WRITTEN = write_layer([Entry(b"file", "file", size=3000, content=b"abc" * 1000)], TAR)


@pytest.fixture
def view(tmp_path):
    """Makes a view of an image of one layer, as a run of its own would."""
    store = Store(tmp_path, "run")
    store.open()
    (store.dir / "snapshots" / "one").mkdir()
    layer = Layer("one", WRITTEN.diff_id, WRITTEN.size_bytes)
    image = StoredImage("sha256:" + "0" * 64, b"{}", (layer,))

    def make():
        return SandboxImage(
            store, image, lambda layer, below: contextlib.nullcontext(io.BytesIO(TAR.getvalue())), Sendings(store, "gzip")
        )

    return make


@pytest.fixture
def spoil(monkeypatch):
    """Lets the next compressions give other bytes for the same tar."""
    compress = compressing.compress

    def begin(times):
        left = iter(range(times))

        def compress_otherwise(tar, out, compression, **how):
            return compress(tar, out, "zstd" if next(left, None) is not None else compression, **how)

        monkeypatch.setattr(compressing, "compress", compress_otherwise)

    return begin


def read(view):
    (blob,) = view.layers()
    with view.open(blob) as stream:
        return blob, stream.read()


def test_a_compression_that_differs_once_is_done_again(view, spoil):
    blob, content = read(view())
    spoil(1)
    assert read(view()) == (blob, content)
    assert read(view()) == (blob, content)


def test_one_that_always_differs_is_told_each_time_and_the_next_run_goes_on_with_it(view, spoil):
    blob, _ = read(view())
    spoil(10)
    broken = view()
    for _ in range(2):
        with pytest.raises(Broken, match="when it is compressed, and was") as caught:
            read(broken)
        assert "again" in caught.value.hint
    now, content = read(view())
    assert now.digest != blob.digest
    assert len(content) == now.size_bytes
