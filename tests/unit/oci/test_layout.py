"""Layouts: what the conformance suite of stores does not ask. Other tools read them, and theirs are read."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stapel.oci.api import Descriptor
from stapel.oci.errors import BadReference, Broken, NotFound, StapelError
from stapel.oci.layout import LayoutStore
from stapel.oci.manifest import OCI_INDEX, digest_bytes, own_platform
from stapel.oci.validate import validate_image
from tests.unit.oci.images import Image, layer


@pytest.fixture
def store(tmp_path):
    return LayoutStore(tmp_path / "layout")


def saved(store, name="x", *tars, **labels):
    descriptor = store.put(Image(*(tars or [layer(f=b"content")]), **labels))
    store.name(name, descriptor)
    return descriptor


def files(directory):
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_the_files_of_a_layout(store, tmp_path):
    descriptor = saved(store)
    image = store.get("x")
    assert image.descriptor == descriptor
    blobs = [descriptor, image.manifest.config, *image.layers()]
    expected = sorted(f"blobs/{blob.digest.replace(':', '/')}" for blob in blobs)
    assert files(tmp_path / "layout") == [*expected, "index.json", "oci-layout"]
    assert json.loads((tmp_path / "layout/oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((tmp_path / "layout/index.json").read_bytes())["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "x"}
    assert validate_image(image) == ()


def test_a_layout_that_is_not_there_is_empty(store, tmp_path):
    assert list(store.names()) == []
    with pytest.raises(NotFound, match="there is nothing"):
        store.get("x")
    assert not (tmp_path / "layout").exists()


def test_an_image_of_another_layout_keeps_its_manifest(store, tmp_path):
    descriptor = saved(store)
    other = LayoutStore(tmp_path / "other")
    assert other.put(store.get("x")) == descriptor


def test_names_of_other_tools_are_found_by_their_tag(store):
    saved(store, "docker.io/library/shop:1.0")
    assert store.get("1.0").descriptor == store.get("docker.io/library/shop:1.0").descriptor
    with pytest.raises(NotFound, match=r"there is docker.io/library/shop:1.0"):
        store.get("2.0")


def test_the_only_image_needs_no_name(store):
    descriptor = store.put(Image(layer(a=b"1")))
    store.name("a", descriptor)
    store.name("b", descriptor)
    assert store.get("").descriptor == descriptor
    saved(store, "c", layer(a=b"2"))
    with pytest.raises(NotFound, match="names 2 images; there is a, b, c"):
        store.get("")


@pytest.mark.parametrize("name", ["", "-x", "a b", "x\n", "../x"])
def test_names_that_no_layout_has(store, name):
    descriptor = store.put(Image(layer(a=b"1")))
    with pytest.raises(BadReference):
        store.name(name, descriptor)


def test_an_index_is_chosen_from_by_platform(store, tmp_path):
    images = {platform: store.put(Image(layer(p=platform.encode()))) for platform in ("linux/s390x", own_platform())}
    manifests = [
        {
            "mediaType": image.media_type,
            "digest": image.digest,
            "size": image.size_bytes,
            "platform": {"os": "linux", "architecture": platform.split("/")[1]},
        }
        for platform, image in images.items()
    ]
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}).encode()
    digest = digest_bytes(data)
    (tmp_path / "layout/blobs" / digest.replace(":", "/")).write_bytes(data)
    entry = {"digest": digest, "size": len(data), "annotations": {"org.opencontainers.image.ref.name": "multi"}}
    (tmp_path / "layout/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    assert store.get("multi").descriptor == images[own_platform()]
    assert store.get(digest, "linux/s390x").descriptor == images["linux/s390x"]
    with pytest.raises(NotFound, match="it has linux/s390x"):
        store.get("multi", "linux/riscv64")


def test_blobs_that_are_damaged_or_gone_are_broken(store, tmp_path):
    saved(store)
    image = store.get("x")
    blob = tmp_path / "layout/blobs" / image.layers()[0].digest.replace(":", "/")
    whole = blob.read_bytes()
    for data, word in ((whole[:-1], "ends after"), (whole + b"x", "longer"), (b"x" * len(whole), "other bytes")):
        blob.write_bytes(data)
        with pytest.raises(Broken, match=word):
            image.open(image.layers()[0]).read()
        with pytest.raises(Broken, match=word), image.open(image.layers()[0]) as stream:
            stream.read(len(whole) - 1)
            stream.read(1)
    blob.unlink()
    with pytest.raises(Broken, match="not complete"):
        image.open(image.layers()[0])
    (tmp_path / "layout/blobs" / image.descriptor.digest.replace(":", "/")).write_bytes(b"{}")
    with pytest.raises(Broken, match="the manifest has other bytes"):
        store.get("x")


def test_a_digest_that_leads_elsewhere_is_broken(store, tmp_path):
    (tmp_path / "layout").mkdir()
    entry = {"digest": "sha256:../../../etc/passwd", "annotations": {"org.opencontainers.image.ref.name": "x"}}
    (tmp_path / "layout/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    with pytest.raises(Broken, match="no digest"):
        store.get("x")


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StapelError, match="cannot be written"):
        LayoutStore(tmp_path / "file").put(Image(layer(a=b"")))


def test_what_was_left_behind_is_removed_and_what_is_written_stays(store, tmp_path):
    saved(store)
    directory = tmp_path / "layout"
    (directory / ".incoming-dead").write_text("half an index")
    script = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX); print('locked', flush=True); "
        "sys.stdin.read()"
    )
    alive = directory / ".incoming-alive"
    with subprocess.Popen([sys.executable, "-c", script, alive], stdin=-1, stdout=-1) as writing:
        writing.stdout.readline()
        store.unname("x")
        assert [path.name for path in directory.glob(".incoming-*")] == [".incoming-alive"]
        writing.stdin.close()


def _name_many(directory, first):
    store = LayoutStore(Path(directory))
    descriptor = store.put(Image(layer(shared=b"x"), layer(own=b"%d" % first)))
    for number in range(first, first + 10):
        store.name(f"n{number}", descriptor)


def test_many_processes(store, tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_name_many, args=(str(tmp_path / "layout"), first)) for first in (0, 10, 20, 30)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert sorted(store.names()) == sorted(f"n{number}" for number in range(40))
    assert not list((tmp_path / "layout").rglob(".incoming-*"))


def test_an_absent_image_gets_no_name(store):
    saved(store)
    absent = Descriptor("", digest_bytes(b"absent"), 5)
    with pytest.raises(NotFound):
        store.name("y", absent)
    assert list(store.names()) == ["x"]


def test_buildah_reads_a_layout_and_writes_one(store, tmp_path):
    if shutil.which("buildah") is None:
        pytest.skip("buildah is not on this machine")
    saved(store, "x", layer(f=b"content"), layer(g=b"more"), who="me")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "BUILDAH_ISOLATION": "chroot",
        "STORAGE_DRIVER": "vfs",
    }
    roots = ["--root", tmp_path / "storage", "--runroot", tmp_path / "run"]

    def buildah(*arguments):
        policy = ["--signature-policy", tmp_path / "policy.json"] if arguments[0] in ("pull", "push") else []
        command = ["buildah", *roots, arguments[0], *policy, *arguments[1:]]
        return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.strip()

    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    image = buildah("pull", "--quiet", f"oci:{tmp_path}/layout:x")
    buildah("push", "--quiet", image, f"oci:{tmp_path}/theirs:y")
    theirs = LayoutStore(tmp_path / "theirs")
    assert list(theirs.names()) == ["y"]
    assert validate_image(theirs.get("y")) == ()
    assert theirs.get("y").config.labels == {"who": "me"}
    assert theirs.get("y").config.diff_ids == store.get("x").config.diff_ids
