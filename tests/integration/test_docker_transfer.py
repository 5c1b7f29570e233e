"""The Docker engine and registries: credentials, registries that it cannot use, tags that collide; other doors to it."""

import secrets
import threading
from types import SimpleNamespace

import pytest

from stapel.api import Cancel, Run
from stapel.docker.client import Clients
from stapel.docker.engine import DockerEngine
from stapel.docker.ledger import Ledger
from stapel.docker.leftovers import remove_tags
from stapel.errors import StapelError, Unreachable
from stapel.oci.registry import RegistryStore
from stapel.runs import open_run
from tests.conformance.engines import Said, docker_subject, file, lay
from tests.conftest import PASSWORD, absent
from tests.integration.forwarding import door_to, outer_address
from tests.servers import docker_config

pytestmark = pytest.mark.docker


@pytest.fixture
def engine_with(home, tmp_path):
    """Engines with options of their own, closed at the end."""
    engines = []

    def make(**options):
        engines.append(DockerEngine("conveyor-transfer", run_id=run.id, home_dir=home, tmp_dir=tmp_path, **options))
        return engines[-1]

    with open_run(home) as run:
        yield make
        for engine in engines:
            engine.close()


def upload_tags(client, repository):
    return [tag for image in client.images(name=repository) for tag in image["RepoTags"] or () if "upload-" in tag]


def stage(subject, **labels):
    made = subject.build(subject.base(), lay(file(b"f", b"x")), Run("echo y >/g"))
    return subject.keep(subject.engine.hold(subject.store(made, made.config.with_(run={"Labels": labels}))))


def test_several_tags_are_taken_off_and_their_images_stay(home, docker_engine, busybox_base):
    """The image that they are given to goes with the last of them."""
    name, clients = f"conveyor-transfer/{secrets.token_hex(4)}", Clients(None)
    tags = [f"{name}:upload-{number}" for number in range(3)]
    for tag in tags:
        docker_engine.tag(busybox_base, *tag.split(":"))
    remove_tags(clients, Ledger(home, "run", clients.endpoint), [*tags, f"{name}:upload-gone"])
    clients.close()
    assert upload_tags(docker_engine, name) == []
    assert docker_engine.inspect_image(busybox_base)["Id"]


def test_what_was_pushed_stays_in_the_engine_without_a_tag(subject, registry, docker_engine):
    store = RegistryStore(f"{registry.host}/t/{secrets.token_hex(4)}")
    held = stage(subject, number="1")
    first = subject.engine.put(held, held.config, store, Cancel())
    assert docker_engine.inspect_image(held.id)["Id"] == held.id
    assert subject.run(held, "cat /g") == "y\n"
    other = stage(subject, number="2")
    second = subject.engine.put(other, other.config, store, Cancel())
    assert first != second
    assert len([name for name in store.names(fresh=True) if name.startswith("upload-")]) == 1
    subject.resources.close()
    subject.engine.close()
    assert upload_tags(docker_engine, store.address) == []
    for image_id, pushed in ((held.id, first), (other.id, second)):
        assert docker_engine.inspect_image(image_id)["RepoDigests"] == [f"{store.address}@{pushed.digest}"]


def test_tags_that_collide_do_no_harm(request, home, registry, monkeypatch):
    """Two processes that push to one repository may take the same tag at the same time."""
    monkeypatch.setattr("stapel.docker.pushing.secrets", SimpleNamespace(token_hex=lambda size: "ab" * size))
    store = RegistryStore(f"{registry.host}/t/collisions")
    with docker_subject(home, request) as one, docker_subject(home, request) as other:
        held = {
            subject: [stage(subject, of=f"{index}-{number}") for number in range(4)]
            for index, subject in enumerate((one, other))
        }
        found, failures = [], []

        def work(subject):
            try:
                found.extend((held, subject.engine.put(held, held.config, store, Cancel())) for held in held[subject])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(subject,)) for subject in held]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert len(found) == 8
        fresh = RegistryStore(store.address)
        for image, descriptor in found:
            view = fresh.get(descriptor.digest)
            assert view.config.labels == image.config.labels
            assert view.config.diff_ids == image.config.diff_ids


