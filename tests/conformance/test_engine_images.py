"""Where images go to and come from: what every engine does with its own store, with registries and with other stores."""

import io
import json
import secrets
import threading

import pytest

from stapel.api import Cancel, Run
from stapel.errors import Broken, Cancelled, NotFound
from stapel.oci.api import Descriptor, ImageConfig
from stapel.oci.manifest import OCI_LAYER, build_manifest, digest_bytes
from stapel.oci.registry import RegistryStore
from tests.conformance.engines import Said, file, lay

ODD = "ümläut \N{SNOWMAN} \"q\" 'q' \\ $HOME `id` <&> \t\n\u2028 {{.}} %s"
RUN_CONFIG = {
    "Cmd": ["sh", "-c", ODD, ""],
    "Entrypoint": [""],
    "Env": ["PATH=/bin", f"ODD={ODD}", "EMPTY="],
    "Labels": {"plain": "value", "odd": ODD, "": "no name", "empty": "", ODD: "name"},
    "User": "33:100",
    "WorkingDir": "/var/www",
    "Volumes": {"/data": {}},
    "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
    "Healthcheck": {"Test": ["CMD-SHELL", ODD], "Interval": 1_000_000_000, "Retries": 3},
    "StopSignal": "SIGUSR1",
    "OnBuild": ["RUN true"],
    "Shell": ["/bin/ash", "-c"],
}


@pytest.fixture
def store(registry):
    return RegistryStore(f"{registry.host}/images/{secrets.token_hex(6)}")


class View:
    """An image of a store that no engine knows."""

    def __init__(self, layer, config):
        self.layer, self.config = layer, config

    @property
    def descriptor(self):
        return build_manifest(self.config.to_bytes(), self.layers()).descriptor

    def layers(self):
        return (Descriptor(OCI_LAYER, digest_bytes(self.layer), len(self.layer)),)

    def open(self, blob):
        return io.BytesIO(self.layer)


def view_of(text):
    import tarfile

    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        member = tarfile.TarInfo("file")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    rootfs = {"type": "layers", "diff_ids": [digest_bytes(data.getvalue())]}
    config = {
        "architecture": "amd64",
        "os": "linux",
        "author": secrets.token_hex(8),
        "config": {"Env": ["A=b"]},
        "rootfs": rootfs,
    }
    return View(data.getvalue(), ImageConfig(config))


def makers(subject):
    """What is put: files that the engine has not been given yet, and what a container left."""
    base = subject.base()
    yield "files", subject.build(base, lay(file(b"f", b"files")))
    yield "commands", subject.build(base, Run("printf commands >/f", env={"SECRET": "x"}))
    yield "both", subject.build(base, lay(file(b"f", b"bo")), Run("printf th >>/f"))


@pytest.mark.parametrize("where", ["own", "registry"])
def test_an_image_is_stored_with_the_configuration_that_is_given(subject, request, where):
    into = subject.engine.images if where == "own" else request.getfixturevalue("store")
    for text, made in makers(subject):
        config = made.config.with_(run=RUN_CONFIG, author="somebody")
        view = subject.store(made, config, into)
        assert view.config.run == RUN_CONFIG
        assert view.config.document["author"] == "somebody"
        assert view.config.diff_ids == made.config.diff_ids
        assert view.config.platform == subject.engine.platform()
        # Of how it was made nothing is told but when.
        layers = [entry for entry in view.config.document["history"] if not entry.get("empty_layer")]
        assert len(layers) == len(made.config.diff_ids)
        assert set(layers[-1]) == {"created"}
        whole = json.dumps(view.config.document)
        for word in (".conveyor", "SECRET", "dev.conveyor.run", "container_config", "docker_version"):
            assert word not in whole
        held = subject.keep(subject.engine.hold(view))
        assert subject.files(held, b"f")[1] == {b"": text.encode() if text != "both" else b"both"}
        assert held.config.run == RUN_CONFIG


@pytest.mark.parametrize("where", ["own", "registry"])
def test_an_image_without_layers_is_stored(subject, request, where):
    into = subject.engine.images if where == "own" else request.getfixturevalue("store")
    scratch = subject.scratch()
    view = subject.store(scratch, scratch.config.with_(run={"Labels": {"of": secrets.token_hex(6)}}), into)
    assert view.config.diff_ids == ()
    assert list(subject.paths(subject.keep(subject.engine.hold(view)))) == [b""]


def test_what_is_put_has_no_name(subject):
    made = subject.build(subject.base(), lay(file(b"f")))
    view = subject.store(made, made.config)
    images = subject.engine.images
    assert list(images.names(fresh=True)) == []
    images.name("v1", view.descriptor)
    assert list(images.names(fresh=True)) == ["v1"]
    assert images.describe("v1").descriptor == view.descriptor


def test_an_unchanged_image_stays_what_it_is(subject, store):
    engine = subject.engine
    base = subject.base()
    assert engine.put(base, base.config, engine.images, Cancel()).digest == base.id
    made = subject.build(base, Run("echo >/f"))
    view = subject.store(made, made.config.with_(run=RUN_CONFIG))
    held = subject.keep(engine.hold(view))
    assert held.id == view.descriptor.digest
    for same in held, subject.build(held):
        assert engine.put(same, same.config, engine.images, Cancel()).digest == held.id
    pushed = store.get(engine.put(held, held.config, store, Cancel()).digest)
    assert pushed.manifest.config.digest == held.id
    assert engine.put(held, held.config, store, Cancel()) == pushed.descriptor


