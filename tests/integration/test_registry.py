"""The registry store against a real docker-registry, alone and behind a server that misbehaves."""

import hashlib
import io
import itertools
import json
import os
import subprocess
import threading
import time
from urllib.parse import parse_qs, urlsplit

import pytest

from stapel.oci.api import Descriptor, ImageConfig
from stapel.oci.apply import Form, apply_layer
from stapel.oci.compress import compress
from stapel.oci.errors import BadReference, Broken, NotFound, StapelError, Unreachable
from stapel.oci.layer import Entry, write_layer
from stapel.oci.manifest import OCI_INDEX, OCI_LAYER, build_manifest, digest_bytes, own_platform
from stapel.oci.registry import RegistryStore
from stapel.oci.resolving import resolve_digest
from stapel.oci.retries import Retries
from stapel.oci.validate import validate_image
from tests.fault_proxy import failing
from tests.servers import Reply, Reset, basic, certificate, docker_config, front_server, registry_server

pytestmark = pytest.mark.registry

QUICK = Retries(attempts=4, first_s=0.001, longest_s=0.01, longest_asked_s=0.01)


class Image:
    """An image in memory."""

    def __init__(self, *layers, labels=None, created="2024-01-02T03:04:05Z"):
        self.blobs = {digest_bytes(layer): layer for layer in layers}
        self.config = ImageConfig(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": created,
                "config": {"Labels": labels or {}},
                "rootfs": {"type": "layers", "diff_ids": list(self.blobs)},
            }
        )
        self.opened = []

    @property
    def descriptor(self):
        return build_manifest(self.config.to_bytes(), self.layers()).descriptor

    def layers(self):
        return tuple(Descriptor(OCI_LAYER, digest, len(data)) for digest, data in self.blobs.items())

    def open(self, blob):
        self.opened.append(blob.digest)
        return io.BytesIO(self.blobs[blob.digest])


def store(host, path="a/b", **options):
    return RegistryStore(f"{host}/{path}", retries=QUICK, **options)


def blob_path(registry, digest):
    value = digest.removeprefix("sha256:")
    return registry.storage / "docker/registry/v2/blobs/sha256" / value[:2] / value / "data"


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with registry_server(tmp_path_factory.mktemp("registry")) as server:
        yield server


@pytest.fixture
def path(request):
    """A repository of its own for each test."""
    return "t/" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]


# -- as it should be


def test_an_image_comes_back_as_it_went(registry, path):
    image = Image(b"lower", b"upper layer", labels={"a": "ü"})
    here = store(registry.host, path)
    descriptor = here.put(image)
    assert descriptor == image.descriptor
    assert list(here.names(fresh=True)) == []
    here.name("one", descriptor)
    here.name("one", descriptor)
    other = store(registry.host, path)
    assert list(other.names()) == ["one"]
    described = other.describe("one")
    assert described.descriptor == descriptor
    assert described.labels == {"a": "ü"}
    assert (described.size_bytes, described.parent_size_bytes) == (16, 5)
    assert described.created_ms == 1704164645000
    assert described.image_id == digest_bytes(image.config.to_bytes())
    for reference in ("one", descriptor.digest):
        back = other.get(reference)
        assert back.config == image.config
        assert [back.open(layer).read() for layer in back.layers()] == [b"lower", b"upper layer"]
    assert other.digest_of("one") == descriptor.digest
    assert resolve_digest(f"{registry.host}/{path}:one", retries=QUICK) == descriptor.digest


def test_names_of_ours_are_known_at_once(registry, path):
    here = store(registry.host, path)
    assert list(here.names()) == []
    here.put_record("rec-1")
    here.put_record("rec-1")
    here.put_record("other")
    assert sorted(here.names()) == ["other", "rec-1"]
    assert list(here.names(prefix="rec")) == ["rec-1"]
    assert sorted(here.names(fresh=True)) == ["other", "rec-1"]
    assert here.describe("rec-1").descriptor == here.describe("other").descriptor
    store(registry.host, path).put_record("foreign")
    assert "foreign" not in list(here.names())
    assert "foreign" in list(here.names(fresh=True))
    assert "foreign" in list(here.names())