def test_credentials_are_dockers(subject, registry_with_auth, engine_with, tmp_path):
    host = registry_with_auth.host
    config = docker_config(tmp_path / "docker", {host: ("ci", PASSWORD)})
    engine = engine_with(docker_config=config)
    store = RegistryStore(f"{host}/t/{secrets.token_hex(4)}", docker_config=config)
    held = stage(subject, of="auth")
    mine = engine.hold(subject.engine.images.get(held.id))
    descriptor = engine.put(mine, mine.config, store, Cancel())
    store.name("v1", descriptor)
    view = store.get("v1")
    subject.resources.close()
    subject.forget(held.id)
    assert engine.hold(view).id == held.id
    subject.forget(held.id)
    assert engine.base(store.reference("v1"), "linux/amd64", Said()).id == held.id
    subject.forget(held.id)
    with pytest.raises(StapelError) as caught:
        engine_with(docker_config=str(tmp_path)).base(store.reference("v1"), "linux/amd64", Said())
    assert "docker login" in caught.value.hint


def test_bytes_go_through_us_where_the_engine_may_not_use_a_registry(subject, registry, engine_with):
    host = outer_address()
    if host is None:
        absent("this machine has no address but the loopback's")
    name, port = registry.host.split(":")
    warnings = []
    engine = engine_with(on_warning=warnings.append)
    held = stage(subject, of="plain http")
    with door_to((name, int(port)), host) as address:
        store = RegistryStore(f"{address}/t/{secrets.token_hex(4)}", insecure=True)
        mine = engine.hold(subject.engine.images.get(held.id))
        descriptor = engine.put(mine, mine.config, store, Cancel())
        assert len(warnings) == 1
        assert address in warnings[0]
        view = store.get(descriptor.digest)
        assert view.config.labels == {"of": "plain http"}
        assert view.config.diff_ids == held.config.diff_ids
        # The engine gives us layers without telling its configuration's bytes: the image is equal, its id need not be.
        subject.resources.close()
        subject.forget(held.id)
        again = engine.hold(view)
        subject.stored.append(again.id)
        said = Said()
        engine.build(again, [Run("cat /g; ls /f")], said, Cancel()).close()
        assert said.text() == "y\n/f\n"
        with pytest.raises((Unreachable, StapelError)):
            engine.base(f"{address}/absent:1", "linux/amd64", Said())


def test_an_engine_behind_tcp_does_the_same(request, home, docker_engine, registry, monkeypatch, busybox_base):
    from stapel.docker.endpoint import find_endpoint, socket_path

    path = socket_path(find_endpoint())
    if path is None:
        absent("the Docker Engine of this machine has no socket")
    with door_to(path) as address:
        monkeypatch.setenv("DOCKER_HOST", f"tcp://{address}")
        with docker_subject(home, request) as subject:
            engine = subject.engine
            assert engine.probe() == ""
            assert engine.platform() == "linux/amd64"
            assert engine.images.address.startswith("tcp://")
            said = Said()
            made = subject.build(subject.base(), lay(file(b"f", b"1")), Run("cat /f; seq 1 50000 >&2"), log=said)
            assert said.text("stdout") == "1"
            assert said.bytes("stderr") == b"".join(b"%d\n" % number for number in range(1, 50001))
            assert subject.files(made, b"f")[1] == {b"": b"1"}
            with pytest.raises(StapelError):
                engine.base("127.0.0.1:9/absent:1", engine.platform(), Said())
            view = subject.store(made, made.config)
            engine.images.name("v1", view.descriptor)
            assert list(engine.images.names(fresh=True)) == ["v1"]
            assert engine.images.describe("v1").descriptor.digest == view.descriptor.digest
            assert [len(layer.digest) for layer in view.layers()] == [71, 71]
            store = RegistryStore(f"{registry.host}/t/tcp")
            assert subject.store(made, made.config, store).config.diff_ids == made.config.diff_ids
            cancel = Cancel()
            from stapel.errors import Cancelled

            with pytest.raises(Cancelled):
                engine.build(made, [Run("echo; sleep 1000")], lambda *_: cancel.set(), cancel)
