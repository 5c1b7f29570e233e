"""Layers are read back with Python's tarfile, and with GNU tar where it is there."""

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import threading
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from stapel.oci.layer import Entry, LayerError, opaque, send_layer, whiteout, write_layer

KINDS = {
    "file": tarfile.REGTYPE,
    "directory": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "character": tarfile.CHRTYPE,
    "block": tarfile.BLKTYPE,
    "fifo": tarfile.FIFOTYPE,
}


def file(path, content=b"", **fields):
    return Entry(path, "file", size=len(content), open=lambda: io.BytesIO(content), **{"mode": 0o644, **fields})


def write(entries):
    out = io.BytesIO()
    result = write_layer(entries, out)
    data = out.getvalue()
    assert result.size_bytes == len(data)
    assert result.diff_id == "sha256:" + hashlib.sha256(data).hexdigest()
    assert result.crc32 == zlib.crc32(data)
    return data


def read(data):
    """The members as entries, contents in `open` replaced by bytes: [(Entry, content)]."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            name = member.name.encode("utf-8", "surrogateescape")
            kind = next(kind for kind, code in KINDS.items() if code == member.type)
            xattrs = {
                key.removeprefix("SCHILY.xattr."): value.encode("utf-8", "surrogateescape")
                for key, value in member.pax_headers.items()
                if key.startswith("SCHILY.xattr.")
            }
            entry = Entry(
                b"" if name == b"." else name,
                kind,
                member.mode,
                member.uid,
                member.gid,
                member.mtime,
                member.size,
                member.linkname.encode("utf-8", "surrogateescape"),
                (member.devmajor, member.devminor),
                xattrs,
            )
            found.append((entry, archive.extractfile(member).read() if member.isfile() else b""))
            assert member.uname == member.gname == ""
    return found


def roundtrip(*entries):
    return [entry for entry, _ in read(write(entries))]


def bare(entry):
    return replace(entry, open=None)


# -- what is written is read back

COMPONENTS = st.binary(min_size=1, max_size=150).filter(
    lambda name: not {0, 0x2F} & set(name) and name not in (b".", b"..")
) | st.sampled_from([b"a", b"b", "ü".encode(), b"x" * 99, b"x" * 100, b"x" * 101, b"\xff", b".wh.a", b"...", b"a ", b"\n"])
PATHS = st.lists(COMPONENTS, min_size=1, max_size=3).map(b"/".join)
NUMBERS = st.sampled_from([0, 1, 1000, 8**7 - 1, 8**7, 2**31, 2**32 - 2])
TIMES = st.sampled_from([0, 1, 1_700_000_000, 8**11 - 1, 8**11, -1, -(10**9)])
XATTRS = st.dictionaries(
    st.sampled_from(["user.a", "security.capability", "user.ü"]),
    st.binary(max_size=20).filter(lambda value: b"\0" not in value),
)


@st.composite
def entries(draw):
    found = []
    for path in sorted(draw(st.sets(PATHS, max_size=5)), key=lambda path: path.split(b"/")):
        kind = draw(st.sampled_from(sorted(KINDS)))
        common = {
            "mode": draw(st.integers(0, 0o7777)),
            "uid": draw(NUMBERS),
            "gid": draw(NUMBERS),
            "mtime_s": draw(TIMES),
            "xattrs": draw(XATTRS),
        }
        if kind == "file":
            found.append(file(path, draw(st.binary(max_size=1100)), **common))
        elif kind in ("symlink", "hardlink"):
            found.append(Entry(path, kind, link=draw(PATHS), **common))
        elif kind in ("character", "block"):
            found.append(Entry(path, kind, device=draw(st.tuples(st.integers(0, 4095), st.integers(0, 8**7 - 1))), **common))
        else:
            found.append(Entry(path, kind, **common))
    return found


@settings(max_examples=200)
@given(entries())
def test_everything_is_read_back(given_entries):
    back = read(write(given_entries))
    assert [entry for entry, _ in back] == [bare(entry) for entry in given_entries]
    for entry, (_, content) in zip(given_entries, back, strict=True):
        assert content == (entry.open().read() if entry.open else b"")


@given(entries())
def test_equal_entries_give_equal_bytes(given_entries):
    shuffled = [replace(entry, xattrs=dict(reversed(entry.xattrs.items()))) for entry in given_entries]
    assert write(given_entries) == write(iter(shuffled))


def test_the_bytes_do_not_change_from_version_to_version():
    """A layer that a store has already is found by its digest, so equal files must be equal bytes to every version."""
    written = write(
        [
            Entry(b"", "directory", 0o755),
            Entry(b"bin", "directory", 0o1777, 1, 2, 1_700_000_000),
            file(b"bin/tool", b"#!/bin/sh\n", mode=0o4755, xattrs={"security.capability": b"\1\0\0\2"}),
            Entry(b"dev", "character", 0o666, device=(1, 3)),
            Entry(b"link", "symlink", 0o777, link=b"\xff" * 101),
            file("ü".encode() * 60, b"x" * 513, uid=8**7),
        ]
    )
    assert hashlib.sha256(written).hexdigest() == "2579b315425881d7bc004b47c5a82acbe9929f6a095c2b868e2b0fa98ab20879"


@pytest.mark.parametrize("length", [1, 99, 100, 101, 155, 256, 5000])
@pytest.mark.parametrize("letter", [b"a", "ü".encode(), b"\xff"], ids=["ASCII", "UTF-8", "no UTF-8"])
def test_names_and_links_of_any_length(letter, length):
    name = (letter * length)[:length] if len(letter) == 1 else letter * length
    for entry in (file(name), Entry(name, "directory"), Entry(b"link", "symlink", link=name)):
        assert roundtrip(entry) == [bare(entry)]


def test_both_a_name_and_a_link_that_are_no_utf8():
    entry = Entry(b"\xff" * 120, "symlink", 0o777, link=b"\xfe" * 120, uid=8**7, xattrs={"user.a": b"1"})
    assert roundtrip(entry) == [entry]


def test_a_value_of_an_extended_attribute_is_binary():
    value = bytes(range(256))
    data = write([file(b"a", xattrs={"security.capability": value})])
    assert b"SCHILY.xattr.security.capability=" + value + b"\n" in data


def test_attributes_of_overlayfs_are_no_attributes():
    entry = file(b"a", xattrs={"trusted.overlay.opaque": b"y", "user.overlay.whiteout": b"", "user.kept": b"1"})
    assert roundtrip(entry) == [replace(bare(entry), xattrs={"user.kept": b"1"})]


def test_a_capability_is_written_without_the_user_namespace_it_was_given_in():
    """Revision 3 has the id of the namespace's root at its end; revision 2 is the same without it."""
    sets = bytes.fromhex("0024000000000000" + "0000000000000000")
    third = bytes.fromhex("01000003") + sets + (1_000_000).to_bytes(4, "little")
    second = bytes.fromhex("01000002") + sets
    assert write([file(b"a", xattrs={"security.capability": third})]) == write(
        [file(b"a", xattrs={"security.capability": second})]
    )
    odd = third[:-1]
    assert b"capability=" + odd in write([file(b"a", xattrs={"security.capability": odd})])