def test_a_copy_has_the_same_digest_and_moves_no_bytes(front, path):
    here, there = store(front.host, path), store(front.host, path + "/copy")
    descriptor = here.put(Image(b"layer of " + path.encode()))
    front.seen.clear()
    assert there.put(here.get(descriptor.digest)) == descriptor
    assert not front.asked("PUT", "/blobs/uploads/")
    assert len(front.asked("POST", "mount=")) == 2
    there.name("x", descriptor)
    assert there.get("x").open(there.get("x").layers()[0]).read().startswith(b"layer of")


def test_four_blobs_of_an_image_are_sent_at_the_same_time(front, path):
    together = threading.Barrier(4)

    def rule(request, forward):
        if request.method == "PUT" and "/blobs/uploads/" in request.path:
            together.wait(timeout=20)
        return

    front.rules.append(rule)
    image = Image(*(b"%d of " % number + path.encode() for number in range(3)))
    descriptor = store(front.host, path).put(image)
    assert [blob.digest for blob in store(front.host, path).get(descriptor.digest).layers()] == list(image.blobs)


def test_the_first_blob_that_cannot_be_sent_fails_the_image(front, path):
    image = Image(*(b"%d of " % number + path.encode() for number in range(12)))
    bad = list(image.blobs)[5].removeprefix("sha256:")
    front.rules.append(failing(99, Reply(403), method="PUT", path=bad))
    here = store(front.host, path)
    with pytest.raises(Unreachable, match=bad[:12]):
        here.put(image)
    assert not front.asked("PUT", "/manifests/")
    front.rules.clear()
    assert here.get(here.put(image).digest).config == image.config


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_layers_of_every_compression_come_back_and_are_applied(registry, path, tmp_path, compression):
    tar = io.BytesIO()
    diff_id = write_layer([Entry(b"f", "file", size=7, content=b"content")], tar).diff_id
    blob = io.BytesIO()
    made = compress([tar.getvalue()], blob, compression)
    image = Image(blob.getvalue())
    image.layers = lambda: (Descriptor(made.media_type, made.digest, made.size_bytes),)
    image.config = image.config.with_(rootfs={"type": "layers", "diff_ids": [diff_id]})
    descriptor = store(registry.host, path).put(image)
    back = store(registry.host, path).get(descriptor.digest)
    assert validate_image(back) == ()
    assert back.layers()[0].media_type == made.media_type
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        with back.open(back.layers()[0]) as stream:
            apply_layer(stream, root, Form(owners=False), diff_id=back.config.diff_ids[0])
    finally:
        os.close(root)
    assert (tmp_path / "f").read_bytes() == b"content"


def test_mount_from_names_repositories_of_the_same_host(front, path):
    image = Image(b"base of " + path.encode())
    store(front.host, path).put(image)
    front.seen.clear()
    there = store(front.host, path + "/x", mount_from=[f"{front.host}/{path}", "docker.io/library/debian"])
    there.put(image)
    assert {parse_qs(urlsplit(one.path).query)["from"][0] for one in front.asked("POST", "mount=")} == {path}
    assert not front.asked("PUT", "/blobs/uploads/")


def test_a_mount_that_is_refused_is_an_upload(front, path):
    image = Image(b"base of " + path.encode())
    store(front.host, path).put(image)
    front.rules.append(failing(9, Reply(403), method="POST", path="mount="))
    descriptor = store(front.host, path + "/x", mount_from=[f"{front.host}/{path}"]).put(image)
    assert store(front.host, path + "/x").get(descriptor.digest).config == image.config


def test_lower_layers_are_asked_for_once(front, path):
    here = store(front.host, path)
    here.put(Image(b"base"))
    front.seen.clear()
    here.put(Image(b"base", b"next"))
    assert not front.asked("HEAD", digest_bytes(b"base"))


