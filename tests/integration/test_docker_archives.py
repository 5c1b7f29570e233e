"""Archives of images and a real engine: it loads ours, and we read what it saves."""

import io
import os

import pytest

from stapel.docker.client import Clients
from stapel.docker.images import DockerImages
from stapel.oci.archive import LayerReader
from stapel.oci.archives import open_archive, write_docker_archive
from stapel.oci.layer import Entry, write_layer
from stapel.oci.validate import validate_image
from tests.unit.oci.images import Image

pytestmark = pytest.mark.docker

CAPABILITY = bytes.fromhex("01000002" + "0020000000000000" + "0000000000000000")  # cap_net_raw, as ping has it


def layer_of_everything():
    """A layer whose headers are of every kind that the writer makes."""
    content = b"begin" + bytes(9000) + b"end"
    entries = [
        Entry(b"d", "directory", 0o1777, 5, 6, 1_700_000_000),
        Entry(
            b"d/capable",
            "file",
            0o755,
            size=1,
            content=b"x",
            xattrs={"security.capability": CAPABILITY},
        ),
        Entry(b"d/first", "file", 0o4755, 7, 8, 5, size=7, content=b"content"),
        Entry(b"d/second", "hardlink", 0o4755, 7, 8, 5, link=b"d/first"),
        Entry(b"holes", "file", 0o644, size=len(content), extents=[(0, 5), (9005, 3)], open=lambda: io.BytesIO(content)),
        Entry(b"link", "symlink", 0o777, link=b"../" * 50 + b"etc"),
        Entry(b"n" * 200, "file", 0o644, uid=2**31, size=0, content=b""),
        Entry("ü".encode(), "fifo", 0o600),
        Entry(b"\xff" * 120, "file", 0o644, size=0, content=b""),
    ]
    out = io.BytesIO()
    write_layer(sorted(entries, key=lambda entry: entry.path.split(b"/")), out)
    return out.getvalue()


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_an_archive_of_ours_is_loaded(docker_engine, compression):
    name = f"conveyor-archives/{os.urandom(6).hex()}:1"
    plain = io.BytesIO()
    write_layer([Entry(b"salt", "file", size=6, content=os.urandom(6))], plain)
    image = Image(layer_of_everything(), plain.getvalue(), compression=compression, who="me")
    archive = io.BytesIO()
    image_id = write_docker_archive(image, archive, [name])
    list(docker_engine.load_image(archive.getvalue(), quiet=True))
    try:
        inspected = docker_engine.inspect_image(name)
        assert inspected["Id"] == image_id
        assert tuple(inspected["RootFS"]["Layers"]) == image.config.diff_ids
        container = docker_engine.create_container(name, ["x"])["Id"]
        try:
            exported = b"".join(docker_engine.export(container))
        finally:
            docker_engine.remove_container(container)
    finally:
        docker_engine.remove_image(name)
    reader = LayerReader(io.BytesIO(exported))
    found = {}
    for member in reader.members():
        found[member.path.rstrip(b"/")] = (member, b"".join(reader.content()))
    assert found[b"holes"][1] == b"begin" + bytes(9000) + b"end"
    told = {path: (member.mode, member.uid, member.gid, member.mtime_ns // 10**9) for path, (member, _) in found.items()}
    assert told[b"d"] == (0o1777, 5, 6, 1_700_000_000)
    assert told[b"d/first"] == told[b"d/second"] == (0o4755, 7, 8, 5)
    assert sorted(found[name][0].kind for name in (b"d/first", b"d/second")) == ["file", "hardlink"]
    assert found[b"d/capable"][0].xattrs["security.capability"] == CAPABILITY
    assert found[b"link"][0].link == b"../" * 50 + b"etc"
    assert told[b"n" * 200][1] == 2**31
    assert found["ü".encode()][0].kind == "fifo"
    assert b"\xff" * 120 in found


def test_what_the_engine_saves_is_read(docker_engine, tmp_path):
    name = f"conveyor-archives/{os.urandom(6).hex()}:1"
    tars = []
    for number in range(2):
        out = io.BytesIO()
        write_layer([Entry(b"salt%d" % number, "file", size=6, content=os.urandom(6))], out)
        tars.append(out.getvalue())
    image = Image(*tars, who="me")
    store = DockerImages(name.partition(":")[0], clients := Clients())
    try:
        store.name("1", store.put(image))  # loads a view of another store: gzip
        with (tmp_path / "saved.tar").open("wb") as file:
            file.writelines(docker_engine.get_image(name))
        with open_archive(tmp_path / "saved.tar") as archive:
            assert name in archive.names()
            back = archive.get(name)
            assert validate_image(back) == ()
            assert [back.open(layer).read() for layer in back.layers()] == tars
            assert back.config.labels == {"who": "me"}
    finally:
        store.unname("1")
        clients.close()
