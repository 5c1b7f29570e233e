"""What every `ImageStore` does. A store joins by an entry in STORES: a context manager that makes an empty one."""

import contextlib
import io
import json
import os
import shutil
import threading

import pytest

from stapel.oci.api import Descriptor, ImageConfig, ImageStore
from stapel.oci.errors import NotFound, StapelError
from stapel.oci.layout import LayoutStore
from stapel.oci.manifest import OCI_LAYER, build_manifest, digest_bytes
from stapel.oci.registry import RegistryStore
from tests.conftest import absent
from tests.servers import registry_server


@contextlib.contextmanager
def registry_store(tmp_path):
    if shutil.which("docker-registry") is None:
        absent("docker-registry is not on this machine")
    with registry_server(tmp_path) as server:
        yield RegistryStore(f"{server.host}/team/project")


@contextlib.contextmanager
def docker_store(tmp_path):
    import docker

    from stapel.docker.client import Clients
    from stapel.docker.images import DockerImages

    clients = Clients()
    try:
        clients.get().ping()
    except StapelError as error:
        absent(f"no Docker Engine answers: {error}")
    store = DockerImages(f"conveyor-store/{os.urandom(6).hex()}", clients)
    stored, put = [], store.put
    store.put = lambda image: stored.append(put(image)) or stored[-1]
    try:
        yield store
    finally:
        for name in store.names(fresh=True):
            store.unname(name)
        for image in stored:
            with contextlib.suppress(docker.errors.ImageNotFound):
                clients.get().remove_image(image.digest, force=True)
        clients.close()


@contextlib.contextmanager
def sandbox_store(tmp_path):
    from stapel.sandbox.engine import SandboxEngine

    engine = SandboxEngine("team/project", run_id="0" * 12, home_dir=tmp_path / "home", tmp_dir=tmp_path)
    why = engine.probe()
    if why:
        absent(f"the sandbox cannot run: {why}")
    yield engine.images
    engine.close()


@contextlib.contextmanager
def layout_store(tmp_path):
    yield LayoutStore(tmp_path / "layout")


STORES = {"docker": docker_store, "layout": layout_store, "registry": registry_store, "sandbox": sandbox_store}
PARTIAL = {"docker"}  # these tell of a configuration what their engine tells
MARKS = {"docker": [pytest.mark.docker], "registry": [pytest.mark.registry]}


def stores(names):
    return [pytest.param(name, marks=MARKS.get(name, [])) for name in sorted(names)]


@pytest.fixture(params=stores(STORES))
def store(request, tmp_path):
    # Stores that all tests of a machine share have the images of each test apart.
    Image.salt = os.urandom(6).hex()
    with STORES[request.param](tmp_path) as store:
        yield store


def layer_of(text):
    """A tar with one file, as a layer."""
    import tarfile

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(text)
        member.uname = Image.salt
        archive.addfile(member, io.BytesIO(text))
    return data.getvalue()


class Image:
    """An image in memory whose labels and layers are given."""

    salt = ""

    def __init__(self, *texts, **labels):
        self.blobs = {digest_bytes(data): data for data in map(layer_of, texts)}
        self.config = ImageConfig(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "2024-01-02T03:04:05Z",
                "author": self.salt,
                "config": {"Labels": labels, "Env": ["A=b"], "Cmd": ["x"]},
                "rootfs": {"type": "layers", "diff_ids": list(self.blobs)},
                "history": [{"created_by": "a test", "unknown": 1}],
            }
        )

    @property
    def descriptor(self):
        return build_manifest(self.config.to_bytes(), self.layers()).descriptor

    def layers(self):
        return tuple(Descriptor(OCI_LAYER, digest, len(data)) for digest, data in self.blobs.items())

    def open(self, blob):
        return io.BytesIO(self.blobs[blob.digest])


def test_it_is_a_store(store):
    checked: ImageStore = store
    assert checked.address
    assert checked.reference("x").endswith(":x")
    assert list(checked.names()) == []


def test_put_gives_no_name(store):
    descriptor = store.put(Image(b"a"))
    assert list(store.names(fresh=True)) == []
    assert store.get(descriptor.digest).descriptor == descriptor