def test_blobs_that_were_cleaned_up_are_uploaded_again_once(front, path):
    here = store(front.host, path)
    image = Image(b"base", b"next")
    here.put(image)
    complaint = {"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown"}]}
    refusal = Reply(400, {}, json.dumps(complaint).encode())
    front.rules.append(failing(2, refusal, method="PUT", path="/manifests/"))
    front.seen.clear()
    descriptor = here.put(image)
    assert front.asked("HEAD", digest_bytes(b"base"))
    front.rules.append(failing(1, refusal, method="PUT", path="/manifests/"))
    front.seen.clear()
    here.put(image)  # a registry that another builder writes to at the same time is asked twice
    assert not front.asked("HEAD", digest_bytes(b"base"))
    front.rules.append(failing(2, refusal, method="PUT", path="/manifests/"))
    here.put_record("record")
    assert "record" in here.names(fresh=True)
    assert here.get(descriptor.digest).config == image.config
    front.rules.append(failing(9, refusal, method="PUT", path="/manifests/"))
    with pytest.raises(StapelError, match="loses blobs"):
        here.put(image)
    with pytest.raises(NotFound, match="not complete"):
        here.name("x", descriptor)


def test_an_image_without_sizes_is_compressed(registry, path):
    class Sizeless(Image):
        def layers(self):
            docker = "application/vnd.docker.image.rootfs.diff.tar"
            return tuple(Descriptor(docker, digest, -1) for digest in self.blobs)

    here = store(registry.host, path)
    descriptor = here.put(Sizeless(b"x" * 100000))
    assert descriptor == store(registry.host, path + "/2").put(Sizeless(b"x" * 100000))
    (layer,) = here.get(descriptor.digest).layers()
    assert layer.media_type.endswith("tar.gzip")
    assert layer.size_bytes < 1000
    import gzip

    assert gzip.decompress(here.get(descriptor.digest).open(layer).read()) == b"x" * 100000


def test_deleting_takes_all_names(registry, path):
    here = store(registry.host, path)
    descriptor = here.put(Image(b"x"))
    here.name("a", descriptor)
    here.name("b", descriptor)
    here.delete(descriptor)
    here.delete(descriptor)
    assert list(here.names()) == []
    for call in (here.get, here.describe, here.digest_of):
        with pytest.raises(NotFound):
            call("a")
    with pytest.raises(NotFound):
        here.get(descriptor.digest)
    with pytest.raises(NotFound):
        store(registry.host, path).name("c", descriptor)


def test_a_registry_that_does_not_delete_says_how_it_could(tmp_path):
    with registry_server(tmp_path, delete=False) as server:
        here = store(server.host)
        descriptor = here.put(Image(b"x"))
        with pytest.raises(StapelError) as caught:
            here.delete(descriptor)
        assert "DELETE_ENABLED" in caught.value.hint
        with pytest.raises(StapelError, match="one name"):
            here.unname("x")


def test_an_index_is_chosen_from_and_is_no_stage(registry, path):
    here = store(registry.host, path)
    images = {platform: here.put(Image(platform.encode())) for platform in ("linux/s390x", own_platform())}
    entries = [
        {
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest,
            "size": descriptor.size_bytes,
            "platform": dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False)),
        }
        for platform, descriptor in images.items()
    ]
    data = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).encode()
    here._repo.put_manifest("multi", OCI_INDEX, data)
    assert here.get("multi").descriptor == images[own_platform()]
    assert here.get("multi", "linux/s390x").descriptor == images["linux/s390x"]
    with pytest.raises(NotFound, match="linux/s390x"):
        here.get("multi", "linux/ppc64le")
    with pytest.raises(Broken, match="no image manifest"):
        here.describe("multi")
    text = f"{registry.host}/{path}:multi"
    assert resolve_digest(text, retries=QUICK) == digest_bytes(data)
    assert resolve_digest(text, platform="linux/s390x", retries=QUICK) == images["linux/s390x"].digest


@pytest.mark.parametrize("text", ["reg:5000/a:1", "debian", "reg:5000/a@sha256:" + "0" * 64, "reg:5000/A"])
def test_texts_that_are_no_repository(text):
    with pytest.raises(BadReference):
        RegistryStore(text)


@pytest.mark.parametrize("name", ["", "-x", "a/b", "../x", "x" * 129, "a b", "a\n"])
def test_names_that_are_no_tag_ask_nobody(name):
    here = store("127.0.0.1:1")
    for call in (here.describe, here.get, here.put_record, lambda name: here.name(name, Image().descriptor)):
        with pytest.raises(BadReference):
            call(name)


# -- who we are