def test_what_a_container_left_is_never_stored_with_the_containers_configuration(subject, store):
    base = subject.base()
    made = subject.build(base, Run("echo >/f", env={"SECRET": "x"}))
    for into in (subject.engine.images, store):
        view = subject.store(made, made.config, into)
        assert {**view.config.run} == {**base.config.run}


def test_an_image_of_a_registry_comes_to_an_engine_that_has_it_not(subject, store):
    made = subject.build(subject.base(), lay(file(b"f", b"1")), Run("echo 2 >/g"))
    view = subject.store(made, made.config.with_(run=RUN_CONFIG), store)
    made.close()
    subject.forget(view.manifest.config.digest)
    held = subject.keep(subject.engine.hold(store.get(view.descriptor.digest)))
    assert held.config.run == RUN_CONFIG
    assert held.id == view.manifest.config.digest
    assert subject.run(held, "cat /f /g; echo $PATH") == "12\n/bin\n"
    assert subject.files(subject.build(held, lay(file(b"h", b"3"))), b"h")[1] == {b"": b"3"}


def test_an_image_that_is_gone_from_its_registry_is_not_held(subject, store, registry):
    made = subject.build(subject.base(), lay(file(b"f", secrets.token_bytes(8))))
    view = subject.store(made, made.config, store)
    made.close()
    subject.forget(view.manifest.config.digest)
    subject.await_removals()  # an engine that has a layer needs it from nowhere
    digest = view.layers()[-1].digest.removeprefix("sha256:")
    (registry.storage / f"docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data").unlink()
    store.delete(view.descriptor)
    with pytest.raises((NotFound, Broken)):
        subject.engine.hold(view)


def test_an_image_of_another_store_is_brought(subject):
    view = view_of(b"of another store")
    held = subject.keep(subject.engine.hold(view))
    subject.stored.append(held.id)
    assert held.config.run["Env"] == ["A=b"]
    assert subject.files(held)[1] == {b"file": b"of another store"}
    assert subject.run(held, "echo $A; echo $(</file)") == "b\nof another store\n"


def test_an_image_of_another_store_that_is_not_what_it_says_is_refused(subject):
    from stapel.errors import StapelError

    view = view_of(b"right")
    view.layer = view_of(b"wrong").layer
    with pytest.raises(StapelError):
        subject.engine.hold(view)


def test_a_cancelled_put_stores_nothing(subject, store):
    made = subject.build(subject.base(), lay(file(b"f")))
    cancel = Cancel()
    cancel.set()
    for into in (subject.engine.images, store):
        with pytest.raises(Cancelled):
            subject.engine.put(made, made.config, into, cancel)
    assert list(store.names(fresh=True)) == []


def test_many_threads_put_into_one_registry(subject, store, monkeypatch):
    base = subject.base()
    failures, views = [], {}

    def work(number):
        try:
            made = subject.build(base, lay(file(b"f", b"%d" % number)))
            config = made.config.with_(run={**made.config.run, "Labels": {"number": str(number)}})
            views[number] = subject.store(made, config, store)
            store.name(f"n{number}", views[number].descriptor)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    fresh = RegistryStore(store.address)
    for number in range(5):
        view = fresh.get(f"n{number}")
        assert view.descriptor == views[number].descriptor
        assert view.config.labels == {"number": str(number)}
        assert subject.files(subject.keep(subject.engine.hold(view)), b"f")[1] == {b"": b"%d" % number}


def test_one_image_is_stored_and_built_on_and_read_at_once(subject, store):
    content = secrets.token_bytes(1 << 20) * 12
    made = subject.build(subject.base(), lay(file(b"big", content)))
    failures = []

    def quietly(work):
        try:
            work()
        except BaseException as error:
            failures.append(error)

    def labelled(into):
        config = made.config.with_(run={**made.config.run, "Labels": {"of": secrets.token_hex(4)}})
        assert subject.store(made, config, into).config.diff_ids == made.config.diff_ids

    def read():
        assert subject.files(made, b"big")[1] == {b"": content}

    def build():
        assert subject.run(made, "wc -c </big") == f"{len(content)}\n"

    work = [
        lambda: labelled(subject.engine.images),
        lambda: labelled(store),
        read,
        build,
        lambda: labelled(subject.engine.images),
    ]
    threads = [threading.Thread(target=quietly, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_the_history_of_a_base_is_kept(subject, store):
    base = subject.base()
    history = [{"created": "2020-01-02T03:04:05Z", "created_by": "ADD rootfs", "comment": "imported"}]
    history.append({"created": "2020-01-02T03:04:06Z", "created_by": 'CMD ["sh"]', "empty_layer": True})
    config = base.config.with_(history=history, author=secrets.token_hex(4))
    old = subject.keep(subject.engine.hold(subject.store(base, config, store)))
    made = subject.build(old, lay(file(b"f")))
    view = subject.store(made, made.config, store)
    assert view.config.document["history"][:2] == history
    assert [set(entry) for entry in view.config.document["history"][2:]] == [{"created"}]


def test_a_base_that_was_named_is_found_again(subject):
    made = subject.build(subject.base(), lay(file(b"f", b"named")))
    images = subject.engine.images
    images.name("base", subject.store(made, made.config).descriptor)
    held = subject.keep(subject.engine.base(images.reference("base"), subject.engine.platform(), Said()))
    assert held.id == images.describe("base").descriptor.digest
    assert subject.files(held, b"f")[1] == {b"": b"named"}
