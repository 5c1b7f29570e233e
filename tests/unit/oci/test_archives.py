"""Archives of images: ours are read by others, and theirs by us."""

import gzip
import hashlib
import io
import json
import tarfile

import pytest
import zstandard

from stapel.oci.archives import open_archive, write_docker_archive, write_oci_archive
from stapel.oci.errors import Broken, NotFound, StapelError
from stapel.oci.layout import LayoutStore
from stapel.oci.validate import validate_image
from tests.unit.oci.images import Image, layer

TARS = (layer(f=b"lower"), layer(g=b"upper", h=b"x" * 70_000))


def docker_archive(image, names=()):
    out = io.BytesIO()
    image_id = write_docker_archive(image, out, names)
    return out.getvalue(), image_id


def oci_archive(image, name=""):
    out = io.BytesIO()
    write_oci_archive(image, out, name)
    return out.getvalue()


@pytest.fixture
def opened(tmp_path):
    """Opens archives given as bytes."""

    def open_bytes(data):
        (path := tmp_path / "archive.tar").write_bytes(data)
        return open_archive(path)

    return open_bytes


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_docker_archive_there_and_back(opened, compression):
    image = Image(*TARS, compression=compression, who="me")
    data, image_id = docker_archive(image, ["shop:1", "shop:2"])
    assert image_id == "sha256:" + hashlib.sha256(image.config.to_bytes()).hexdigest()
    with opened(data) as archive:
        assert archive.names() == ["shop:1", "shop:2"]
        for reference in ("", "shop:1", "2", image_id):
            back = archive.get(reference)
            assert back.config == image.config
            assert back.descriptor.digest == image_id
            assert [back.open(one).read() for one in back.layers()] == list(TARS)
        assert validate_image(archive.get()) == ()
        with pytest.raises(NotFound, match="there is shop:1, shop:2"):
            archive.get("other")


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_an_oci_archive_there_and_back(opened, compression):
    image = Image(*TARS, compression=compression)
    with opened(oci_archive(image, "1")) as archive:
        assert archive.names() == ["1"]
        for reference in ("", "1", image.descriptor.digest):
            assert archive.get(reference).descriptor == image.descriptor
            assert validate_image(archive.get(reference)) == ()
        with pytest.raises(NotFound, match="there is 1"):
            archive.get("2")


def test_equal_images_are_equal_archives():
    assert docker_archive(Image(*TARS)) == docker_archive(Image(*TARS, compression="zstd"))
    assert oci_archive(Image(*TARS), "x") == oci_archive(Image(*TARS), "x")


def test_an_archive_goes_into_a_layout_and_out_again(opened, tmp_path):
    data, _ = docker_archive(Image(*TARS))
    store = LayoutStore(tmp_path / "layout")
    with opened(data) as archive:
        descriptor = store.put(archive.get())
    image = store.get(descriptor.digest)
    assert validate_image(image) == ()
    assert all(one.media_type.endswith("+gzip") for one in image.layers())
    assert docker_archive(image)[0] == data


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress], ids=["gzip", "zstd"])
def test_compressed_archives(opened, compress):
    with opened(compress(oci_archive(Image(*TARS)))) as archive:
        assert validate_image(archive.get()) == ()


def test_a_layer_that_two_images_share_is_there_once(opened):
    """As engines up to 24 save it: a link to the other image's layer."""
    first, second = Image(TARS[0]), Image(*TARS)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as written:

        def add(name, data):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            written.addfile(member, io.BytesIO(data))

        add("one/layer.tar", TARS[0])
        add("two/layer.tar", gzip.compress(TARS[1]))
        link = tarfile.TarInfo("three/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../one/layer.tar"
        written.addfile(link)
        add("a.json", first.config.to_bytes())
        add("b.json", second.config.to_bytes())
        images = [
            {"Config": "a.json", "RepoTags": ["a:1"], "Layers": ["one/layer.tar"]},
            {"Config": "b.json", "RepoTags": None, "Layers": ["three/layer.tar", "two/layer.tar"]},
        ]
        add("manifest.json", json.dumps(images).encode())
    with opened(out.getvalue()) as archive:
        for reference, image in (("a:1", first), ("sha256:" + hashlib.sha256(second.config.to_bytes()).hexdigest(), second)):
            assert validate_image(archive.get(reference)) == ()
            assert archive.get(reference).config == image.config
        with pytest.raises(NotFound, match="several images"):
            archive.get()


def test_a_layer_that_is_not_its_diff_id(opened):
    lying = Image(*TARS)
    diff_ids = ["sha256:" + "0" * 64, lying.config.diff_ids[1]]
    lying.config = lying.config.with_(rootfs={"type": "layers", "diff_ids": diff_ids})
    with pytest.raises(Broken, match=r"not sha256:0000"):
        docker_archive(lying)
    data = docker_archive(Image(*TARS))[0].replace(b"lower", b"LOWER")
    with opened(data) as archive:
        image = archive.get()
        with pytest.raises(Broken, match="other bytes"):
            image.open(image.layers()[0]).read()


def test_files_that_are_no_archive_of_images(opened, tmp_path):
    for data, word in (
        (b"hello", "no archive"),
        (b"", "no archive"),
        (layer(f=b"x"), "neither manifest.json"),
        (docker_archive(Image(*TARS))[0][:5000], "no archive"),
    ):
        with pytest.raises(StapelError, match=word), opened(data):
            pass
    with pytest.raises(NotFound, match="cannot be read"), open_archive(tmp_path / "absent"):
        pass


def test_an_archive_that_is_not_complete(opened):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as written:
        data = json.dumps([{"Config": "a.json", "Layers": []}]).encode()
        member = tarfile.TarInfo("manifest.json")
        member.size = len(data)
        written.addfile(member, io.BytesIO(data))
    with opened(out.getvalue()) as archive, pytest.raises(Broken, match=r"it has no a.json"):
        archive.get()