def test_basic_auth(tmp_path):
    with registry_server(tmp_path / "r", htpasswd={"joe": "s:ecret"}) as server, front_server(server.host) as front:
        config = docker_config(tmp_path / "c", {front.host: ("joe", "s:ecret")})
        here = store(front.host, docker_config=config)
        here.put_record("x")
        assert list(here.names(fresh=True)) == ["x"]
        assert "Authorization" not in front.seen[0].headers
        # After the first refusal nothing is asked twice.
        answered = [request for request in front.seen if request.path != "/v2/"]
        assert sum("Authorization" not in request.headers for request in answered) <= 1

        for wrong in (docker_config(tmp_path / "w", {front.host: ("joe", "wrong")}), str(tmp_path / "nobody")):
            with pytest.raises(Unreachable) as caught:
                list(store(front.host, docker_config=wrong).names())
            assert f"docker login {front.host}" in caught.value.hint
            assert "wrong" not in str(caught.value)
        other = docker_config(tmp_path / "o", {"reg.example.com": ("joe", "s:ecret")})
        front.seen.clear()
        with pytest.raises(Unreachable):
            list(store(front.host, docker_config=other).names())
        assert not any("Authorization" in request.headers for request in front.seen)


def token_rule(front, *, user="joe", password="x", life_s=300):
    """Makes a front demand bearer tokens that it gives itself at /token."""
    granted, numbers = {}, itertools.count()

    def rule(request, forward):
        url = urlsplit(request.path)
        if url.path == "/token":
            if request.headers.get("Authorization") != basic(user, password):
                return Reply(401)
            token = f"token-{next(numbers)}"
            granted[token] = set(parse_qs(url.query).get("scope", []))
            return Reply(200, {}, json.dumps({"token": token, "expires_in": life_s}).encode())
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        repository = url.path.removeprefix("/v2/").partition("/manifests/")[0].partition("/blobs/")[0].partition("/tags/")[0]
        write = request.method not in ("GET", "HEAD")
        needed = f"repository:{repository}:" + ("pull,push" if write else "pull")
        have = granted.get(token, set())
        if any(scope.startswith(needed) for scope in have) or (url.path == "/v2/" and token in granted):
            del request.headers["Authorization"]  # the registry behind would not understand it
            return None
        return Reply(
            401,
            {"WWW-Authenticate": f'Bearer realm="http://{front.host}/token",service="front, of tests",scope="{needed}"'},
            b'{"errors":[{"code":"UNAUTHORIZED"}]}',
        )

    return rule, granted


def test_bearer_tokens(front, tmp_path, path):
    rule, granted = token_rule(front)
    front.rules.append(rule)
    config = docker_config(tmp_path, {front.host: ("joe", "x")})
    here, there = (store(front.host, one, docker_config=config) for one in (path, path + "/copy"))
    descriptor = here.put(Image(b"layer of " + path.encode()))
    here.name("x", descriptor)
    assert list(here.names(fresh=True)) == ["x"]
    assert len(granted) <= 2
    front.seen.clear()
    there.put(here.get("x"))
    assert len(front.asked("POST", "mount=")) == 2
    assert not front.asked("PUT", "/blobs/uploads/")
    # In the middle of a run all tokens are taken back.
    granted.clear()
    assert here.describe("x").descriptor == descriptor
    assert all("Authorization" in one.headers for one in front.asked("GET", "/token"))