def test_the_root_itself():
    (entry,) = roundtrip(Entry(b"", "directory", 0o1755, 3, 4, 5))
    assert entry == Entry(b"", "directory", 0o1755, 3, 4, 5)


def test_whiteouts_and_opaque_directories():
    entries = [opaque(b""), whiteout(b"a"), Entry(b"d", "directory"), opaque(b"d"), whiteout(b"d/x")]
    back = read(write(entries))
    assert [entry.path for entry, _ in back] == [b".wh..wh..opq", b".wh.a", b"d", b"d/.wh..wh..opq", b"d/.wh.x"]
    assert {entry.size for entry, _ in back} == {0}


def test_an_empty_layer_is_a_tar():
    assert write([]) == bytes(1024)
    assert read(bytes(1024)) == []


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_files_of_any_size(size):
    data = write([file(b"a", b"x" * size), file(b"b", b"y")])
    assert len(data) % 512 == 0
    assert [content for _, content in read(data)] == [b"x" * size, b"y"]


def test_content_that_comes_with_its_entry():
    for size in (0, 1, 512, 513):
        given = Entry(b"a", "file", 0o644, size=size, content=b"x" * size)
        assert write([given]) == write([file(b"a", b"x" * size)])
    with pytest.raises(LayerError, match="shorter than 5 bytes"):
        write([Entry(b"a", "file", size=5, content=b"x")])


def test_sparse_files_are_read_back_whole():
    content = bytes(5000) + b"x" * 700 + bytes(10_000) + b"y" + bytes(3000)
    extents = [(5000, 700), (15_700, 1), (len(content), 0)]
    for path in (b"dir/" + b"n" * 120, "ü".encode(), b"\xff"):
        sparse = replace(file(path, content), extents=extents)
        data = write([sparse, file(b"\xff" * 2, b"behind")])
        assert len(data) < 8000
        with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
            member, behind = archive
            assert member.name.encode("utf-8", "surrogateescape") == path
            assert archive.extractfile(member).read() == content
            assert archive.extractfile(behind).read() == b"behind"


def test_a_sparse_file_that_has_grown_is_an_error():
    grown = replace(file(b"a", b"x" * 600), extents=[(0, 5)])
    with pytest.raises(LayerError, match="longer than 500"):
        write([replace(grown, size=500)])
    with pytest.raises(LayerError, match="shorter"):
        write([replace(grown, size=700, extents=[(590, 20)])])


def test_contents_that_come_in_small_pieces():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 7) if size > 0 else size)

    entry = Entry(b"a", "file", size=1000, open=lambda: Slow(b"z" * 1000))
    assert read(write([entry]))[0][1] == b"z" * 1000


