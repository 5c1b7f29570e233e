"""Where an image goes, and what it loses on the way."""

from pathlib import Path

import pytest

from conveyor.errors import UsageError
from conveyor.storage.exporting import Target, Unlabelled, export_image, parse_target
from stapel.errors import Broken, StapelError
from stapel.oci.archives import open_archive
from stapel.oci.layout import LayoutStore
from tests.unit.oci.images import Image, layer

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("docker-daemon:shop", Target("docker-daemon", repository="shop", name="latest")),
        ("docker-daemon:host:5000/shop/web:2", Target("docker-daemon", repository="host:5000/shop/web", name="2")),
        ("docker-archive:a.tar", Target("docker-archive", Path("a.tar"))),
        ("docker-archive:/x/a.tar:shop:2", Target("docker-archive", Path("/x/a.tar"), "shop", "2")),
        ("oci:dir", Target("oci", Path("dir"), name="latest")),
        ("oci:dir:shop:2", Target("oci", Path("dir"), name="shop:2")),
        ("oci-archive:a.tar:2", Target("oci-archive", Path("a.tar"), name="2")),
        ("docker://host:5000/shop", Target("docker", repository="host:5000/shop", name="latest")),
        ("docker://host:5000/shop:2", Target("docker", repository="host:5000/shop", name="2")),
    ],
)
def test_places(text, target):
    assert parse_target(text) == target


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shop:2",
        "docker-daemon:",
        "oci:",
        "oci-archive::2",
        "docker:shop",
        "docker-daemon:SHOP",
        f"docker://a/b@{DIGEST}",
    ],
)
def test_what_is_no_place(text):
    with pytest.raises(UsageError):
        parse_target(text)


def test_own_labels_go_and_others_stay():
    image = Image(layer(a=b"1"), **{"dev.conveyor.stage": "{}", "other": "x"})
    plain = Unlabelled(image)
    assert plain.config.labels == {"other": "x"}
    assert plain.config.run["Cmd"] == ["x"]
    assert plain.layers() == image.layers()
    assert Unlabelled(Image(layer(a=b"1"), **{"dev.conveyor.stage": "{}"})).config.run == {"Cmd": ["x"]}


def lost(blob):
    raise Broken(f"{blob.digest} is lost")


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_a_file_is_replaced_when_it_is_complete(tmp_path, kind):
    image, path = Image(layer(a=b"1"), layer(b=b"2")), tmp_path / "image.tar"
    path.write_text("before")
    export_image(image, parse_target(f"{kind}:{path}:shop:2"))
    with open_archive(path) as archive:
        assert archive.get("shop:2").config == image.config
        assert archive.names() == ["shop:2"]
    first = path.read_bytes()
    export_image(image, parse_target(f"{kind}:{path}:shop:2"))
    assert path.read_bytes() == first
    broken = Image(layer(a=b"1"))
    broken.open = lost
    with pytest.raises(StapelError):
        export_image(broken, parse_target(f"{kind}:{path}"))
    assert path.read_bytes() == first
    assert list(tmp_path.iterdir()) == [path]


def test_a_layout_may_hold_several(tmp_path):
    for name in ("1", "2"):
        export_image(Image(layer(a=name.encode())), parse_target(f"oci:{tmp_path / 'layout'}:{name}"))
    store = LayoutStore(tmp_path / "layout")
    assert sorted(store.names()) == ["1", "2"]
    export_image(Image(layer(a=b"3")), Target("docker", repository="shop", name="1"), store)
    assert store.get("1").config == Image(layer(a=b"3")).config


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(StapelError, match="cannot be written"):
        export_image(Image(layer(a=b"1")), parse_target(f"oci-archive:{tmp_path}/none/a.tar"))