def test_many_threads_fetch_one_token(front, tmp_path, path):
    rule, granted = token_rule(front)
    front.rules.append(rule)
    here = store(front.host, path, docker_config=docker_config(tmp_path, {front.host: ("joe", "x")}))
    threads = [threading.Thread(target=lambda: list(here.names(fresh=True))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 1


def test_a_real_registry_with_token_auth(tmp_path, path):
    """docker-registry verifies a token signed by the key whose certificate it trusts."""
    import base64

    crt, key = certificate(tmp_path)
    settings = {"service": "svc", "issuer": "tests", "rootcertbundle": str(crt)}

    def encoded(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    def sign(scopes):
        der = "".join(line for line in crt.read_text().splitlines() if "-----" not in line)
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {
            "iss": "tests",
            "sub": "joe",
            "aud": "svc",
            "exp": now + 300,
            "nbf": now - 60,
            "iat": now,
            "access": access,
        }
        head = json.dumps({"typ": "JWT", "alg": "RS256", "x5c": [der]}).encode()
        text = encoded(head) + b"." + encoded(json.dumps(claims).encode())
        signed = subprocess.run(
            ["openssl", "dgst", "-sha256", "-sign", str(key)], input=text, capture_output=True, check=True
        )
        return (text + b"." + encoded(signed.stdout)).decode()

    def issue(request, _):
        if request.headers.get("Authorization") != basic("joe", "x"):
            return Reply(401)
        return Reply(200, {}, json.dumps({"token": sign(parse_qs(urlsplit(request.path).query).get("scope", []))}).encode())

    with front_server() as realm:
        realm.rules.append(issue)
        with registry_server(tmp_path / "r", token={"realm": f"http://{realm.host}/token", **settings}) as server:
            config = docker_config(tmp_path / "c", {server.host: ("joe", "x")})
            here, there = (store(server.host, one, docker_config=config) for one in (path, path + "/copy"))
            descriptor = here.put(Image(b"layer"))
            here.name("x", descriptor)
            assert there.put(here.get("x")) == descriptor
            assert list(here.names(fresh=True)) == ["x"]
            # Deleting is a right of its own there, which only the registry's refusal names.
            here.delete(descriptor)
            assert list(here.names(fresh=True)) == []


@pytest.mark.parametrize("kind", ["other host", "same host"])
def test_redirects_carry_no_credentials_to_another_host(tmp_path, path, kind):
    with registry_server(tmp_path / "r", htpasswd={"joe": "x"}) as server, front_server(server.host) as front:
        config = docker_config(tmp_path / "c", {front.host: ("joe", "x")})
        descriptor = store(front.host, path, docker_config=config).put(Image(b"layer"))
        with front_server() as elsewhere:
            data = {digest_bytes(b"layer"): b"layer"}

            def give(request, _):
                found = data.get(urlsplit(request.path).path.rpartition("/")[2])
                return Reply(200, {}, found) if found else None

            def redirect(request, forward):
                if request.method != "GET" or digest_bytes(b"layer") not in request.path or "moved" in request.path:
                    return None
                if forward().status != 200:
                    return None
                target = "" if kind == "same host" else f"http://{elsewhere.host}"
                return Reply(307, {"Location": f"{target}{urlsplit(request.path).path}?moved=1"})

            elsewhere.rules.append(give)
            front.rules.append(redirect)
            view = store(front.host, path, docker_config=config).get(descriptor.digest)
            assert view.open(view.layers()[0]).read() == b"layer"
            if kind == "same host":
                assert front.asked("GET", "moved=1")[0].headers["Authorization"]
            else:
                assert elsewhere.seen
                assert not any("Authorization" in request.headers for request in elsewhere.seen)


def test_an_upload_address_on_another_host_gets_no_credentials(tmp_path, path):
    with (
        registry_server(tmp_path / "r", htpasswd={"joe": "x"}) as server,
        front_server(server.host) as front,
        front_server() as elsewhere,
    ):
        elsewhere.rules.append(lambda request, forward: (forward(), Reply(201))[1])

        def begin(request, forward):
            if request.method == "POST" and "Authorization" in request.headers:
                return Reply(202, {"Location": f"http://{elsewhere.host}/upload?state=a%3Db"})
            return None

        front.rules.append(begin)
        config = docker_config(tmp_path / "c", {front.host: ("joe", "x")})
        with pytest.raises(StapelError, match="loses blobs"):
            store(front.host, path, docker_config=config).put(Image(b"layer"))
        assert elsewhere.seen
        assert not any("Authorization" in request.headers for request in elsewhere.seen)
        assert elsewhere.seen[0].path.startswith("/upload?state=a%3Db&digest=sha256")


# -- transport


def test_tls(tmp_path, path, monkeypatch):
    pair = certificate(tmp_path)
    with registry_server(tmp_path / "r", tls=pair) as server:
        with pytest.raises(Unreachable, match="not trusted") as caught:
            list(store(server.host, path).names())
        assert "--skip-tls-verify-registry" in caught.value.hint
        assert list(store(server.host, path, skip_tls_verify=True).names()) == []
        monkeypatch.setenv("SSL_CERT_FILE", str(pair[0]))
        store(server.host, path).put_record("x")
        assert list(store(server.host, path).names()) == ["x"]


def test_a_redirect_never_leads_from_tls_to_plain_http(tmp_path, registry, path):
    pair = certificate(tmp_path)
    with front_server(registry.host, tls=pair) as front, front_server() as elsewhere:
        front.rules.append(
            lambda request, _: Reply(307, {"Location": f"http://{elsewhere.host}/"}) if "tags" in request.path else None
        )
        with pytest.raises(Unreachable, match="from TLS to plain http"):
            list(store(front.host, path, skip_tls_verify=True).names())
        assert not elsewhere.seen


def test_nobody_is_there(path):
    told = []
    with pytest.raises(Unreachable) as caught:
        list(store("127.0.0.1:1", path, on_retry=told.append).names())
    assert "127.0.0.1:1 cannot be connected to: Connection refused" in str(caught.value)
    assert told


def test_an_unknown_host():
    with pytest.raises(Unreachable, match="no host"):
        list(RegistryStore("registry.invalid/x", retries=QUICK).names())


def test_a_web_server_is_no_registry():
    with front_server() as front, pytest.raises(Unreachable, match="does not speak the registry protocol"):
        list(store(front.host).names())


@pytest.mark.parametrize(
    "fault",
    [
        Reply(500),
        Reply(503, {"Retry-After": "1"}),
        Reply(429, {"Retry-After": "Thu, 01 Jan 2099 00:00:00 GMT"}),
        Reply(502, {}, b"<html>bad gateway</html>"),
        Reply(200, {"Content-Length": "1000"}, b"{", cut=1),
        Reset,
    ],
    ids=["500", "503", "429", "502", "half", "reset"],
)
def test_what_passes_is_waited_for(front, path, fault):
    for method in ("GET", "HEAD", "POST", "PUT"):
        front.rules.append(failing(2, fault, method=method))
    told = []
    here = store(front.host, path, on_retry=told.append)
    image = Image(b"layer of " + path.encode(), b"upper")
    here.name("x", here.put(image))
    assert list(here.names(fresh=True)) == ["x"]
    view = here.get("x")
    assert [view.open(layer).read() for layer in view.layers()] == list(image.blobs.values())
    assert told


@pytest.mark.parametrize(("status", "word"), [(500, "500"), (403, "refuses"), (418, "418")])
def test_what_stays_is_told(front, path, status, word):
    body = json.dumps({"errors": [{"code": "DENIED", "message": "not\x1b[31m you"}]}).encode()
    front.rules.append(failing(99, Reply(status, {}, body)))
    here = store(front.host, path)
    for call in (
        lambda: list(here.names()),
        lambda: here.get("x"),
        lambda: here.describe("x"),
        lambda: here.put(Image(b"x")),
    ):
        with pytest.raises(Unreachable, match=word) as caught:
            call()
        assert "DENIED" in str(caught.value) or "HEAD" in str(front.seen[-1].method)
        assert "\x1b" not in str(caught.value)


def test_a_big_upload_that_breaks_begins_again(front, path, tmp_path):
    size = 40 << 20
    data = os.urandom(1 << 20) * (size >> 20)
    image = Image(data)
    layer = digest_bytes(data).removeprefix("sha256:")
    front.rules.append(failing(2, Reset, method="PUT", path=layer))  # not the configuration, sent at the same time
    here = store(front.host, path)
    descriptor = here.put(image)
    assert len(image.opened) == 3
    view = here.get(descriptor.digest)
    assert hashlib.file_digest(view.open(view.layers()[0]), "sha256").hexdigest() == digest_bytes(data).removeprefix(
        "sha256:"
    )


def test_an_upload_whose_answer_was_lost_is_not_sent_again(front, path):
    def lose(request, forward):
        if request.method == "PUT" and "/blobs/uploads/" in request.path and not lost:
            lost.append(forward())
            raise Reset
        return

    lost = []
    front.rules.append(lose)
    image = Image()
    here = store(front.host, path)
    here.put(image)
    assert len(front.asked("PUT", "/blobs/uploads/")) == 1


def test_a_source_that_fails_is_not_the_registrys_fault(registry, path):
    class Failing(Image):
        def open(self, blob):
            raise Broken("the store below is broken")

    class Short(Image):
        def open(self, blob):
            return io.BytesIO(b"sh")

    for image, word in ((Failing(b"short"), "below"), (Short(b"short"), "too early")):
        with pytest.raises(StapelError, match=word):
            store(registry.host, path).put(image)


# -- lies and damage


def test_a_download_that_breaks_is_gone_on_with(front, path):
    data = os.urandom(300_000)
    here = store(front.host, path)
    descriptor = here.put(Image(data))

    def cut(request, forward):
        if request.method == "GET" and digest_bytes(data) in request.path and len(cuts) < 3:
            reply = forward()
            cuts.append(request.headers.get("Range"))
            return Reply(reply.status, {**reply.headers, "Content-Length": str(len(reply.body))}, reply.body, cut=100_000)
        return None

    cuts = []
    front.rules.append(cut)
    view = here.get(descriptor.digest)
    assert view.open(view.layers()[0]).read() == data
    assert cuts[0] is None
    assert cuts[1] is not None


def test_a_registry_without_ranges_gives_the_whole_again(front, path):
    data = os.urandom(300_000)
    here = store(front.host, path)
    descriptor = here.put(Image(data))

    def rule(request, forward):
        if request.method == "GET" and digest_bytes(data) in request.path:
            count.append(1)
            length = {"Content-Length": str(len(data))}
            return Reply(200, length, data, cut=200_000 if len(count) == 1 else None)
        return None

    count = []
    front.rules.append(rule)
    view = here.get(descriptor.digest)
    assert view.open(view.layers()[0]).read() == data
    assert len(count) == 2


@pytest.mark.parametrize("wrong", [b"other", b"layer and more", b"lay", b""])
def test_bytes_that_belie_their_digest_are_broken(front, path, wrong):
    here = store(front.host, path)
    descriptor = here.put(Image(b"layer"))
    front.rules.append(lambda request, _: Reply(200, {}, wrong) if digest_bytes(b"layer") in request.path else None)
    view = here.get(descriptor.digest)
    with pytest.raises(Broken, match=digest_bytes(b"layer")):
        view.open(view.layers()[0]).read()


def test_one_damaged_transfer_is_not_a_broken_image(front, path):
    here = store(front.host, path)
    image = Image(b"layer")
    descriptor = here.put(image)
    config = digest_bytes(image.config.to_bytes())
    for part in (digest_bytes(b"layer"), config, "/manifests/"):
        front.rules.append(failing(1, Reply(200, {}, b"other"), method="GET", path=part))
    view = store(front.host, path).get(descriptor.digest)
    assert view.config == image.config
    with pytest.raises(Unreachable, match="on their way"):
        view.open(view.layers()[0]).read()
    assert view.open(view.layers()[0]).read() == b"layer"


def test_stored_blobs_that_are_gone_are_broken_after_three_asks(front, registry, path):
    here = store(front.host, path)
    layer = b"layer of " + path.encode()
    image = Image(layer, labels={"of": path})
    here.name("x", here.put(image))
    config = digest_bytes(image.config.to_bytes())
    for digest, call in (
        (digest_bytes(layer), lambda view: view.open(view.layers()[0])),
        (config, lambda view: view.config),
    ):
        front.rules[:] = [failing(99, Reply(404), path=digest)]
        front.seen.clear()
        with pytest.raises(Broken, match="is not in the registry"):
            call(store(front.host, path).get("x"))
        asked = front.asked("GET", digest)
        assert len(asked) == 3
        assert all(request.headers["Cache-Control"] == "no-cache" for request in asked[1:])
    with pytest.raises(Broken):
        store(front.host, path).describe("x")


def test_a_manifest_that_is_gone_is_not_broken(front, path):
    here = store(front.host, path)
    view = here.get(here.put(Image(b"layer")).digest)
    here.delete(view.descriptor)
    front.rules.append(failing(99, Reply(404), path="/blobs/"))
    with pytest.raises(NotFound):
        view.open(view.layers()[0])


def test_a_blob_damaged_on_disk(tmp_path):
    with registry_server(tmp_path) as server:
        here = store(server.host)
        descriptor = here.put(Image(b"layer", b"upper"))
        here.name("x", descriptor)
        blob_path(server, digest_bytes(b"layer")).write_bytes(b"lAyer")
        view = store(server.host).get("x")
        assert view.open(view.layers()[1]).read() == b"upper"
        with pytest.raises(Broken):
            view.open(view.layers()[0]).read()


def test_a_lying_digest_of_a_manifest_is_broken(front, path):
    here = store(front.host, path)
    descriptor = here.put(Image(b"layer"))
    here.name("x", descriptor)

    def lie(request, forward):
        if request.method != "GET" or "/manifests/" not in request.path:
            return None
        reply = forward()
        return Reply(200, {**reply.headers, "Docker-Content-Digest": digest_bytes(b"lie")}, reply.body)

    front.rules.append(lie)
    with pytest.raises(Broken):
        here.describe("x")
    front.rules[:] = [lambda request, forward: Reply(200, {}, b"{}") if "/manifests/" in request.path else None]
    with pytest.raises(Broken):
        store(front.host, path).get(descriptor.digest)


# -- lists


def paging(names, link, size=2):
    def rule(request, _):
        url = urlsplit(request.path)
        if not url.path.endswith("/tags/list"):
            return None
        query = parse_qs(url.query)
        after = names.index(query["last"][0]) + 1 if "last" in query else 0
        page = names[after : after + size]
        headers = {}
        if after + size < len(names):
            headers["Link"] = f'<{link(url.path, page[-1])}>; rel="next"'
        return Reply(200, headers, json.dumps({"name": "x", "tags": page}).encode())

    return rule


@pytest.mark.parametrize("kind", ["relative", "query", "absolute"])
def test_pages_are_followed(front, path, kind):
    start = {"relative": lambda p: p, "query": lambda p: "", "absolute": lambda p: f"http://{front.host}{p}"}[kind]
    names = [f"n{count}" for count in range(7)]
    front.rules.append(paging(names, lambda p, last: f"{start(p)}?n=2&last={last}"))
    assert sorted(store(front.host, path).names()) == names


def test_pages_on_another_host_are_not_followed(front, path):
    with front_server() as elsewhere:
        front.rules.append(paging(["a", "b", "c"], lambda p, last: f"http://{elsewhere.host}{p}?last={last}"))
        with pytest.raises(Unreachable, match="another host"):
            list(store(front.host, path).names())
        assert not elsewhere.seen


def test_pages_in_a_circle_end(front, path):
    front.rules.append(lambda request, _: Reply(200, {"Link": '<?n=1>; rel="next"'}, b'{"tags":["a"]}'))
    with pytest.raises(Unreachable, match="circle"):
        list(store(front.host, path).names())


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"tags":1}', b'{"tags":[1]}', b"<html>"])
def test_answers_that_are_no_list(front, path, body):
    front.rules.append(failing(9, Reply(200, {}, body), path="/tags/"))
    with pytest.raises(Unreachable, match="no list of tags"):
        list(store(front.host, path).names())


def test_a_repository_without_tags_is_empty(front, path):
    front.rules.append(failing(9, Reply(200, {}, b'{"name":"x","tags":null}'), path="/tags/"))
    assert list(store(front.host, path).names()) == []


def test_a_fresh_list_never_joins_one_that_began_before(front, path):
    here = store(front.host, path)
    inside, go = threading.Event(), threading.Event()

    def hold(request, forward):
        if "/tags/" not in request.path or inside.is_set():
            return None
        reply = forward()
        inside.set()
        go.wait(30)
        return reply

    front.rules.append(hold)
    slow = []
    thread = threading.Thread(target=lambda: slow.append(set(here.names())))
    thread.start()
    assert inside.wait(30)
    store(front.host, path).put_record("new")
    here.put_record("ours")
    assert set(here.names(fresh=True)) == {"new", "ours"}
    go.set()
    thread.join()
    assert slow == [{"ours"}]
    assert set(here.names()) == {"new", "ours"}
    assert front.asked("GET", "/tags/")[-1].headers["Cache-Control"] == "no-cache"


def test_the_clock_of_the_registry(front, path):
    here = store(front.host, path)
    assert here.clock_skew_ms() == 0
    list(here.names())
    assert here.clock_skew_ms() == 0
    front.rules.append(lambda request, forward: Reply(200, {"Date": "Fri, 01 Jan 2100 00:00:00 GMT"}, b'{"tags":[]}'))
    list(here.names(fresh=True))
    assert abs(here.clock_skew_ms() / 1000 - (4102444800 - time.time())) < 60
