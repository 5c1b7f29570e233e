"""Compression in one pass. Equal tars give equal blobs, and any tool reads them."""

import gzip
import hashlib
import io
import os
import random
import subprocess

import pytest
import zstandard

from stapel.oci.compress import compress, decompressed, write_compressed
from stapel.oci.errors import BadLayer
from stapel.oci.layer import Entry, write_layer

UNPACK = {
    "none": lambda data: data,
    "gzip": gzip.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}
COMPRESSIONS = pytest.mark.parametrize("compression", UNPACK)
TAR = bytes(random.Random(1).choices(range(64), k=3_500_000))  # compressible, and without a period


@COMPRESSIONS
@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, len(TAR)])
def test_both_digests_and_sizes_are_true(compression, size):
    out = io.BytesIO()
    result = compress([TAR[:size]], out, compression)
    data = out.getvalue()
    assert UNPACK[compression](data) == TAR[:size]
    assert (result.tar_bytes, result.size_bytes) == (size, len(data))
    assert result.diff_id == "sha256:" + hashlib.sha256(TAR[:size]).hexdigest()
    assert result.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert result.media_type.endswith({"none": ".tar", "gzip": "+gzip", "zstd": "+zstd"}[compression])


@COMPRESSIONS
def test_equal_tars_are_equal_blobs_however_they_were_cut(compression):
    cuts = random.Random(2)
    pieces, at = [], 0
    while at < len(TAR):
        size = cuts.choice([1, 500, 70_000, 1 << 20, 3 << 20])
        pieces.append(TAR[at : at + size])
        at += size
    assert compress(pieces, io.BytesIO(), compression) == compress([TAR], io.BytesIO(), compression)


@COMPRESSIONS
def test_a_layer_of_entries_is_that_of_the_writer(compression):
    entries = [Entry(b"%03d" % number, "file", size=9000, content=os.urandom(9000)) for number in range(300)]
    tar, out = io.BytesIO(), io.BytesIO()
    written = write_layer(entries, tar)
    result = write_compressed(entries, out, compression)
    assert (result.diff_id, result.tar_bytes) == (written.diff_id, written.size_bytes)
    assert UNPACK[compression](out.getvalue()) == tar.getvalue()


@COMPRESSIONS
def test_what_was_compressed_is_read_again(compression):
    out = io.BytesIO()
    compress([TAR], out, compression)
    pieces = list(decompressed(io.BytesIO(out.getvalue())))
    assert b"".join(pieces) == TAR
    assert max(map(len, pieces)) <= 1 << 20


@COMPRESSIONS
@pytest.mark.parametrize("size", [1000, 1_500_000])
def test_a_tar_that_was_written_just_now_is_recognised_and_another_one_is_not(compression, size):
    entries = [Entry(b"file", "file", size=size, content=TAR[:size])]
    tar = io.BytesIO()
    written = write_layer(entries, tar)
    out, again = io.BytesIO(), io.BytesIO()
    known = compress([tar.getvalue()], again, compression, written=lambda: written)
    assert (known, again.getvalue()) == (compress([tar.getvalue()], out, compression), out.getvalue())
    changed = bytearray(tar.getvalue())
    changed[700] ^= 1
    for other in (bytes(changed), tar.getvalue()[:-1], tar.getvalue() + bytes(1)):
        assert compress([other], io.BytesIO(), compression, written=lambda: written).diff_id == ""


def test_gzip_reads_it():
    out = io.BytesIO()
    compress([TAR], out)
    assert subprocess.run(["gzip", "-dc"], input=out.getvalue(), check=True, capture_output=True).stdout == TAR


def test_streams_that_give_a_byte_at_a_time():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 1))

    for content in (b"content", b"c", b""):
        for data in (gzip.compress(content), zstandard.compress(content), content):
            assert b"".join(decompressed(Slow(data))) == content


def test_damaged_gzip_is_told():
    data = gzip.compress(os.urandom(100_000))
    for bad in (data[:5], data[:-1], data[:500] + bytes(50) + data[550:], data[:-6] + bytes(6), data + b"garbage"):
        with pytest.raises(BadLayer, match="gzip stream"):
            list(decompressed(io.BytesIO(bad)))


@COMPRESSIONS
def test_errors_of_the_source_and_of_the_target_are_passed_on(compression):
    class Full(io.RawIOBase):
        def write(self, data):
            raise OSError(28, "No space left on device")

    def broken():
        yield bytes(5 << 20)
        raise RuntimeError("the source")

    random_pieces = [os.urandom(1 << 20) for _ in range(30)]
    with pytest.raises(OSError, match="No space left"):
        compress(random_pieces, Full(), compression)
    with pytest.raises(RuntimeError, match="the source"):
        compress(broken(), io.BytesIO(), compression)