def test_a_size_that_the_plain_header_does_not_hold_stands_in_an_extended_one():
    class Interrupted(Exception):
        pass

    def open_nothing():
        raise Interrupted

    out = io.BytesIO()
    with pytest.raises(Interrupted):
        write_layer([Entry(b"a", "file", size=8**11, open=open_nothing)], out)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        assert archive.next().size == 8**11


# -- what cannot be written


@pytest.mark.parametrize(("size", "content", "word"), [(5, b"1234", "shorter"), (3, b"1234", "longer"), (1, b"", "shorter")])
def test_a_size_that_lies_is_an_error_that_names_the_file(size, content, word):
    out = io.BytesIO()
    entries = [file(b"before", b"x"), Entry(b"etc/liar", "file", size=size, open=lambda: io.BytesIO(content))]
    with pytest.raises(LayerError, match=f"etc/liar.* is {word} than {size} bytes"):
        write_layer(sorted(entries, key=lambda entry: entry.path), out)
    assert not out.getvalue().endswith(bytes(1024)), "no reader takes it for a whole tar"


def test_a_file_that_has_grown_from_nothing_is_an_error():
    with pytest.raises(LayerError, match=r"grown.* is longer than 0 bytes"):
        write_layer([Entry(b"grown", "file", size=0, open=lambda: io.BytesIO(b"x"))], io.BytesIO())


@pytest.mark.parametrize(
    "paths",
    [
        [b"b", b"a"],
        [b"a", b"a"],
        [b"a/b", b"a"],
        [b"a-b", b"a/b"],
        [b"a", b""],
        [b"", b""],
    ],
)
def test_entries_out_of_order_are_an_error(paths):
    with pytest.raises(LayerError, match="comes after"):
        write_layer([Entry(path, "directory") for path in paths], io.BytesIO())


def test_the_order_is_that_of_components():
    paths = [b"a", b"a/b", b"a/b/c", b"a-b", b"a.b", b"b"]
    assert [entry.path for entry in roundtrip(*(Entry(path, "directory") for path in paths))] == paths


# -- into pipes


def sent(*entries):
    """What a reader gets of entries that are sent; raises what the sender raises."""
    reading, writing = os.pipe()
    got = []

    def read():
        with os.fdopen(reading, "rb") as stream:
            got.append(stream.read())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        send_layer(entries, writing)
    finally:
        os.close(writing)
        reader.join()
    return got[0]


def on_disk(directory, content):
    path = directory / hashlib.sha256(content).hexdigest()[:8]
    path.write_bytes(content)
    return lambda: path.open("rb", buffering=0)


def test_what_is_sent_is_what_is_written(tmp_path):
    large = bytes(range(256)) * 40_000 + b"end"
    entries = (
        Entry(b"directory", "directory"),
        Entry(b"directory/inline", "file", size=5, content=b"bytes"),
        Entry(b"directory/large", "file", size=len(large), open=on_disk(tmp_path, large)),
        Entry(b"directory/small", "file", size=300_000, open=on_disk(tmp_path, bytes(300_000))),
        Entry(b"sparse", "file", size=len(large), open=on_disk(tmp_path, large), extents=[(0, 1 << 21), (len(large), 0)]),
        whiteout(b"x"),
    )
    entries = tuple(sorted(entries, key=lambda entry: entry.path.split(b"/")))
    assert sent(*entries) == write(entries)


def test_what_the_kernel_cannot_send_is_read():
    content = bytes(range(256)) * 10_000
    reading, writing = os.pipe()  # sendfile takes nothing from a pipe

    def fill():
        with os.fdopen(writing, "wb") as stream:
            stream.write(content)

    writer = threading.Thread(target=fill)
    writer.start()
    data = sent(Entry(b"a", "file", size=len(content), open=lambda: os.fdopen(reading, "rb", buffering=0)))
    writer.join()
    assert data == write([file(b"a", content, mode=0o755)])


@pytest.mark.parametrize(("size", "fault"), [((2 << 20) + 1, "shorter"), ((2 << 20) - 1, "longer")])
def test_a_large_file_of_another_length_is_not_sent(tmp_path, size, fault):
    with pytest.raises(LayerError, match=f"{fault} than {size} bytes"):
        sent(Entry(b"a", "file", size=size, open=on_disk(tmp_path, bytes(2 << 20))))


# -- other readers


def test_gnu_tar_reads_the_same(tmp_path):
    if shutil.which("tar") is None:
        pytest.skip("tar is not on this machine")
    paths = [b"\xff" * 120, b"a" * 200, "ü".encode() * 80, b"plain"]
    layer = tmp_path / "layer.tar"
    layer.write_bytes(write([file(path, path) for path in sorted(paths)]))
    command = ["tar", "-tf", layer, "--quoting-style=literal", "--show-transformed-names"]
    listed = subprocess.run(command, capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"})
    assert listed.stdout.splitlines() == sorted(paths)
    assert listed.stderr == b""