def test_a_named_image_is_found_by_name_and_digest(store):
    image = Image(b"lower", b"upper", who="me")
    descriptor = store.put(image)
    store.name("stage-1", descriptor)
    for reference in ("stage-1", descriptor.digest):
        view = store.get(reference)
        assert view.descriptor == descriptor
        assert view.config.labels == {"who": "me"}
        assert view.config.run["Env"] == ["A=b"]
        assert len(view.layers()) == 2
        assert view.config.diff_ids == image.config.diff_ids


@pytest.mark.parametrize("store", stores(STORES.keys() - PARTIAL), indirect=True)
def test_the_configuration_is_kept_whole(store):
    descriptor = store.put(Image(b"a"))
    document = store.get(descriptor.digest).config.document
    assert document["history"] == [{"created_by": "a test", "unknown": 1}]
    assert json.loads(store.get(descriptor.digest).config.to_bytes()) == document


def test_layers_can_be_read_more_than_once(store):
    descriptor = store.put(Image(b"lower", b"upper"))
    view = store.get(descriptor.digest)
    for layer in view.layers():
        with view.open(layer) as first, view.open(layer) as second:
            assert first.read(10) == second.read(10)
            assert first.read() == second.read()


def test_a_description_agrees_with_the_image(store):
    descriptor = store.put(Image(b"lower", b"upper", who="me"))
    store.name("x", descriptor)
    described = store.describe("x")
    assert described.descriptor == descriptor
    assert described.labels == {"who": "me"}
    assert described.created_ms == 1704164645000
    assert described.size_bytes >= described.parent_size_bytes >= -1
    assert described == store.describe("x")


def test_putting_and_naming_twice_is_putting_and_naming_once(store):
    first, second = store.put(Image(b"a")), store.put(Image(b"a"))
    assert first == second
    store.name("x", first)
    store.name("x", second)
    assert list(store.names(fresh=True)) == ["x"]


def test_one_image_can_have_many_names(store):
    descriptor = store.put(Image(b"a"))
    for name in ("a", "b", "B_.-1"):
        store.name(name, descriptor)
    assert sorted(store.names(fresh=True)) == ["B_.-1", "a", "b"]
    assert sorted(store.names(fresh=True, prefix="b")) == ["b"]
    assert sorted(store.names(prefix="a")) == ["a"]


def test_records(store):
    store.put_record("rec-1")
    store.put_record("rec-2")
    store.put_record("rec-1")
    assert sorted(store.names()) == ["rec-1", "rec-2"]
    assert sorted(store.names(fresh=True)) == ["rec-1", "rec-2"]


def test_what_is_not_there_is_not_found(store):
    absent = Descriptor("application/vnd.oci.image.manifest.v1+json", digest_bytes(b"absent"), 2)
    for call in (
        lambda: store.get("absent"),
        lambda: store.get(absent.digest),
        lambda: store.describe("absent"),
        lambda: store.name("x", absent),
    ):
        with pytest.raises(NotFound):
            call()


def test_deleting_takes_the_names_with_it_and_leaves_the_others(store):
    gone, stays = store.put(Image(b"shared", b"a")), store.put(Image(b"shared", b"b"))
    store.name("gone-1", gone)
    store.name("gone-2", gone)
    store.name("stays", stays)
    store.delete(gone)
    assert list(store.names(fresh=True)) == ["stays"]
    with pytest.raises(NotFound):
        store.get("gone-1")
    view = store.get("stays")
    assert [view.open(layer).read() for layer in view.layers()] == [layer_of(b"shared"), layer_of(b"b")]


def test_a_name_is_removed_or_said_to_be_impossible(store):
    descriptor = store.put(Image(b"a"))
    store.name("x", descriptor)
    store.name("y", descriptor)
    try:
        store.unname("x")
    except StapelError as error:
        assert error.hint
        assert sorted(store.names(fresh=True)) == ["x", "y"]
    else:
        assert list(store.names(fresh=True)) == ["y"]
        assert store.get("y").descriptor == descriptor


def test_many_threads(store):
    failures = []

    def save(count):
        try:
            descriptor = store.put(Image(b"shared", str(count).encode()))
            store.name(f"n{count}", descriptor)
            assert store.describe(f"n{count}").descriptor == descriptor
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=save, args=(count,)) for count in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(store.names(fresh=True)) == sorted(f"n{count}" for count in range(12))
