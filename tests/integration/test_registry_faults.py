"""The registry store and a real docker-registry behind a server that does every fault of a service."""

import hashlib
import io
import json
import threading
import time

import pytest

from stapel.oci.api import Descriptor, ImageConfig
from stapel.oci.errors import Broken, Damaged, StapelError, Unreachable
from stapel.oci.manifest import OCI_LAYER, build_manifest, digest_bytes
from stapel.oci.registry import RegistryStore
from stapel.oci.retries import Retries
from tests.fault_proxy import Lists, changed, cut_body, cut_head, failing, incomplete_names, lying, names_in, once_each
from tests.servers import Reply, Reset, basic, docker_config, front_server, registry_server

pytestmark = pytest.mark.registry

QUICK = Retries(attempts=4, first_s=0.001, longest_s=0.01, longest_asked_s=0.01)
BIG_BYTES = 200 << 20


class Image:
    """An image whose layers are read from where they are opened."""

    def __init__(self, layers, **labels):
        self.sources = layers  # descriptor -> how to open it
        document = {"architecture": "amd64", "os": "linux", "config": {"Labels": labels}}
        diff_ids = [layer.digest for layer in layers]
        self.config = ImageConfig({**document, "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        self.descriptor = build_manifest(self.config.to_bytes(), self.layers()).descriptor

    def layers(self):
        return tuple(self.sources)

    def open(self, blob):
        return self.sources[blob]()


class Unwritten(Image):
    """An image with a large layer that nobody has compressed yet."""

    def __init__(self, seed, broken=False):
        self.content = hashlib.sha256(seed.encode()).digest() * (6 << 15)
        self.broken = broken
        self.opened = []
        super().__init__({Descriptor(OCI_LAYER, digest_bytes(self.content), len(self.content)): self._open})

    def _open(self):
        self.opened.append(len(self.content))
        return io.BytesIO(self.content)

    def has_unwritten(self):
        return True

    def unwritten(self):
        return [self._write]

    def _write(self, out):
        for at in range(0, len(self.content), 1 << 18):
            out.write(self.content[at : at + (1 << 18)])
        if self.broken:
            raise Broken("the layer has changed")
        return self.layers()[0]


def small(*layers, **labels):
    return Image(
        {Descriptor(OCI_LAYER, digest_bytes(one), len(one)): lambda one=one: io.BytesIO(one) for one in layers}, **labels
    )


def store(host, path, **options):
    return RegistryStore(f"{host}/{path}", retries=QUICK, **options)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registry_server(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def path(request):
    """A repository of its own for each test."""
    return "t/" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """An image with a layer of 200 MB."""
    file = tmp_path_factory.mktemp("big") / "layer"
    with file.open("wb") as stream:
        stream.truncate(BIG_BYTES)
        digest = hashlib.file_digest(io.BytesIO(bytes(BIG_BYTES)), "sha256").hexdigest()
    return Image({Descriptor(OCI_LAYER, f"sha256:{digest}", BIG_BYTES): lambda: file.open("rb")})


def use(host, path, number, **options):
    """Write an image and read it back, by two builders; everything that a build asks of a registry."""
    image = small(b"lower %d" % number, b"upper %d" % number, number=str(number))
    here, there = store(host, path, **options), store(host, path, **options)
    assert list(here.names()) == []
    name = f"name-{number}"
    here.name(name, here.put(image))
    here.put_record("record")
    assert sorted(here.names(fresh=True)) == [name, "record"]
    assert sorted(there.names()) == [name, "record"]
    assert there.describe(name).labels == {"number": str(number)}
    view = there.get(name)
    assert (view.descriptor, view.config) == (image.descriptor, image.config)
    assert [view.open(layer).read() for layer in view.layers()] == [image.open(layer).read() for layer in image.layers()]
    assert there.digest_of(name) == image.descriptor.digest
    there.delete(there.get("record").descriptor)
    assert list(there.names(fresh=True)) == [name]


# -- what passes


def test_a_layer_is_sent_while_it_is_compressed(front, registry, path):
    image = Unwritten(path)
    here = store(front.host, path)
    here.name("x", here.put(image))
    assert image.opened == []
    assert store(registry.host, path).get("x").open(image.layers()[0]).read() == image.content
    sent = [request.method for request in front.seen if "/uploads/" in request.path]
    assert sorted(sent) == ["PATCH", "POST", "POST", "PUT", "PUT"]


@pytest.mark.parametrize(
    ("times", "answer", "method"),
    [
        (1, Reply(503), "PATCH"),
        (1, Reset(after=1), "PATCH"),
        (1, Reset(after=3 << 20), "PATCH"),
        (1, cut_head(0), "PATCH"),
        (9, Reply(405), "PATCH"),
        (9, Reply(413), "PATCH"),
        (1, Reply(500), "PUT"),
        (1, cut_head(0), "PUT"),
        (2, Reply(429, {"Retry-After": "1"}), "POST"),
    ],
    ids=["503", "reset at once", "reset in the middle", "no answer", "405", "413", "500", "no last answer", "429"],
)
def test_a_layer_that_cannot_be_sent_while_it_is_compressed_is_sent_afterwards(front, registry, path, times, answer, method):
    image = Unwritten(path)
    (layer,) = image.layers()
    # The configuration goes at the same time: both begin alike, and only the end tells which it is.
    which = layer.digest.partition(":")[2] if method == "PUT" else "/uploads/"
    front.rules.append(failing(times, answer, method=method, path=which))
    here = store(front.host, path)
    here.name("x", here.put(image))
    assert incomplete_names(registry.storage, path) == []
    assert store(registry.host, path).get("x").open(image.layers()[0]).read() == image.content


def test_a_layer_that_cannot_be_read_is_not_sent(front, registry, path):
    image = Unwritten(path, broken=True)
    with pytest.raises(Broken, match="has changed"):
        store(front.host, path).put(image)
    assert list(store(registry.host, path).names()) == []


@pytest.mark.parametrize(
    ("times", "answer"),
    [(2, Reply(503)), (1, cut_head(0)), (1, lying("Docker-Content-Digest", digest_bytes(b"lie")))],
    ids=["503 twice", "the answer is lost", "a lying digest"],
)
def test_a_name_is_asked_for_anew_before_it_is_sent_again(front, registry, path, times, answer):
    front.rules.append(failing(times, answer, method="PUT", path="/manifests/name-"))
    image = small(b"layer", of=path)
    here = store(front.host, path)
    given = ["name-2", "name-3"]
    here.name("name-1", here.put(image), renew=lambda: given.pop(0))
    last = f"name-{times + 1}"
    assert last in here.names()
    assert store(registry.host, path).get(last).descriptor == image.descriptor


def test_who_will_not_name_any_more_is_not_asked_again(front, registry, path):
    front.rules.append(failing(1, Reply(503), method="PUT", path="/manifests/name-"))
    here = store(front.host, path)
    descriptor = here.put(small(b"layer", of=path))

    def refuse():
        raise LookupError("taken")

    with pytest.raises(LookupError, match="taken"):
        here.name("name-1", descriptor, renew=refuse)
    assert list(store(registry.host, path).names()) == []


@pytest.mark.parametrize(
    "fault",
    [
        failing(1, Reset(after=0), method="PUT", path="/uploads/"),
        failing(1, Reset(after=1), method="PUT", path="/uploads/"),
        failing(1, Reset(after=BIG_BYTES // 2), method="PUT", path="/uploads/"),
        failing(1, Reset(after=BIG_BYTES - 1), method="PUT", path="/uploads/"),
        failing(1, cut_head(0), method="PUT", path="/uploads/"),
        failing(1, cut_head(20, reset=True), method="PUT", path="/uploads/"),
        failing(1, Reply(429, {"Retry-After": "1"}), method="PUT", path="/uploads/"),
        failing(1, changed(status=500), method="POST", path="/uploads/"),
        failing(2, Reply(503), method="PUT", path="/uploads/"),
        failing(1, lying("Docker-Content-Digest", digest_bytes(b"lie")), method="PUT", path="/manifests/"),
        once_each(Reply(500)),
    ],
    ids=[
        "request reset at its first byte",
        "after one byte",
        "in the middle",
        "before the last byte",
        "the answer is lost",
        "the answer breaks in its head",
        "429",
        "500",
        "503 twice",
        "a lying digest",
        "every request once",
    ],
)
def test_a_push_of_200_mb_survives(front, registry, path, big, fault):
    front.rules.append(fault)
    told = []
    here = store(front.host, path, on_retry=told.append)
    here.name("x", here.put(big))
    assert told
    assert names_in(registry.storage, path) == ["x"]
    assert incomplete_names(registry.storage, path) == []
    assert store(registry.host, path).get("x").descriptor == big.descriptor


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_answers_may_break_at_any_byte_of_their_head(front, path, reset):
    for after in range(7 if reset else 0, 440, 28 if reset else 14):
        front.rules[:] = [once_each(cut_head(after, reset=reset))]
        use(front.host, f"{path}/{after}", after)
    assert not front.rules[0](front.seen[-1], lambda: pytest.fail("asked"))  # the last one passed its first time too


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_answers_may_break_at_any_byte_of_their_body(front, path, reset):
    for after in range(6 if reset else 0, 420, 24 if reset else 12):

        def cut(forward, after=after):
            reply = forward()
            return cut_body(after, reset=reset)(lambda: reply) if after < len(reply.body) else reply

        front.rules[:] = [once_each(cut)]
        use(front.host, f"{path}/{after}", after)


def test_requests_may_break_at_any_byte_of_their_body(front, path):
    for after in range(0, 420, 14):
        rule = once_each(Reset(after=after))
        front.rules[:] = [lambda request, forward, rule=rule: rule(request, forward) if request.method == "PUT" else None]
        use(front.host, f"{path}/{after}", after)


@pytest.mark.parametrize(
    "fault",
    [
        Reply(408),
        Reply(429, {"Retry-After": "1"}),
        Reply(429, {"Retry-After": "Thu, 01 Jan 2099 00:00:00 GMT"}),
        Reply(500, {}, b"<html>"),
        Reply(502),
        Reply(503, {"Retry-After": "nonsense"}),
        Reply(504),
        changed(status=500),
    ],
    ids=lambda fault: f"{fault.status}" if isinstance(fault, Reply) else "after the deed",
)
def test_every_request_may_fail_once(front, path, fault):
    front.rules.append(once_each(fault))
    use(front.host, path, 1)


@pytest.mark.parametrize("body", [b"<html>welcome to the hotel</html>", b""])
def test_every_question_may_be_answered_by_something_between_once(front, path, body):
    """Layers are streamed: what is wrong with them is told to who reads them."""
    rule = once_each(Reply(200, {}, body))
    front.rules.append(
        lambda request, forward: (
            rule(request, forward) if request.method == "GET" and "/blobs/" not in request.path else None
        )
    )
    use(front.host, path, 1)


def test_a_digest_that_lies_once_is_asked_about_again(front, path):
    front.rules.append(once_each(lying("Docker-Content-Digest", digest_bytes(b"lie"))))
    image = small(b"layer", of=path)
    here = store(front.host, path)
    here.name("x", here.put(image))
    assert store(front.host, path).describe("x").labels == {"of": path}
    assert store(front.host, path).get("x").descriptor == image.descriptor


def test_a_blob_that_is_damaged_on_its_way_is_copied_the_second_time(front, path, registry):
    image = small(b"layer of " + path.encode())
    store(front.host, path).put(image)
    front.rules.append(failing(1, Reply(200, {}, b"LAYER of " + path.encode()), path=image.layers()[0].digest))
    source = store(front.host, path).get(image.descriptor.digest)
    with pytest.raises(Damaged):
        source.open(image.layers()[0]).read()
    front.rules.append(failing(1, Reply(200, {}, b"LAYER of " + path.encode()), path=image.layers()[0].digest))
    with registry_server_of_its_own(registry) as other:
        there = store(other.host, path)
        there.name("x", there.put(source))
        assert there.get("x").open(image.layers()[0]).read() == b"layer of " + path.encode()


def registry_server_of_its_own(registry):
    return registry_server(registry.storage.parent / "other")


def test_lists_in_any_order_with_duplicates(front, path):
    front.rules.append(Lists())
    here = store(front.host, path)
    for number in range(20):
        here.put_record(f"r{number}")
    listed = list(store(front.host, path).names())
    assert sorted(listed) == sorted(f"r{number}" for number in range(20))


# -- what lasts


STEPS = [
    ("POST", "/uploads/", "uploading blob"),
    ("PUT", "/uploads/", "uploading blob"),
    ("PUT", "/manifests/sha256", "writing the manifest"),
    ("PUT", "/manifests/x", "writing the manifest"),
    ("GET", "/tags/list", "listing the names"),
    ("GET", "/manifests/x", "reading the manifest"),
    ("GET", "/blobs/", "downloading blob"),
]
LASTING = {
    "500": (Reply(500, {}, b"out of order"), "status 500 (out of order)"),
    "503": (Reply(503), "status 503"),
    "429": (Reply(429, {"Retry-After": "3600"}), "status 429"),
    "reset": (Reset, "the connection to"),
    "reset in the body": (Reset(after=10), "the connection to"),
    "cut in the head": (cut_head(30), "the connection to"),
    "reset in the head": (cut_head(30, reset=True), "the connection to"),
}


def _lasting():
    for method, part, doing in STEPS:
        for name, (fault, word) in LASTING.items():
            # A question has no body; an upload whose answer alone is lost is found to be there.
            if (name == "reset in the body" and method != "PUT") or ("head" in name and (method, part) == STEPS[1][:2]):
                continue
            yield pytest.param(method, part, doing, fault, word, id=f"{method} {part.strip('/')}-{name}")


@pytest.mark.parametrize(("method", "part", "doing", "fault", "word"), list(_lasting()))
def test_what_lasts_is_given_up_and_told(front, registry, path, fault, word, method, part, doing):
    front.rules.append(failing(10**6, fault, method=method, path=part))
    here = store(front.host, path)
    began_s = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        here.name("x", here.put(small(b"layer", of=path)))
        assert list(here.names(fresh=True)) == ["x"]
        view = store(front.host, path).get("x")
        view.open(view.layers()[0]).read()
    assert time.monotonic() - began_s < 20
    assert len(front.asked(method, part)) <= QUICK.attempts * 2
    message = str(caught.value)
    assert doing in message and front.host in message and word in message and "times" in message
    assert caught.value.hint
    assert incomplete_names(registry.storage, path) == []
    if method in ("POST", "PUT") and isinstance(fault, (Reply, type)):  # the others let the deed be done
        assert names_in(registry.storage, path) == []


def test_a_list_that_is_always_nonsense_is_given_up(front, path):
    front.rules.append(failing(10**6, Reply(200, {}, b"<html>welcome to the hotel</html>"), path="/tags/"))
    with pytest.raises(Unreachable, match=r"no list of tags.* 3 times"):
        list(store(front.host, path).names())


# -- credentials in the middle


class Accounts:
    """A token server, and the registry's word for a token that it does not take."""

    def __init__(self, realm):
        self.realm = realm
        self.password = "first"
        self.issued = 0
        self.lock = threading.Lock()

    def issue(self, request, _):
        with self.lock:
            if request.headers.get("Authorization") != basic("joe", self.password):
                return Reply(401)
            self.issued += 1
            return Reply(200, {}, json.dumps({"token": f"t{self.issued}", "expires_in": 300}).encode())

    def check(self, request, forward):
        with self.lock:
            if request.headers.get("Authorization") == f"Bearer t{self.issued}":
                return None
        challenge = f'Bearer realm="http://{self.realm}/token",service="s",scope="repository:x:pull"'
        return Reply(401, {"WWW-Authenticate": challenge})

    def expire(self):
        with self.lock:
            self.issued += 1


@pytest.fixture
def accounts(front):
    with front_server() as realm:
        accounts = Accounts(realm.host)
        realm.rules.append(accounts.issue)
        front.rules.append(accounts.check)
        yield accounts


def test_a_token_that_ends_in_the_middle_is_renewed(front, path, accounts, tmp_path, big):
    here = store(front.host, path, docker_config=docker_config(tmp_path, {front.host: ("joe", "first")}))
    for part in ("/uploads/", "/manifests/x"):
        front.rules.insert(0, failing(1, lambda forward: accounts.expire(), method="PUT", path=part))
    here.name("x", here.put(big))
    assert list(here.names(fresh=True)) == ["x"]


def test_a_token_server_that_refuses_in_the_middle(front, path, accounts, tmp_path):
    here = store(front.host, path, docker_config=docker_config(tmp_path, {front.host: ("joe", "first")}))
    descriptor = here.put(small(b"layer"))
    accounts.password = "second"
    accounts.expire()
    with pytest.raises(Unreachable) as caught:
        here.name("x", descriptor)
    assert "writing the manifest" in str(caught.value)
    assert f"docker login {front.host}" in caught.value.hint
    docker_config(tmp_path, {front.host: ("joe", "second")})
    here.name("x", descriptor)


def test_a_token_server_in_trouble_is_waited_for(front, path, accounts, tmp_path):
    with front_server() as realm:
        accounts.realm = realm.host
        for fault in (Reply(500), Reset, cut_head(9), Reply(200, {}, b"<html>"), Reply(429, {"Retry-After": "1"})):
            realm.rules[:] = [failing(2, fault), accounts.issue]
            accounts.expire()
            here = store(front.host, path, docker_config=docker_config(tmp_path, {front.host: ("joe", "first")}))
            assert list(here.names()) == []
        realm.rules[:] = [failing(10**6, Reply(503))]
        with pytest.raises(Unreachable, match=r"listing the names of .* token server .* status 503") as caught:
            list(store(front.host, path, docker_config=str(tmp_path)).names())
        assert caught.value.hint


def test_a_password_that_is_changed_in_the_middle(front, path, tmp_path):
    password = ["first"]

    def check(request, _):
        if request.headers.get("Authorization") == basic("joe", password[0]):
            return None
        return Reply(401, {"WWW-Authenticate": 'Basic realm="r"'})

    front.rules.append(check)
    here = store(front.host, path, docker_config=docker_config(tmp_path, {front.host: ("joe", "first")}))
    descriptor = here.put(small(b"layer"))
    password[0] = "second"
    front.seen.clear()
    with pytest.raises(Unreachable, match="refuses our credentials") as caught:
        here.name("x", descriptor)
    assert f"docker login {front.host}" in caught.value.hint
    assert len(front.seen) == 1  # nothing new to say: the account would be locked for less
    docker_config(tmp_path, {front.host: ("joe", "second")})
    with pytest.raises(StapelError):
        store(front.host, path, docker_config=str(tmp_path / "nobody")).name("x", descriptor)
    here.name("x", descriptor)
    assert list(here.names(fresh=True)) == ["x"]
